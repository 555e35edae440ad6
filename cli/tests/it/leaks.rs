//! What is left of jobs, however they ended: no process has more open files and connections than before, nothing is
//! stored, and no memory is taken.

use std::{collections::BTreeMap, fs, io::Write, net::TcpStream};

use nix::sys::signal::Signal;

use crate::{
    cluster::LONG_JOIN,
    joins::{create_tables, under_way},
    support::{ProcessCluster, World, files_below, signal, text, until, until_ok},
};

/// How much there is of what must not grow.
type Levels = BTreeMap<String, u64>;

const WORKERS: [&str; 2] = ["shuffle-worker-1", "shuffle-worker-2"];
const GAUGES: [&str; 3] =
    ["penstock_shuffle_memory_used_bytes", "penstock_shuffle_locations", "penstock_shuffle_connections"];

fn levels(world: &World, cluster: &ProcessCluster<'_>) -> Levels {
    let mut levels = Levels::new();
    for process in cluster.processes() {
        let name = process["name"].as_str().expect("a name");
        let handles = format!("/proc/{}/fd", process["pid"]);
        let open = fs::read_dir(handles).map_or(0, Iterator::count);
        levels.insert(format!("open files of {name}"), open as u64);
    }
    for worker in WORKERS {
        let metrics = text(&format!("http://{}/metrics", cluster.address_of(worker, "admin")));
        for gauge in GAUGES {
            let value = metrics.lines().find_map(|line| line.strip_prefix(gauge)?.trim().parse::<f64>().ok());
            levels.insert(format!("{gauge} of {worker}"), value.unwrap_or(0.0) as u64);
        }
    }
    let files = files_below(&world.cluster_state().join("shuffle")).into_iter();
    // Each worker's folder is its own as long as it lives.
    let stored = files.filter(|file| !file.ends_with("lock")).count();
    levels.insert("stored files".to_owned(), stored as u64);
    levels
}

struct Watched<'a> {
    world: &'a World,
    cluster: &'a ProcessCluster<'a>,
    before: Levels,
}

impl Watched<'_> {
    /// Does something and waits until nothing is left of it.
    fn after(&self, what: &str, action: impl FnOnce(&World)) {
        action(self.world);
        until_ok(&format!("nothing is left of {what}"), || {
            let mut now = levels(self.world, self.cluster);
            now.retain(|name, level| *level > self.before.get(name).copied().unwrap_or(0));
            if now.is_empty() { Ok(()) } else { Err(format!("{now:?} instead of {:?}", self.before)) }
        });
    }
}

/// Some 30 MB, more than a worker keeps in memory.
const LARGE: &str = "select count(*) as n from (select md5(cast(value as varchar)) as a, \
    md5(cast(value + 1 as varchar)) as b from generate_series(1, 400000) group by 1, 2)";
const DIVIDES_LATE: &str = "select 1 / (k - 3) as q from (select value % 7 as k, count(*) as n \
    from generate_series(1, 100000) group by value % 7)";
const DIVIDES_EARLY: &str = "select 1 / (value - 99999) as q, count(*) as n from generate_series(1, 100000) \
    group by 1 / (value - 99999)";

fn succeed(world: &World) {
    world.ok(&["submit", "--wait", "--quiet", "-e", LARGE, "--set", "penstock.partitions=4"]);
}

fn fail(world: &World) {
    for sql in [DIVIDES_LATE, DIVIDES_EARLY] {
        assert_eq!(world.penstock(&["submit", "--wait", "-e", sql]).exit, 4);
    }
}

fn cancel(world: &World) {
    let job = under_way(world, 1);
    world.ok(&["cancel", &job]);
    assert_eq!(world.penstock(&["wait", &job]).exit, 7);
}

/// Bytes that mean nothing, and the beginning of a frame; one connection stays open while the next one comes.
fn send_garbage(addresses: &[String]) {
    let beginnings: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[255; 70_000], &[16, 0, 0, 0]];
    let connections = (0..100).zip(addresses.iter().cycle()).zip(beginnings.iter().cycle());
    let mut open = Vec::new();
    for ((number, address), garbage) in connections {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        // The other end may have closed it already.
        let _ = stream.write_all(garbage);
        if number % 2 == 0 {
            open.push(stream);
        }
    }
}

#[test]
fn whatever_becomes_of_jobs_nothing_is_left_of_them() {
    let world = World::new();
    let config = "[coordinator]\nshuffle_copies = 2\n[shuffle-worker]\nmemory_bytes_max = 33554432\n";
    let config = world.file("penstock.toml", config).display().to_string();
    let cluster = ProcessCluster::up(&world, &["--slots", "2", "--config", &config]);
    create_tables(&world);
    // What is made once and kept, such as connections, is there from now on.
    world.ok(&["submit", "--wait", "-e", LONG_JOIN, "--set", "penstock.partitions=4"]);
    succeed(&world);
    let empty = |levels: &Levels| {
        levels
            .iter()
            .all(|(name, level)| name.contains("connections") || name.contains("open files") || *level == 0)
    };
    let before = until("everything is released", || Some(levels(&world, &cluster)).filter(empty));
    let watched = Watched { world: &world, cluster: &cluster, before };

    watched.after("jobs that succeed", |world| (0..3).for_each(|_| succeed(world)));
    watched.after("jobs that fail", |world| (0..2).for_each(|_| fail(world)));
    watched.after("a job that is cancelled", cancel);
    watched.after("an executor that is killed", |world| {
        let job = under_way(world, 1);
        signal(cluster.pid_of("executor-1"), Signal::SIGKILL);
        assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
        world.ok(&["cluster", "restart", "executor-1"]);
    });
    watched.after("garbage", |_| {
        for what in ["data", "control"] {
            send_garbage(&WORKERS.map(|worker| cluster.address_of(worker, what)));
        }
    });
    watched.after("a last job", succeed);
}
