//! The 22 queries equal one DataFusion process, at 1, 2 and 7 partitions, embedded and with real processes.

use std::path::{Path, PathBuf};

use crate::{
    oracle,
    support::{ProcessCluster, World},
};

/// Made once, shared by all tests and the demo: `demo` is what makes it.
pub fn data() -> PathBuf {
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let make = || {
        let world = World::new();
        PathBuf::from(world.ok(&["demo", "--only-data"]).trim())
    };
    MADE.get_or_init(make).clone()
}

pub fn create_tables(data: &Path) -> String {
    let mut statements = String::new();
    for entry in std::fs::read_dir(data).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        statements +=
            &format!("create external table {name} stored as parquet location '{}';\n", path.display());
    }
    statements
}

pub fn query(number: u32) -> String {
    let folder = Path::new("../examples/tpch/queries");
    std::fs::read_to_string(folder.join(format!("q{number:02}.sql"))).expect("a query")
}

/// Runs every query with `command` (run or submit) and compares.
fn check_all(world: &World, command: &[&str], partitions: usize) {
    let data = data();
    let setting = format!("penstock.partitions={partitions}");
    for number in 1..=22 {
        let sql = query(number);
        let file = format!("q{number}.parquet");
        let run = [command, &["-e", &sql, "--set", &setting, "--output", &file, "--quiet"]].concat();
        world.ok(&run);
        let found = oracle::parquet_rows(&world.work().join(&file));
        let what = format!("q{number} at {partitions} partitions");
        oracle::assert_equal(&what, found, oracle::rows(&data, sql.trim().trim_end_matches(';'), partitions));
    }
}

fn check_embedded(partitions: usize) {
    let world = World::new();
    let tables = create_tables(&data());
    world.ok(&["run", "--state", "lake", "-e", &tables]);
    check_all(&world, &["run", "--state", "lake"], partitions);
}

fn check_processes(partitions: usize) {
    let world = World::new();
    let cluster = ProcessCluster::up(&world, &[]);
    let tables = create_tables(&data());
    world.ok(&["submit", "--wait", "--url", &cluster.url, "-e", &tables]);
    check_all(&world, &["submit", "--wait", "--url", &cluster.url], partitions);
}

#[test]
fn embedded_with_1_partition() {
    check_embedded(1);
}

#[test]
fn embedded_with_2_partitions() {
    check_embedded(2);
}

#[test]
fn embedded_with_7_partitions() {
    check_embedded(7);
}

#[test]
fn processes_with_1_partition() {
    check_processes(1);
}

#[test]
fn processes_with_2_partitions() {
    check_processes(2);
}

#[test]
fn processes_with_7_partitions() {
    check_processes(7);
}
