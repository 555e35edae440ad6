//! The shuffle service from an operator's chair.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    copies, rerun,
    support::{ProcessCluster, Ran, World, signal, until},
};

#[test]
fn workers_are_listed_excluded_and_decommissioned_by_name() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let listed = world.json(&["shuffle", "workers", "--json"]);
    let names: Vec<_> =
        listed["workers"].as_array().expect("a list").iter().map(|worker| worker["worker"].clone()).collect();
    assert_eq!(names, ["worker-1", "worker-2"]);
    assert!(world.ok(&["shuffle", "workers"]).contains("serving"));

    let excluded = world.ok(&["shuffle", "exclude", "worker-1", "--seconds", "60", "--reason", "slow"]);
    assert!(excluded.contains("worker-1 is excluded until"), "{excluded}");
    assert_eq!(world.ok(&["shuffle", "include", "worker-1"]), "worker-1 is serving\n");

    let leaves = world.ok(&["shuffle", "interrupt", "worker-1", "--seconds", "60"]);
    assert!(leaves.contains("worker-1 is leaving until"), "{leaves}");
    assert_eq!(world.ok(&["shuffle", "interrupt", "worker-1", "--cancel"]), "worker-1 is serving\n");

    let drained = world.ok(&["shuffle", "decommission", "worker-2", "--wait", "--timeout", "60"]);
    assert_eq!(drained, "worker-2 is drained\n");
    world.ok(&["submit", "--wait", "-e", GROUPED]);
    world.ok(&["shuffle", "recommission", "worker-2"]);
    until("the worker serves again", || {
        let listed = world.ok(&["shuffle", "workers"]);
        (!listed.contains("drain")).then_some(())
    });

    let unknown = world.penstock(&["shuffle", "exclude", "nobody"]);
    assert_eq!(unknown.exit, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("nobody"), "{unknown:?}");
    let nowhere = world.penstock(&["shuffle", "workers", "--masters", "127.0.0.1:1"]);
    assert_eq!(nowhere.exit, 6, "{nowhere:?}");
}

/// Its committed exchange is read while its only executor is halted, so that nothing changes while the test looks.
#[test]
fn what_a_running_job_holds_is_listed_by_job_and_by_partition() {
    let world = World::new();
    let config = world.file("penstock.toml", "[coordinator]\nexecutor_timeout_ms = 600000\n");
    let config = config.display().to_string();
    let cluster = ProcessCluster::up(&world, &["--executors", "1", "--slots", "1", "--config", &config]);
    copies::create_tables(&world);
    let job = rerun::halted_when(&world, &cluster, copies::DIGESTS, rerun::some_task_reads, || {
        let running = world.json(&["jobs", "--json", "--state", "running"]);
        let job = running["jobs"][0]["job_id"].as_str().expect("an id").to_owned();
        let listed = || {
            let jobs = world.json(&["shuffle", "jobs", "--json"]);
            jobs["jobs"].as_array()?.iter().find(|listed| listed["job"] == job).cloned()
        };
        until("both workers have reported the job", || (listed()?["workers"] == 2).then_some(()));
        let held = world.json(&["shuffle", "partitions", &job, "--json"]);
        let held = held["locations"].as_array().expect("a list");
        let committed: BTreeSet<_> = held
            .iter()
            .filter(|location| location["exchange"] == 0 && location["phase"] == "committed")
            .filter_map(|location| location["partition"].as_u64())
            .collect();
        assert!(committed.into_iter().eq(0..8), "{held:?}");
        let bytes: u64 = held.iter().filter_map(|location| location["bytes"].as_u64()).sum();
        assert!(bytes > 0);
        until("the workers have reported all of it", || {
            let listed = listed()?;
            (listed["bytes"] == bytes && listed["locations"] == held.len()).then_some(())
        });
        assert!(world.ok(&["shuffle", "jobs"]).contains(&job));
        let table = world.ok(&["shuffle", "partitions", &job]);
        assert!(table.contains("committed") && table.contains("worker-1") && table.contains("worker-2"));
    });
    assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
    until("nothing is held any more", || {
        (world.ok(&["shuffle", "jobs"]) == "nothing is held of any job\n").then_some(())
    });
}

const GROUPED: &str = "select value % 7 as k, count(*) as n from generate_series(1, 1000) group by value % 7";

#[test]
fn a_quota_fails_a_job_by_name_and_settings_are_read_again_at_sighup() {
    let world = World::new();
    let settings = |locations: u32| {
        let wait = "[coordinator]\nshuffle_wait_seconds = 1\n";
        format!("{wait}[shuffle-master]\nuser_locations_max = {locations}\n")
    };
    let file = world.file("penstock.toml", settings(1));
    let cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    let refused = world.penstock(&["submit", "--wait", "-e", GROUPED]);
    assert_eq!(refused.exit, 5, "{refused:?}");
    assert!(refused.stderr.contains("quota"), "{refused:?}");

    world.file("penstock.toml", settings(10_000));
    signal(cluster.pid_of("shuffle-master-1"), Signal::SIGHUP);
    until("the master took it", || {
        let settings = world.json(&["shuffle", "settings", "--json"]);
        (settings["user_locations_max"] == 10_000).then_some(())
    });
    world.ok(&["submit", "--wait", "-e", GROUPED]);
    let own = world.ok(&["shuffle", "quota", "--user", "ann", "--bytes", "5GiB"]);
    assert!(own.contains("ann") && own.contains("5 GiB"), "{own}");
    assert_eq!(world.ok(&["shuffle", "settings", "placement=load"]), "changed: placement\n");
    assert_eq!(world.penstock(&["shuffle", "settings", "control_listen=x:1"]).exit, 2);
}

/// Fails for lack of resources, in words that hold each of `said`.
fn lacks_resources(world: &World, sql: &str, said: &str) {
    let ran = world.penstock(&["submit", "--wait", "--json", "-e", sql]);
    assert_eq!(ran.exit, 5, "{ran:?}");
    let status: Value = serde_json::from_str(&ran.stdout).expect("is json");
    assert_eq!(status["failure"]["class"], "RESOURCES", "{status}");
    assert!(status["failure"]["message"].as_str().is_some_and(|message| message.contains(said)), "{status}");
}

#[test]
fn a_job_that_pushes_more_bytes_than_it_may_lacks_resources() {
    let world = World::new();
    let settings = "[shuffle-master]\njob_bytes_max = 1000000\nheartbeat_interval_ms = 10\n";
    let file = world.file("penstock.toml", settings);
    let _cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    let large = "select count(*) as n from (select md5(cast(value as varchar)) as text \
        from generate_series(1, 500000) group by 1)";
    lacks_resources(&world, large, "quota");
    world.ok(&["submit", "--wait", "-e", GROUPED]);
}

#[test]
fn a_job_says_that_it_waits_for_a_shuffle_worker_and_goes_on_when_there_is_one() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &["--shuffle-workers", "1"]);
    signal(cluster.pid_of("shuffle-worker-1"), Signal::SIGKILL);
    let submitted = world.json(&["submit", "--json", "-e", GROUPED]);
    let job = submitted["job_id"].as_str().expect("an id");
    until("the job says what it waits for", || {
        let status = world.json(&["status", job, "--json"]);
        assert_ne!(status["state"], "FAILED", "{status}");
        status["waiting"]
            .as_str()
            .is_some_and(|waiting| waiting.starts_with("the shuffle service"))
            .then_some(())
    });
    assert!(world.ok(&["status", job]).contains("the shuffle service"));
    world.ok(&["cluster", "restart", "shuffle-worker-1"]);
    assert_eq!(world.ok(&["wait", job]), "SUCCEEDED\n");
}

fn secret(world: &World, name: &str, role: &str) -> String {
    let file = world.file(name, format!("{name}, and long enough to be a secret"));
    format!("[{role}]\ncluster_secret_file = \"{}\"\n", file.display())
}

#[test]
fn with_a_cluster_secret_executors_are_told_the_tokens_of_their_jobs() {
    let world = World::new();
    let sections =
        ["coordinator", "shuffle-master", "shuffle-worker"].map(|role| secret(&world, "ours", role)).concat();
    let file = world.file("penstock.toml", sections);
    let _cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    world.ok(&["submit", "--wait", "-e", GROUPED]);
}

#[test]
fn with_a_cluster_secret_orders_are_given_with_it_and_nobody_needs_it_to_look() {
    let world = World::new();
    let sections =
        ["shuffle-master", "shuffle-worker", "coordinator"].map(|role| secret(&world, "ours", role));
    let file = world.file("penstock.toml", sections.concat());
    let cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    let masters = cluster.address_of("shuffle-master-1", "admin");
    let exclude = |more: &[&str]| {
        let order = ["shuffle", "exclude", "worker-1", "--masters", &masters];
        world.penstock(&[&order[..], more].concat())
    };
    secret(&world, "theirs", "");
    for (more, said) in [
        (&[][..], "the order shows no token"),
        (&["--secret-file", "theirs"], "the order shows a wrong token"),
        (&["--secret-file", "nowhere"], "reading the cluster secret nowhere: No such file"),
        (&["--secret-file", "/"], "reading the cluster secret /: Is a directory"),
    ] {
        let refused = exclude(more);
        assert_eq!(refused.exit, 2, "{refused:?}");
        for said in [said, "--secret-file", "PENSTOCK_SHUFFLE_SECRET_FILE", "`cluster_secret_file`"] {
            assert!(refused.stderr.contains(said), "`{said}` is missing: {refused:?}");
        }
        assert_eq!(cluster.state_of_worker("worker-1"), "serving");
    }
    world.ok(&["shuffle", "workers", "--masters", &masters, "--secret-file", "nowhere"]);

    let excluded = exclude(&["--secret-file", "ours"]);
    assert_eq!(
        (excluded.exit, cluster.state_of_worker("worker-1").as_str()),
        (0, "excluded"),
        "{excluded:?}"
    );
    let mut include = world.command(&["shuffle", "include", "worker-1", "--masters", &masters]);
    let included = Ran::of(include.env("PENSTOCK_SHUFFLE_SECRET_FILE", "ours").output().expect("runs"));
    assert_eq!(included.stdout, "worker-1 is serving\n", "{included:?}");
    // Of the local cluster it is known, whatever the order.
    world.ok(&["shuffle", "interrupt", "worker-1", "--seconds", "60"]);
    assert_eq!(world.ok(&["shuffle", "interrupt", "worker-1", "--cancel"]), "worker-1 is serving\n");
    world.ok(&["shuffle", "settings", "--all-workers", "split_from_bytes=64MiB"]);
    world.ok(&["shuffle", "quota", "--user", "ann", "--bytes", "5GiB"]);
}

#[test]
fn settings_of_workers_are_read_again_at_sighup_and_changed_by_name() {
    let world = World::new();
    let settings =
        |percent: u32, more: &str| format!("[shuffle-worker]\nflush_from_percent = {percent}\n{more}");
    let file = world.file("penstock.toml", settings(60, ""));
    let cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    let of = |worker: &str| {
        let shown = world.json(&["shuffle", "settings", "--worker", worker, "--json"]);
        shown["workers"][0]["settings"].clone()
    };
    assert_eq!(of("worker-1")["flush_from_percent"], 60);
    world.file("penstock.toml", settings(55, "memory_bytes_max = \"256MiB\"\n"));
    signal(cluster.pid_of("shuffle-worker-1"), Signal::SIGHUP);
    until("worker-1 took it", || (of("worker-1")["flush_from_percent"] == 55).then_some(()));
    assert_eq!(of("worker-1")["memory_bytes_max"], "0B", "it needs a restart");
    assert_eq!(of("worker-2")["flush_from_percent"], 60, "nobody told it");

    let changed = world.ok(&["shuffle", "settings", "--all-workers", "split_from_bytes=64MiB", "tags=a,b"]);
    assert!(
        changed.starts_with("worker-1: changed: ") && changed.contains("\nworker-2: changed: "),
        "{changed}"
    );
    assert_eq!(
        (&of("worker-2")["tags"], of("worker-2")["split_from_bytes"].as_str()),
        (&serde_json::json!(["a", "b"]), Some("64MiB"))
    );
    world.ok(&["shuffle", "settings", "--worker", "worker-1", "log_filter=penstock_shuffle_service=debug"]);
    let refused = world.penstock(&["shuffle", "settings", "--worker", "worker-1", "memory_bytes_max=1GiB"]);
    assert_eq!(refused.exit, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("only a restart changes these settings: memory_bytes_max"),
        "{refused:?}"
    );
    let unknown = world.penstock(&["shuffle", "settings", "--worker", "nobody"]);
    assert_eq!(unknown.exit, 2, "{unknown:?}");
}

#[test]
fn what_happens_to_workers_is_in_the_log_of_the_cluster_though_no_job_met_them() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let log = || {
        let text = std::fs::read(world.cluster_state().join("events/cluster-log.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()
    };
    let told = |kind: &str, to: &str| {
        let events = log()?["events"].as_array()?.clone();
        events.into_iter().find(|event| event["type"] == kind && (to.is_empty() || event["to"] == to))
    };
    let both = || log().filter(|log| log["workers"].as_array().is_some_and(|workers| workers.len() == 2));
    let serving = until("both workers are known", both);
    assert_eq!(serving["workers"][0]["disks"][0]["class"], "ssd", "{serving}");
    until("they have joined", || told("worker_joined", ""));
    world.ok(&["shuffle", "exclude", "worker-1", "--seconds", "60", "--reason", "slow disk"]);
    let excluded = until("it is told", || told("worker_changed", "excluded"));
    assert_eq!((&excluded["worker"], &excluded["because"]), (&"worker-1".into(), &"slow disk".into()));
}

#[test]
fn a_coordinator_with_another_secret_than_the_shuffle_service_is_told_so() {
    let world = World::new();
    let theirs = ["shuffle-master", "shuffle-worker"].map(|role| secret(&world, "theirs", role)).concat();
    let sections = theirs + &secret(&world, "ours", "coordinator") + "shuffle_wait_seconds = 0\n";
    let file = world.file("penstock.toml", sections);
    let _cluster = ProcessCluster::up(&world, &["--config", file.to_str().expect("is text")]);
    let ran = world.penstock(&["submit", "--wait", "-e", GROUPED]);
    assert_eq!(ran.exit, 6, "{ran:?}");
    for part in ["a wrong control token", "the same cluster secret"] {
        assert!(ran.stderr.contains(part), "`{part}` is missing: {}", ran.stderr);
    }
    let log =
        std::fs::read_to_string(world.cluster_state().join("logs/shuffle-master-1.log")).expect("a log");
    assert_eq!(log.lines().filter(|line| line.contains("turned away")).count(), 1, "{log}");
}
