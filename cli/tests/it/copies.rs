//! Two copies of shuffled data: losing a shuffle worker, in whatever way, costs nothing.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    cluster::{LONG_JOIN, get, tasks_finished},
    oracle,
    rerun::{self, Rest},
    support::{ProcessCluster, World, signal, until},
    tpch,
};

const WORKERS: [&str; 3] = ["shuffle-worker-1", "shuffle-worker-2", "shuffle-worker-3"];

pub fn two_copies<'a>(world: &'a World, more: &[&str]) -> ProcessCluster<'a> {
    // Executors that a test halts are not lost for that.
    let settings = "[coordinator]\nshuffle_copies = 2\nexecutor_timeout_ms = 600000\n";
    let config = world.file("two-copies.toml", settings);
    let config = config.to_str().expect("a path of plain letters").to_owned();
    ProcessCluster::up(world, &[&["--shuffle-workers", "3", "--config", &config], more].concat())
}

/// With one executor, which tests halt.
fn with_one_slot(world: &World) -> ProcessCluster<'_> {
    two_copies(world, &["--executors", "1", "--slots", "1"])
}

/// The tables of all queries; where their files are.
pub fn create_tables(world: &World) -> PathBuf {
    let data = tpch::data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    data
}

/// Every task was run once, and no attempt of it failed; the new epochs of all shuffles.
fn assert_nothing_ran_twice(cluster: &ProcessCluster<'_>, job: &str) -> u64 {
    let stages = get(cluster, &format!("jobs/{job}/stages"));
    let stages = stages["stages"].as_array().expect("a list");
    for stage in stages {
        assert_eq!(stage["attempts_failed"], 0, "{stage}");
        let tasks = get(cluster, &format!("jobs/{job}/stages/{}/tasks", stage["stage"]));
        for task in tasks["tasks"].as_array().expect("a list") {
            assert_eq!(task["attempts"].as_array().map(Vec::len), Some(1), "{task}");
        }
    }
    stages.iter().filter_map(|stage| stage["epochs_added"].as_u64()).sum()
}

/// Waits for a job. Each of its tasks ran once, and its answer is right; the new epochs of its shuffles.
pub fn assert_right_at_once(
    world: &World,
    cluster: &ProcessCluster<'_>,
    job: &str,
    sql: &str,
    data: &Path,
) -> u64 {
    assert_eq!(world.ok(&["wait", job]), "SUCCEEDED\n");
    let epochs_added = assert_nothing_ran_twice(cluster, job);
    let file = format!("{job}.parquet");
    world.ok(&["results", job, "--output", &file]);
    let found = oracle::parquet_rows(&world.work().join(&file));
    oracle::assert_equal(job, found, oracle::rows(data, sql.trim().trim_end_matches(';'), 8));
    epochs_added
}

/// Sends a signal to each worker in turn, in the moment of a job that `wanted` describes; the new epochs of each job.
fn survives_in_turn(signals: Signal, wanted: impl Fn(&[Value]) -> bool) -> [u64; 3] {
    let world = World::new();
    let cluster = with_one_slot(&world);
    let data = create_tables(&world);
    let sql = tpch::query(9);
    WORKERS.map(|worker| {
        let victim = cluster.pid_of(worker);
        let job = rerun::halted_when(&world, &cluster, &sql, &wanted, || signal(victim, signals));
        let epochs_added = assert_right_at_once(&world, &cluster, &job, &sql, &data);
        match signals {
            Signal::SIGSTOP => signal(victim, Signal::SIGCONT),
            _ => drop(world.ok(&["cluster", "restart", worker])),
        }
        epochs_added
    })
}

#[test]
fn each_shuffle_worker_is_killed_while_tasks_push_and_no_task_runs_again() {
    let epochs_added = survives_in_turn(Signal::SIGKILL, rerun::some_task_pushes);
    assert!(epochs_added.iter().all(|epochs| *epochs > 0), "the fault came in time: {epochs_added:?}");
}

#[test]
fn each_shuffle_worker_is_killed_while_tasks_read_and_no_task_runs_again() {
    survives_in_turn(Signal::SIGKILL, rerun::some_task_reads);
}

// It stands still until the job has ended without it.
#[test]
fn each_shuffle_worker_stands_still_while_tasks_push_and_no_task_runs_again() {
    let epochs_added = survives_in_turn(Signal::SIGSTOP, rerun::some_task_pushes);
    assert!(epochs_added.iter().all(|epochs| *epochs > 0), "the fault came in time: {epochs_added:?}");
}

#[test]
fn each_shuffle_worker_stands_still_while_tasks_read_and_no_task_runs_again() {
    survives_in_turn(Signal::SIGSTOP, rerun::some_task_reads);
}

/// Tasks push and are not all done yet.
pub fn some_stage_is_half_done(stages: &[Value]) -> bool {
    stages.iter().any(|stage| stage["output"] == "shuffle" && rerun::is_half_done(stage))
}

fn has_new_epochs(stages: &[Value]) -> bool {
    stages.iter().any(|stage| stage["epochs_added"].as_u64() > Some(0))
}

/// Two exchanges with something in every partition; what lies between them takes a while.
pub const DIGESTS: &str = "select l_suppkey % 100 as part, count(*) as suppliers, max(digest) as digest from \
    (select l_suppkey, sum(l_quantity) as quantity, md5(repeat(cast(l_suppkey as varchar), 200000)) as digest \
    from lineitem group by l_suppkey) where quantity > 0 group by l_suppkey % 100";

// It comes back with what it was sent before it stood still, and to writers and readers that have left it.
#[test]
fn each_shuffle_worker_stands_still_and_comes_back_while_the_job_runs_and_no_task_runs_again() {
    let world = World::new();
    let cluster = with_one_slot(&world);
    let data = create_tables(&world);
    let executor = cluster.pid_of("executor-1");
    for (worker, name) in WORKERS.into_iter().zip(["worker-1", "worker-2", "worker-3"]) {
        let victim = cluster.pid_of(worker);
        let is = |state: &str| {
            until(&format!("{name} is {state}"), || (cluster.state_of_worker(name) == state).then_some(()));
        };
        let stop = || signal(victim, Signal::SIGSTOP);
        let job = rerun::halted_when(&world, &cluster, DIGESTS, some_stage_is_half_done, stop);
        let goes_on_without_it = |stages: &[Value]| has_new_epochs(stages) && some_stage_is_half_done(stages);
        rerun::halt_when(executor, &Rest::new(&cluster, &job), goes_on_without_it, || {
            is("silent");
            signal(victim, Signal::SIGCONT);
            is("serving");
        });
        assert_right_at_once(&world, &cluster, &job, DIGESTS, &data);
    }
}

/// Each worker stands still in the middle of a job and for so long at least, while one job after the other runs, and comes back.
pub fn each_stands_still_for(pause: Duration) {
    let world = World::new();
    let cluster = with_one_slot(&world);
    let data = create_tables(&world);
    let run = || {
        let job =
            world.json(&["submit", "--json", "-e", DIGESTS])["job_id"].as_str().expect("an id").to_owned();
        assert_right_at_once(&world, &cluster, &job, DIGESTS, &data);
    };
    for (worker, name) in WORKERS.into_iter().zip(["worker-1", "worker-2", "worker-3"]) {
        let victim = cluster.pid_of(worker);
        let stopped_at = Instant::now();
        let stop = || signal(victim, Signal::SIGSTOP);
        let job = rerun::halted_when(&world, &cluster, DIGESTS, some_stage_is_half_done, stop);
        assert_right_at_once(&world, &cluster, &job, DIGESTS, &data);
        while stopped_at.elapsed() < pause {
            run();
        }
        signal(victim, Signal::SIGCONT);
        run();
        until("it serves", || (cluster.state_of_worker(name) == "serving").then_some(()));
    }
}

/// A job of which a task has finished.
fn under_way(world: &World) -> String {
    let submit = ["submit", "--json", "-e", LONG_JOIN, "--set", "penstock.partitions=4"];
    let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
    until("the job is under way", || (tasks_finished(world, &job) > 0).then_some(()));
    job
}

#[test]
fn all_shuffle_workers_are_restarted_in_turn_under_load_and_no_task_runs_again() {
    let world = World::new();
    let cluster = two_copies(&world, &["--slots", "2"]);
    let data = create_tables(&world);
    let restarted_under = |worker: &str| {
        let before = cluster.pid_of(worker);
        let job = under_way(&world);
        world.ok(&["cluster", "restart", worker]);
        assert_ne!(cluster.pid_of(worker), before);
        job
    };
    let jobs = WORKERS.map(restarted_under);
    for job in jobs {
        assert_right_at_once(&world, &cluster, &job, LONG_JOIN, &data);
    }
}

// The same for one job that is halted while its tasks push, so that both copies of what they have pushed are on workers that
// live no more when it is committed.
#[test]
fn all_shuffle_workers_are_restarted_while_tasks_push_and_no_task_runs_again() {
    let world = World::new();
    let cluster = with_one_slot(&world);
    let data = create_tables(&world);
    let sql = tpch::query(9);
    let restart = || WORKERS.iter().for_each(|worker| drop(world.ok(&["cluster", "restart", worker])));
    let job = rerun::halted_when(&world, &cluster, &sql, rerun::some_task_pushes, restart);
    let epochs_added = assert_right_at_once(&world, &cluster, &job, &sql, &data);
    assert!(epochs_added > 0);
}

#[test]
fn more_than_two_copies_are_refused_by_name() {
    let world = World::new();
    let config = world.file("copies.toml", "[coordinator]\nshuffle_copies = 3\n");
    let ran = world.penstock(&["cluster", "up", "--port", "0", "--config", &config.display().to_string()]);
    assert_ne!(ran.exit, 0);
    assert!(ran.stderr.contains("shuffle_copies"), "{ran:?}");
}
