//! What happens when a disk is really full: each test runs in a mount namespace of its own, with a small disk in memory
//! where one role keeps its files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    joins::{assert_nothing_ran_twice, assert_runs},
    own::{Own, with_own},
    support::{ProcessCluster, Ran, World, files_below, text, until},
};

/// A disk in memory.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn at(folder: &Path, mib: u32) -> Self {
        fs::create_dir_all(folder).expect("created");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let ran = Ran::of(mounted.expect("`mount` is there"));
        assert_eq!(ran.exit, 0, "no small disk without the right to mount one: {}", ran.stderr);
        Self { folder: folder.to_path_buf() }
    }

    /// Leaves no room on it.
    fn fill(&self) {
        let zeros = vec![0; 64 << 10];
        let mut file = fs::File::create(self.ballast()).expect("created");
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("removed");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.folder).output().ok();
    }
}

/// The only folder in `parent`, once it is there.
fn only_folder_in(parent: &Path) -> PathBuf {
    until("the process has its folder", || {
        let entries = fs::read_dir(parent).ok()?.flatten().map(|entry| entry.path());
        let folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        assert!(folders.len() < 2, "more than one folder in {}: {folders:?}", parent.display());
        folders.into_iter().next()
    })
}

/// One of everything, and no task is tried twice.
fn small_cluster<'a>(world: &'a World, config: &str) -> ProcessCluster<'a> {
    let config = world.file("penstock.toml", format!("[coordinator]\nattempts_max = 1\n{config}"));
    let config = config.display().to_string();
    let one = ["--executors", "1", "--shuffle-workers", "1", "--slots", "1", "--memory", "256MiB"];
    ProcessCluster::up(world, &[&one[..], &["--config", &config]].concat())
}

/// Sorts some 200 MB of text that does not compress.
const SORT: &str = "select value, concat(md5(cast(value as varchar)), md5(cast(value + 1 as varchar)), \
    md5(cast(value + 2 as varchar)), md5(cast(value + 3 as varchar))) as text \
    from generate_series(1, 1500000) order by text";

/// Fails with the class and words that are expected.
fn fails(world: &World, sql: &str, said: &[&str]) {
    let ran = world.penstock(&["submit", "--wait", "--json", "-e", sql, "--set", "penstock.partitions=2"]);
    assert_eq!(ran.exit, 5, "lack of resources: {ran:?}");
    let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|cause| panic!("{cause}: {ran:?}"));
    let failure = &status["failure"];
    assert_eq!(failure["class"], "RESOURCES", "{failure}");
    let text = format!("{} {}", failure["message"], failure["advice"]);
    for part in said {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
}

fn works(world: &World) {
    let sql = "select count(distinct value % 100) as n from generate_series(1, 1000)";
    assert_eq!(world.ok(&["submit", "--wait", "--quiet", "-e", sql]), "n\n100\n");
    assert_eq!(world.json(&["jobs", "--json"])["jobs"][0]["state"], "SUCCEEDED");
}

#[test]
fn a_sort_that_finds_the_scratch_folder_full_fails_and_names_folder_and_setting() {
    with_own(Own::Mounts, || {
        let world = World::new();
        let _cluster = small_cluster(&world, "");
        let named = only_folder_in(&world.cluster_state().join("scratch"));
        let scratch = only_folder_in(&named);
        let disk = SmallDisk::at(&scratch, 16);
        let sink = format!("copy ({SORT}) to 'sorted/' stored as parquet");
        fails(&world, &sink, &["disk is full", &named.display().to_string(), "scratch_dir"]);
        assert!(!world.work().join("sorted").exists(), "nothing is visible");
        works(&world);
        drop(disk);
    });
}

/// Counts some 200 MB of text that does not compress, each word once.
const COUNT: &str = "select count(*) as n from (select md5(cast(value as varchar)) as a, \
    md5(cast(value + 1 as varchar)) as b, md5(cast(value + 2 as varchar)) as c from \
    (select value from generate_series(1, 1000000) union all select value from generate_series(1000001, 2000000)) \
    group by 1, 2, 3)";

#[test]
fn a_shuffle_worker_whose_disk_is_full_refuses_and_goes_on() {
    with_own(Own::Mounts, || {
        let world = World::new();
        let config = "[shuffle-worker]\nmemory_bytes_max = 67108864\ndisk_reserve_bytes = 0\n";
        let cluster = small_cluster(&world, config);
        let worker = cluster.pid_of("shuffle-worker-1");
        let folder = only_folder_in(&world.cluster_state().join("shuffle"));
        let disk = SmallDisk::at(&folder, 16);
        fails(&world, COUNT, &["room", "shuffle workers' disks"]);
        until("work is taken again", || {
            (world.penstock(&["submit", "--wait", "-e", "select 1"]).exit == 0).then_some(())
        });
        works(&world);
        assert_eq!(cluster.pid_of("shuffle-worker-1"), worker);
        drop(disk);
    });
}

#[test]
fn a_disk_that_fills_up_below_one_of_three_shuffle_workers_costs_no_task_when_there_are_two_copies() {
    with_own(Own::Mounts, || {
        let world = World::new();
        let config = "[coordinator]\nshuffle_copies = 2\n\
            [shuffle-worker]\nmemory_bytes_max = 67108864\ndisk_reserve_bytes = 0\n";
        let config = world.file("penstock.toml", config).display().to_string();
        let cluster = ProcessCluster::up(&world, &["--shuffle-workers", "3", "--config", &config]);
        let disk = SmallDisk::at(&world.cluster_state().join("shuffle/worker-1"), 128);
        let submit = ["submit", "--json", "-e", COUNT, "--set", "penstock.partitions=4"];
        let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
        until("data moves to the disk", || {
            let is_data = |file: &PathBuf| file.parent() != Some(&disk.folder) && !file.ends_with("manifest");
            files_below(&disk.folder).into_iter().find(is_data)
        });
        disk.fill();
        assert_runs(&world, &job);
        assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
        assert_eq!(world.ok(&["results", &job]), "n\n2000000\n");
        assert_nothing_ran_twice(&cluster, &job);
        let metrics = text(&format!("http://{}/metrics", cluster.address_of("shuffle-worker-1", "admin")));
        assert!(metrics.contains("penstock_shuffle_refused_batches_total{reason=\"NoRoom\"}"), "{metrics}");
    });
}

#[test]
fn a_sink_that_finds_its_target_full_fails_and_shows_nothing() {
    with_own(Own::Mounts, || {
        let world = World::new();
        let _cluster = small_cluster(&world, "");
        let target = world.work().join("target");
        let disk = SmallDisk::at(&target, 16);
        fails(
            &world,
            &format!("copy ({SORT}) to 'target/sorted/' stored as parquet"),
            &["disk is full", "free space", &target.display().to_string()],
        );
        until("everything that was written is gone", || {
            let left = fs::read_dir(&target).expect("a folder").flatten().count();
            (left == 0).then_some(())
        });
        works(&world);
        drop(disk);
    });
}

#[test]
fn a_coordinator_whose_state_folder_is_full_refuses_jobs_and_goes_on_when_there_is_room() {
    with_own(Own::Mounts, || {
        let world = World::new();
        let disk = SmallDisk::at(&world.cluster_state().join("coordinator"), 16);
        let cluster = small_cluster(&world, "");
        let coordinator = cluster.pid_of("coordinator-1");
        works(&world);
        disk.fill();
        let script = world.file("large.sql", format!("select '{}' as text", "x".repeat(1 << 20)));
        let script = script.display().to_string();
        for _ in 0..2 {
            let refused = world.penstock(&["submit", "-f", &script]);
            assert_eq!(refused.exit, 5, "{refused:?}");
            for part in ["cannot take jobs", "jobs.sqlite", "free space on the disk", "state_dir"] {
                assert!(refused.stderr.contains(part), "`{part}` is missing: {refused:?}");
            }
        }
        disk.make_room();
        until("jobs are taken again", || {
            (world.penstock(&["submit", "--wait", "-e", "select 1"]).exit == 0).then_some(())
        });
        works(&world);
        assert_eq!(cluster.pid_of("coordinator-1"), coordinator);
        let states: Vec<_> = world.json(&["jobs", "--json"])["jobs"].as_array().expect("a list").clone();
        let ran = states.iter().filter(|job| job["state"] == "SUCCEEDED").count();
        assert_eq!(ran, 3, "what was refused was not run: {states:?}");
        drop(disk);
    });
}
