//! A cluster of real processes and the commands that talk to it.

use std::{path::PathBuf, process::Command};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    oracle,
    support::{Coordinator, PENSTOCK, ProcessCluster, Ran, World, signal, until},
    tpch,
};

#[test]
fn a_job_is_submitted_waited_for_and_its_result_fetched() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let submitted = world.json(&["submit", "-e", "select 42 as answer", "--name", "answer", "--json"]);
    let job = submitted["job_id"].as_str().expect("an id");
    assert_eq!(world.ok(&["wait", job]), "SUCCEEDED\n");
    assert_eq!(world.ok(&["results", job]), "answer\n42\n");
    let status = world.json(&["status", job, "--json"]);
    assert_eq!(status["state"], "SUCCEEDED");
    for total in ["rows", "scanned_bytes", "shuffled_bytes", "spilled_bytes", "written_bytes", "slot_seconds"]
    {
        assert!(status["totals"][total].is_number(), "{total}: {status}");
    }
    let listed = world.json(&["jobs", "--json"]);
    assert!(
        listed["jobs"].as_array().expect("a list").iter().any(|listed| listed["job_id"] == job),
        "{listed}"
    );
    assert!(world.ok(&["logs", job]).lines().count() > 2);
}

#[test]
fn the_same_key_finds_the_same_job() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let submit = || world.json(&["submit", "-e", "select 1", "--key", "daily", "--json"]);
    let first = submit();
    world.ok(&["wait", first["job_id"].as_str().expect("an id")]);
    let second = submit();
    assert_eq!((&second["job_id"], &second["reattached"]), (&first["job_id"], &Value::Bool(true)));
}

#[test]
fn tables_and_plans_can_be_looked_at() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    world.ok(&["submit", "--wait", "-e", "create table sales as select 1 as id, 2.5 as amount"]);
    assert!(world.ok(&["tables"]).contains("sales"));
    assert!(world.ok(&["tables", "sales"]).contains("amount"));
    let plan = world.ok(&["explain", "--distributed", "-e", "select id, sum(amount) from sales group by id"]);
    assert!(plan.contains("Aggregate"), "{plan}");
}

#[test]
fn cancel_ends_a_running_job() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let submitted = world.json(&["submit", "--json", "-e", HEAVY_SERIES]);
    let job = submitted["job_id"].as_str().expect("an id").to_owned();
    until("a task runs", || (tasks_running(&world, &job) > 0).then_some(()));
    world.ok(&["cancel", &job, "--reason", "enough"]);
    let waited = world.penstock(&["wait", &job]);
    assert_eq!(waited.exit, 7, "{waited:?}");
}

const HEAVY_SERIES: &str =
    "select sum(a.value % 7) from generate_series(1, 100000000) a, generate_series(1, 100000) b";

#[test]
fn a_job_says_that_it_waits_for_an_executor() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &["--executors", "1"]);
    signal(cluster.pid_of("executor-1"), Signal::SIGKILL);
    let submitted = world.json(&["submit", "--json", "-e", "select 1 as a"]);
    let job = submitted["job_id"].as_str().expect("an id").to_owned();
    until("the job says what it waits for", || {
        let status = world.json(&["status", &job, "--json"]);
        status["waiting"].as_str().is_some_and(|waiting| waiting.contains("no executor")).then_some(())
    });
    world.ok(&["cancel", &job]);
}

#[test]
fn a_killed_executor_costs_only_the_tasks_that_ran_on_it() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &["--slots", "1"]);
    let data = tpch::data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    let submit = ["submit", "--json", "-e", LONG_JOIN, "--set", "penstock.partitions=4"];
    let job = world.json(&submit)["job_id"].as_str().expect("an id").to_owned();
    let victim = cluster.pid_of("executor-1");
    until("a join task runs on the first executor", || {
        (tasks_finished(&world, &job) > 0 && is_busy(&cluster, "executor-1")).then_some(())
    });
    signal(victim, Signal::SIGKILL);
    assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
    world.ok(&["results", &job, "--output", "joined.parquet"]);
    let found = oracle::parquet_rows(&world.work().join("joined.parquet"));
    oracle::assert_equal("the join", found, oracle::rows(&data, LONG_JOIN, 2));
}

/// Some ninety million pairs.
pub const LONG_JOIN: &str = "select a.l_shipmode, count(*) as pairs, sum(a.l_linenumber * b.l_linenumber) as products \
    from lineitem a join lineitem b on a.l_suppkey = b.l_suppkey where a.l_linenumber = 1 group by a.l_shipmode";

fn tasks_running(world: &World, job: &str) -> u64 {
    world.json(&["status", job, "--json"])["progress"]["tasks_running"].as_u64().unwrap_or(0)
}

pub fn tasks_finished(world: &World, job: &str) -> u64 {
    world.json(&["status", job, "--json"])["progress"]["tasks_finished"].as_u64().unwrap_or(0)
}

/// What the coordinator answers.
pub fn get(cluster: &impl Coordinator, path: &str) -> Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = format!("{}/api/v1/{path}", cluster.url());
    runtime.block_on(async { reqwest::get(url).await.expect("answers").json().await.expect("is json") })
}

pub fn is_busy(cluster: &impl Coordinator, name: &str) -> bool {
    let answer = get(cluster, "executors");
    let executors = answer["executors"].as_array().cloned().unwrap_or_default();
    executors
        .iter()
        .any(|executor| executor["executor"] == name && executor["slots_used"].as_u64().unwrap_or(0) > 0)
}

#[test]
fn an_executor_of_another_build_is_refused_although_its_version_is_the_same() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &["--executors", "1"]);
    let ours = get(&cluster, "info")["build"].as_str().expect("a build").to_owned();
    let (program, theirs) = another_build(&world, &ours);
    let arguments = [
        "executor",
        "--name",
        "stranger",
        "--coordinator-addr",
        &cluster.address_of("coordinator-1", "grpc"),
    ];
    let output = Command::new(program).args(arguments).current_dir(world.work()).output().expect("it runs");
    let ran = Ran::of(output);
    assert_ne!(ran.exit, 0, "{ran:?}");
    for part in ["executor stranger is build", &theirs, &ours, "run the same penstock binary everywhere"] {
        assert!(ran.stderr.contains(part), "`{part}` is missing: {}", ran.stderr);
    }
}

/// The same program but for one byte of its build id; other processes write it, so that this one never holds it open
/// while it is started.
fn another_build(world: &World, ours: &str) -> (PathBuf, String) {
    let (version, id) = ours.split_once('+').expect("a version and an id");
    let id = u64::from_str_radix(id, 16).expect("the linker's id");
    let content = std::fs::read(PENSTOCK).expect("is there");
    let at =
        content.windows(8).position(|bytes| bytes == id.to_be_bytes()).expect("the id is in the program");
    let program = world.work().join("another");
    let script = format!(
        "cp '{PENSTOCK}' another && printf '\\{:03o}' | dd of=another bs=1 seek={at} conv=notrunc status=none",
        content[at] ^ 0xff
    );
    let copied = Command::new("sh").args(["-c", &script]).current_dir(world.work()).status();
    assert!(copied.expect("a shell").success());
    (program, format!("{version}+{:016x}", id ^ (0xff << 56)))
}

#[test]
fn down_leaves_no_process_and_no_scratch() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &[]);
    let status = world.json(&["cluster", "status", "--json"]);
    let pids: Vec<_> =
        status["processes"].as_array().expect("a list").iter().map(|p| p["pid"].clone()).collect();
    assert_eq!(pids.len(), 7, "{status}");
    world.ok(&["submit", "--wait", "-e", "select 1"]);
    world.ok(&["cluster", "down"]);
    for pid in pids {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let gone = state.is_empty() || state.contains(") Z ");
        assert!(gone, "{pid} still runs: {state}");
    }
    for folder in ["scratch", "shuffle", "run"] {
        assert!(!world.cluster_state().join(folder).exists(), "{folder} is left");
    }
    assert_eq!(world.penstock(&["cluster", "status"]).exit, 6);
    drop(cluster);
    assert!(!world.cluster_state().exists(), "purged");
}

#[test]
fn a_second_cluster_in_the_same_folder_is_refused() {
    let world = World::new();
    let _cluster = ProcessCluster::up(&world, &[]);
    let second = world.penstock(&["cluster", "up", "--port", "0"]);
    assert_eq!(second.exit, 2, "{second:?}");
    assert!(second.stderr.contains("already runs"), "{second:?}");
}

#[test]
fn a_port_in_use_stops_the_start_and_leaves_no_process() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    // The shuffle master takes the second port after the first.
    let port = taken.local_addr().expect("bound").port() - 2;
    let ran: Ran = world.penstock(&["cluster", "up", "--port", &port.to_string()]);
    assert_eq!(ran.exit, 6, "{ran:?}");
    assert!(
        ran.stderr.contains("shuffle-master") && ran.stderr.contains("configure another port"),
        "{ran:?}"
    );
    assert_eq!(world.penstock(&["cluster", "status"]).exit, 6);
}
