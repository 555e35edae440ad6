//! A job that takes long enough for something to happen to its cluster, and how it must have ended.

use std::path::{Path, PathBuf};

use crate::{
    cluster::{LONG_JOIN, get, tasks_finished},
    oracle,
    support::{Coordinator, World, until},
    tpch,
};

/// Every task was run once, and no attempt of it failed.
pub fn assert_nothing_ran_twice(cluster: &impl Coordinator, job: &str) {
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
pub fn create_tables(world: &World) -> PathBuf {
    let data = tpch::data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    data
}

/// A job of which so many tasks have finished.
pub fn under_way(world: &World, tasks: u64) -> String {
    let submit = ["submit", "--json", "-e", LONG_JOIN, "--set", "penstock.partitions=4"];
    let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
    until("the job is under way", || (tasks_finished(world, &job) >= tasks).then_some(()));
    job
}

pub fn assert_runs(world: &World, job: &str) {
    assert_eq!(world.json(&["status", job, "--json"])["state"], "RUNNING", "the fault came in time");
}

/// It succeeds with the right rows, and no task was run again.
pub fn assert_joined_at_once(world: &World, cluster: &impl Coordinator, job: &str, data: &Path) {
    assert_eq!(world.ok(&["wait", job]), "SUCCEEDED\n");
    assert_nothing_ran_twice(cluster, job);
    assert_joined(world, job, data);
}

/// Its rows are those of [`LONG_JOIN`].
pub fn assert_joined(world: &World, job: &str, data: &Path) {
    world.ok(&["results", job, "--output", "joined.parquet"]);
    let found = oracle::parquet_rows(&world.work().join("joined.parquet"));
    oracle::assert_equal("the join", found, oracle::rows(data, LONG_JOIN, 2));
}
