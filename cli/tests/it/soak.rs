//! The long tests: scale 1, and more data than memory. `make soak` runs them.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    cluster::{is_busy, tasks_finished},
    oracle,
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

const EXECUTOR_MEMORY_MIB: u64 = 512;
/// What a process may use beyond its limit.
const TOLERANCE: f64 = 1.25;
/// Copies of lineitem at scale 1 that make 6 GiB in memory layout.
const COPIES: &str = "(select value as copy from generate_series(1, 9))";

fn within_memory(sql: &str, rows: &str) {
    let world = World::new();
    let memory = format!("{EXECUTOR_MEMORY_MIB}MiB");
    let _cluster = ProcessCluster::up(&world, &["--memory", &memory]);
    world.ok(&["submit", "--wait", "-e", &tpch::create_tables(&data())]);
    let settings = ["--set", "penstock.partitions=32", "--set", "penstock.shuffle.codec=none"];
    let submit = [&["submit", "--wait", "--json", "-e", sql][..], &settings].concat();
    let job = world.json(&submit);
    let shuffled = job["totals"]["shuffled_bytes"].as_u64().unwrap_or(0);
    assert!(shuffled >= 6 << 30, "only {shuffled} bytes were shuffled");
    let id = job["job_id"].as_str().expect("an id");
    assert_eq!(world.ok(&["results", id, "--format", "csv"]).lines().nth(1), Some(rows));
    assert_memory_held(&world);
}

/// The peak of every executor's resident memory is near its limit.
fn assert_memory_held(world: &World) {
    let status = world.json(&["cluster", "status", "--json"]);
    let limit = EXECUTOR_MEMORY_MIB as f64 * TOLERANCE;
    for process in status["processes"].as_array().expect("a list") {
        let name = process["name"].as_str().unwrap_or_default();
        let peak = peak_mib(process);
        println!("{name}: peak {peak:.0} MiB");
        assert!(
            !name.starts_with("executor") || peak <= limit,
            "{name} used {peak:.0} MiB, more than {limit}"
        );
    }
}

fn peak_mib(process: &Value) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process["pid"])).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") / 1024.0
}

#[test]
#[ignore = "soak: 6 GiB"]
fn soak_a_sort_of_6_gib_fits_into_executors_of_512_mib() {
    let sql = format!(
        "select count(*) as rows from (select *, row_number() over (order by l_comment, l_orderkey, copy) as position \
         from lineitem, {COPIES}) where position > 0 and l_shipinstruct || l_shipmode || l_returnflag || l_linestatus \
         || cast(l_partkey + l_suppkey + l_linenumber as varchar) || cast(l_extendedprice + l_quantity as varchar) <> ''"
    );
    within_memory(&sql, "54010935");
}

#[test]
#[ignore = "soak: 6 GiB"]
fn soak_an_aggregation_of_6_gib_fits_into_executors_of_512_mib() {
    let sql = format!(
        "select count(*) as groups from (select l_orderkey, l_linenumber, copy, l_comment, l_shipinstruct, \
         l_shipmode, sum(l_extendedprice * l_discount) as discounts, max(l_shipdate) as shipped from lineitem, {COPIES} \
         group by l_orderkey, l_linenumber, copy, l_comment, l_shipinstruct, l_shipmode) \
         where discounts >= 0 and shipped is not null"
    );
    within_memory(&sql, "54010935");
}
