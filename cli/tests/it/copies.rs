//! Two copies of shuffled data: losing a shuffle worker costs nothing.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::{
    cluster::{LONG_JOIN, get, tasks_finished},
    oracle,
    support::{ProcessCluster, World, signal, until},
    tpch,
};

fn two_copies(world: &World) -> ProcessCluster<'_> {
    let config = world.file("two-copies.toml", "[coordinator]\nshuffle_copies = 2\n");
    let config = config.to_str().expect("a path of plain letters").to_owned();
    ProcessCluster::up(world, &["--shuffle-workers", "3", "--slots", "2", "--config", &config])
}

/// Every task was run once, and no attempt of it failed.
fn assert_nothing_ran_twice(cluster: &ProcessCluster<'_>, job: &str) {
    let stages = get(cluster, &format!("jobs/{job}/stages"));
    for stage in stages["stages"].as_array().expect("a list") {
        assert_eq!(stage["attempts_failed"], 0, "{stage}");
        let tasks = get(cluster, &format!("jobs/{job}/stages/{}/tasks", stage["stage"]));
        for task in tasks["tasks"].as_array().expect("a list") {
            assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1), "{task}");
        }
    }
}

/// The tables that [`LONG_JOIN`] reads; where their files are.
fn create_tables(world: &World) -> PathBuf {
    let data = tpch::data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    data
}

/// A job of which so many tasks have finished.
fn under_way(world: &World, tasks: u64) -> String {
    let submit = ["submit", "--json", "-e", LONG_JOIN, "--set", "penstock.partitions=4"];
    let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
    until("the job is under way", || (tasks_finished(world, &job) >= tasks).then_some(()));
    job
}

fn assert_runs(world: &World, job: &str) {
    assert_eq!(world.json(&["status", job, "--json"])["state"], "RUNNING", "the fault came in time");
}

fn assert_joined_at_once(world: &World, cluster: &ProcessCluster<'_>, job: &str, data: &Path) {
    assert_eq!(world.ok(&["wait", job]), "SUCCEEDED\n");
    assert_nothing_ran_twice(cluster, job);
    world.ok(&["results", job, "--output", "joined.parquet"]);
    let found = oracle::parquet_rows(&world.work().join("joined.parquet"));
    oracle::assert_equal("the join", found, oracle::rows(data, LONG_JOIN, 2));
}

/// Kills one of three workers when so many tasks have finished.
fn survives_a_kill_after(tasks: u64, victim: &str) {
    let world = World::new();
    let cluster = two_copies(&world);
    let data = create_tables(&world);
    let victim = cluster.pid_of(victim);
    let job = under_way(&world, tasks);
    signal(victim, Signal::SIGKILL);
    assert_runs(&world, &job);
    assert_joined_at_once(&world, &cluster, &job, &data);
}

#[test]
fn a_shuffle_worker_killed_while_maps_push_costs_no_task() {
    survives_a_kill_after(1, "shuffle-worker-1");
}

#[test]
fn a_shuffle_worker_killed_while_tasks_read_costs_no_task() {
    survives_a_kill_after(5, "shuffle-worker-2");
}

#[test]
fn a_shuffle_worker_that_stands_still_costs_no_task() {
    let world = World::new();
    let cluster = two_copies(&world);
    let data = create_tables(&world);
    let victim = cluster.pid_of("shuffle-worker-1");
    let job = under_way(&world, 1);
    signal(victim, Signal::SIGSTOP);
    assert_runs(&world, &job);
    world.ok(&["wait", &job]);
    signal(victim, Signal::SIGCONT);
    assert_joined_at_once(&world, &cluster, &job, &data);
}

#[test]
fn all_shuffle_workers_are_restarted_in_turn_under_load_and_no_task_runs_again() {
    let world = World::new();
    let cluster = two_copies(&world);
    let data = create_tables(&world);
    let restarted_under = |worker: &str| {
        let before = cluster.pid_of(worker);
        let job = under_way(&world, 1);
        world.ok(&["cluster", "restart", worker]);
        assert_ne!(cluster.pid_of(worker), before);
        job
    };
    let jobs = ["shuffle-worker-1", "shuffle-worker-2", "shuffle-worker-3"].map(restarted_under);
    for job in jobs {
        assert_joined_at_once(&world, &cluster, &job, &data);
    }
}

#[test]
fn more_than_two_copies_are_refused_by_name() {
    let world = World::new();
    let config = world.file("copies.toml", "[coordinator]\nshuffle_copies = 3\n");
    let ran = world.penstock(&["cluster", "up", "--port", "0", "--config", &config.display().to_string()]);
    assert_ne!(ran.exit, 0);
    assert!(ran.stderr.contains("shuffle_copies"), "{ran:?}");
}
