//! A shuffle worker that has the only copy of what a job reads is killed and started again on what it had stored.

use nix::sys::signal::Signal;

use crate::{
    joins::{assert_nothing_ran_twice, create_tables},
    oracle, rerun,
    support::{ProcessCluster, World, files_below, signal, text, until},
};

/// More than the tries after which a worker is left that has not the only copy.
const TRIES: u64 = 8;

/// What the worker commits outlives it, and readers wait for it for as long as it takes.
const SETTINGS: &str = "[shuffle-worker]\nfsync = \"commit\"\n\
    [executor]\nshuffle_absence_ms = 600000\n\
    [coordinator]\nexecutor_timeout_ms = 600000\n";

/// With a column that takes a while. What follows the only exchange writes files, so once that is committed nothing is open.
const DIGESTS: &str = "select l_suppkey, sum(l_quantity) as quantity, \
    md5(repeat(cast(l_suppkey as varchar), 200000)) as digest from lineitem group by l_suppkey";

/// How often an executor's readers came back to a worker.
fn streams_reopened(executor: &str) -> u64 {
    let metrics = text(&format!("http://{executor}/metrics"));
    let name = "penstock_shuffle_client_reopened_streams_total ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_job_goes_on_reading_from_the_only_worker_once_it_is_back_and_no_task_runs_again() {
    let world = World::new();
    let config = world.file("penstock.toml", SETTINGS).display().to_string();
    let one = ["--shuffle-workers", "1", "--executors", "1", "--slots", "1", "--config", &config];
    let cluster = ProcessCluster::up(&world, &one);
    let data = create_tables(&world);
    let sink = format!("copy ({DIGESTS}) to 'digests/' stored as parquet");
    let executor = cluster.address_of("executor-1", "http");
    let victim = cluster.pid_of("shuffle-worker-1");
    let kill = || signal(victim, Signal::SIGKILL);
    let job = rerun::halted_when(&world, &cluster, &sink, rerun::some_task_reads, kill);
    until("a task has long missed the worker", || (streams_reopened(&executor) > TRIES).then_some(()));
    world.ok(&["cluster", "restart", "shuffle-worker-1"]);

    assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
    assert_nothing_ran_twice(&cluster, &job);
    let files = files_below(&world.work().join("digests"));
    let found = files.iter().flat_map(|file| oracle::parquet_rows(file)).collect();
    oracle::assert_equal("digests", found, oracle::rows(&data, DIGESTS, 2));
}
