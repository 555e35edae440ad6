//! The long tests: scale 1, more data than memory, and workers that stand still for long. `make soak` runs them.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    cluster::{is_busy, tasks_finished},
    copies, oracle,
    support::{ProcessCluster, World, signal, until},
    tpch,
};

fn data() -> PathBuf {
    PathBuf::from(World::new().ok(&["demo", "--only-data", "--scale", "1"]).trim())
}

#[test]
#[ignore = "soak: scale 1"]
fn soak_tpch_q9_survives_the_kill_of_one_of_two_executors() {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &[]);
    let data = data();
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data)]);
    let sql = tpch::query(9);
    let job = world.json(&["submit", "--json", "-e", &sql, "--set", "penstock.partitions=4"]);
    let job = job["job_id"].as_str().expect("an id").to_owned();
    let victim = cluster.pid_of("executor-1");
    until("the job is under way on the first executor", || {
        (tasks_finished(&world, &job) > 4 && is_busy(&cluster, "executor-1")).then_some(())
    });
    signal(victim, Signal::SIGKILL);
    assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
    world.ok(&["results", &job, "--output", "q9.parquet"]);
    let found = oracle::parquet_rows(&world.work().join("q9.parquet"));
    oracle::assert_equal("q9", found, oracle::rows(&data, sql.trim().trim_end_matches(';'), 2));
}

const MEMORY_MIB: u64 = 512;
/// What a process may use beyond its limit.
const TOLERANCE: f64 = 1.25;
/// Lineitem at scale 1, each row nine times: 6 GiB in memory layout, made without a join.
const LINES: &str = "(select *, unnest(range(1, 10)) as copy from lineitem) as lines";

const ROWS: u64 = 54_010_935;
/// As they travel. More than two workers may have in memory.
const SHUFFLED_BYTES_MIN: u64 = 1536 << 20;

/// Runs `sql` with little memory and gives its status.
fn within_memory(world: &World, sql: &str) -> Value {
    let memory = format!("{MEMORY_MIB}MiB");
    let config = world.file("penstock.toml", format!("[shuffle-worker]\nmemory_bytes_max = \"{memory}\"\n"));
    let config = config.to_str().expect("is text");
    let _cluster = ProcessCluster::up(world, &["--memory", &memory, "--config", config]);
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data())]);
    let settings = ["--set", "penstock.partitions=32", "--set", "penstock.shuffle.codec=none"];
    let submit = [&["submit", "--wait", "--json", "-e", sql][..], &settings].concat();
    let job = world.json(&submit);
    let shuffled = job["totals"]["shuffled_bytes"].as_u64().unwrap_or(0);
    assert!(shuffled >= SHUFFLED_BYTES_MIN, "only {shuffled} bytes were shuffled");
    assert_memory_held(world);
    job
}

/// The peak of resident memory of executors and shuffle workers, which have the same limit, is near it.
fn assert_memory_held(world: &World) {
    let status = world.json(&["cluster", "status", "--json"]);
    let limit = MEMORY_MIB as f64 * TOLERANCE;
    for process in status["processes"].as_array().expect("a list") {
        let name = process["name"].as_str().unwrap_or_default();
        let peak = peak_mib(process);
        println!("{name}: peak {peak:.0} MiB");
        assert!(peak <= limit, "{name} used {peak:.0} MiB, more than {limit}");
    }
}

fn peak_mib(process: &Value) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process["pid"])).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

#[test]
#[ignore = "soak: 6 GiB"]
fn soak_a_sort_of_6_gib_fits_into_512_mib() {
    let world = World::new();
    let sort = format!(
        "copy (select * from {LINES} order by l_comment, l_orderkey, copy) to 'sorted/' stored as parquet"
    );
    assert_eq!(within_memory(&world, &sort)["totals"]["rows"], ROWS);
}

#[test]
#[ignore = "soak: 6 GiB"]
fn soak_numbering_the_rows_of_6_gib_fits_into_512_mib() {
    let world = World::new();
    let numbered = format!(
        "copy (select *, row_number() over (order by l_comment, l_orderkey, copy) as number from {LINES}) \
         to 'numbered/' stored as parquet"
    );
    assert_eq!(within_memory(&world, &numbered)["totals"]["rows"], ROWS);
}

#[test]
#[ignore = "soak: 6 GiB"]
fn soak_an_aggregation_of_6_gib_fits_into_512_mib() {
    let world = World::new();
    let groups = "l_orderkey, l_linenumber, copy, l_comment, l_shipinstruct, l_shipmode";
    let aggregate = format!(
        "copy (select count(*) as groups from (select {groups}, sum(l_extendedprice * l_discount) as discounts, \
         max(l_shipdate) as shipped from {LINES} group by {groups}) where discounts >= 0 and shipped is not null) \
         to 'groups.csv'"
    );
    within_memory(&world, &aggregate);
    let answer = std::fs::read_to_string(world.work().join("groups.csv")).expect("written");
    assert_eq!(answer.trim(), format!("groups\n{ROWS}"));
}

// Longer than any patience, and than a lease of what the worker was sent.
#[test]
#[ignore = "soak: half a minute for each worker"]
fn soak_each_shuffle_worker_stands_still_for_half_a_minute_and_no_task_runs_again() {
    copies::each_stands_still_for(Duration::from_secs(30));
}
