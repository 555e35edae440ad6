//! Shuffle workers are killed while a query needs their data, which has one copy.
//!
//! The executor is halted while the victim dies, so that what is true when the test looks is still true then.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    oracle,
    support::{ProcessCluster, World, signal, until},
    tpch,
};

#[test]
fn a_query_survives_the_kill_of_a_worker_that_holds_a_committed_exchange() {
    check(some_task_reads);
}

#[test]
fn a_query_survives_the_kill_of_a_worker_that_tasks_push_to() {
    check(some_task_pushes);
}

/// A stage is half done that reads a committed exchange.
pub fn some_task_reads(stages: &[Value]) -> bool {
    let is_committed = |id: &Value| stages.iter().any(|s| s["stage"] == *id && s["state"] == "SUCCEEDED");
    stages.iter().any(|stage| {
        let inputs = stage["inputs"].as_array().expect("a list");
        is_half_done(stage) && inputs.iter().any(is_committed)
    })
}

/// A stage that begins an exchange is half done.
pub fn some_task_pushes(stages: &[Value]) -> bool {
    let reads_nothing = |stage: &Value| stage["inputs"].as_array().is_some_and(Vec::is_empty);
    stages.iter().any(|stage| stage["output"] == "shuffle" && reads_nothing(stage) && is_half_done(stage))
}

pub fn is_half_done(stage: &Value) -> bool {
    let number = |key: &str| stage[key].as_u64().expect("a number");
    stage["state"] == "RUNNING"
        && number("tasks_finished") > 0
        && number("tasks_finished") + 1 < number("tasks_total")
}

/// Kills one of two workers in the moment that `wanted` describes.
fn check(wanted: impl Fn(&[Value]) -> bool) {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &["--executors", "1", "--slots", "1", "--shuffle-workers", "2"]);
    let data = tpch::data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    let sql = tpch::query(9);
    let victim = cluster.pid_of("shuffle-worker-1");
    let job = halted_when(&world, &cluster, &sql, wanted, || signal(victim, Signal::SIGKILL));
    let rest = Rest::new(&cluster, &job);

    assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
    world.ok(&["results", &job, "--output", "q9.parquet"]);
    let found = oracle::parquet_rows(&world.work().join("q9.parquet"));
    oracle::assert_equal("q9", found, oracle::rows(&data, sql.trim().trim_end_matches(';'), 8));

    let status = world.json(&["status", &job, "--json"]);
    let reruns = status["reruns"].as_array().expect("a list");
    let says = |rerun: &Value| {
        rerun["message"].as_str().is_some_and(|message| {
            message.starts_with("ran again because its shuffle data was lost") && message.contains("worker-1")
        })
    };
    assert!(reruns.iter().any(says), "{status}");
    assert!(world.ok(&["status", &job]).contains("ran again because its shuffle data was lost"));
    let again = reruns[0]["stage"].as_u64().expect("a number");
    let tasks = rest.get(&format!("/stages/{again}/tasks"));
    let attempts =
        tasks["tasks"].as_array().into_iter().flatten().filter_map(|task| task["attempts"].as_array());
    assert!(attempts.flatten().any(|attempt| attempt["run"] == reruns[0]["run"]), "{tasks}");
}

/// Submits a job that is split into many tasks. Its only executor is halted in the moment that `wanted` describes, for `act`.
pub fn halted_when(
    world: &World,
    cluster: &ProcessCluster<'_>,
    sql: &str,
    wanted: impl Fn(&[Value]) -> bool,
    act: impl Fn(),
) -> String {
    let split =
        ["--set", "penstock.partitions=8", "--set", "datafusion.optimizer.repartition_file_min_size=0"];
    let submit = [&["submit", "--json", "-e", sql][..], &split[..]].concat();
    let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
    halt_when(cluster.pid_of("executor-1"), &Rest::new(cluster, &job), wanted, act);
    job
}

/// The same for a job that runs already, with the process of its only executor.
pub fn halt_when(executor: i32, rest: &Rest, wanted: impl Fn(&[Value]) -> bool, act: impl Fn()) {
    until("the job is where it is wanted", || {
        assert_ne!(rest.job()["state"], "SUCCEEDED", "the job was faster than the test");
        if !wanted(&rest.stages()) {
            return None;
        }
        signal(executor, Signal::SIGSTOP);
        let still = wanted(&rest.stages());
        if still {
            act();
        }
        signal(executor, Signal::SIGCONT);
        still.then_some(())
    });
}

/// Asks the coordinator without starting a process each time.
pub struct Rest {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    url: String,
}

impl Rest {
    pub fn new(cluster: &ProcessCluster<'_>, job: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self { runtime, client: reqwest::Client::new(), url: format!("{}/api/v1/jobs/{job}", cluster.url) }
    }

    fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url));
        self.runtime.block_on(async { request.send().await.expect("answers").json().await.expect("is json") })
    }

    fn job(&self) -> Value {
        self.get("")
    }

    fn stages(&self) -> Vec<Value> {
        self.get("/stages")["stages"].as_array().cloned().unwrap_or_default()
    }
}
