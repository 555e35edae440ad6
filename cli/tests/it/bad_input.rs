//! What bad input gets: one clear message, the right exit code, and nothing left behind.

use crate::support::{Ran, World};

/// Checks that the message holds each of `said`.
fn refused(world: &World, arguments: &[&str], exit: i32, said: &[&str]) {
    let ran = world.penstock(arguments);
    assert_eq!(ran.exit, exit, "penstock {arguments:?}: {ran:?}");
    for part in said {
        assert!(ran.stderr.contains(part), "`{part}` is missing for {arguments:?}: {}", ran.stderr);
    }
    let messages = ran.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(messages, 1, "one message: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    world.assert_nothing_left();
}

fn refused_sql(sql: &str, exit: i32, said: &[&str]) {
    refused(&World::new(), &["run", "-e", sql], exit, said);
}

#[test]
fn a_table_without_files_is_told_by_its_location() {
    let world = World::new();
    std::fs::create_dir(world.work().join("empty")).expect("created");
    let sql = "create external table t stored as parquet location 'empty/'; select * from t";
    refused(&world, &["run", "-e", sql], 4, &["empty"]);
    let sql = "create external table t stored as parquet location 'missing.parquet'; select * from t";
    refused(&world, &["run", "-e", sql], 4, &["missing.parquet"]);
}

#[test]
fn a_corrupt_parquet_file_is_named() {
    let world = World::new();
    world.file("broken.parquet", "PAR1 this is no parquet at all PAR1");
    let sql = "create external table t stored as parquet location 'broken.parquet'; select * from t";
    refused(&world, &["run", "-e", sql], 4, &["broken.parquet"]);
}

#[test]
fn a_broken_csv_line_is_told_by_file_and_line() {
    let world = World::new();
    world.file("lines.csv", "a,b\n1,2\n3,4\nfive,6\n7,8\n");
    let sql = "create external table t (a int, b int) stored as csv location 'lines.csv' \
               options ('format.has_header' 'true'); select sum(a) from t";
    refused(&world, &["run", "-e", sql], 4, &["lines.csv", "line 4"]);
}

#[test]
fn a_syntax_error_shows_its_line_with_a_caret() {
    refused_sql("select 1;\nselect a frm t where", 3, &["line 2", "^"]);
}

#[test]
fn an_unknown_column_is_told_with_the_nearest_one() {
    let sql = "create view v as select 1 as amount; select amuont from v";
    refused_sql(sql, 3, &["amuont", "amount", "^"]);
}

#[test]
fn an_unknown_table_is_told_with_the_nearest_one() {
    refused_sql("create view orders as select 1 as a; select * from ordres", 3, &["ordres", "orders"]);
}

#[test]
fn a_type_error_is_refused_before_anything_runs() {
    refused_sql("select date '2024-01-01' + true", 3, &[]);
}

#[test]
fn a_division_by_zero_is_an_error_of_the_data() {
    refused_sql("select 10 / (value - 2) from generate_series(1, 3)", 4, &["ivi"]);
}

#[test]
fn a_missing_parameter_is_named() {
    refused_sql("select $day as d", 3, &["day"]);
}

#[test]
fn an_unused_parameter_is_named() {
    refused(&World::new(), &["run", "-e", "select 1", "--param", "day=2024-01-01"], 3, &["day"]);
}

#[test]
fn an_unknown_setting_is_told_with_the_nearest_one() {
    let arguments = ["run", "-e", "select 1", "--set", "penstock.partition=3"];
    refused(&World::new(), &arguments, 3, &["penstock.partition", "penstock.partitions"]);
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = taken.local_addr().expect("bound").to_string();
    let arguments = ["shuffle-master", "--control-listen", &addr];
    refused(&world, &arguments, 2, &[&addr, "configure another port"]);
}

#[test]
fn an_unknown_configuration_key_is_refused_with_the_nearest_one() {
    let world = World::new();
    world.file("penstock.toml", "[executor]\nslot = 3\n");
    let said = ["`slot`", "penstock.toml", "did you mean `slots`?"];
    refused(&world, &["executor", "--config", "penstock.toml"], 2, &said);
}

#[test]
fn a_coordinator_that_is_not_there_is_told_with_what_to_do() {
    let world = World::new();
    let arguments = ["jobs", "--url", "http://127.0.0.1:9"];
    refused(&world, &arguments, 6, &["127.0.0.1:9", "penstock cluster up"]);
}

#[test]
fn a_script_that_does_not_exist_is_named() {
    refused(&World::new(), &["run", "-f", "no-such.sql"], 2, &["no-such.sql"]);
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_query_runs() {
    let world = World::new();
    refused(&world, &["run", "-e", "select 1", "-o", "no/such/folder.csv"], 2, &["no/such"]);
}

#[test]
fn a_full_disk_is_told_and_leaves_no_file() {
    let world = World::new();
    // The device that is always full.
    let mut command = world.command(&["run", "-e", "select value from generate_series(1, 100000)"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
    let ran = Ran::of(command.stdout(full).output().expect("runs"));
    assert_eq!(ran.exit, 5, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    world.assert_nothing_left();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::new();
    let script = format!(
        "'{}' run -e 'select value from generate_series(1, 1000000)' | head -n 2",
        crate::support::PENSTOCK
    );
    let mut command = std::process::Command::new("bash");
    let output = command
        .args(["-c", &format!("set -o pipefail; {script}")])
        .current_dir(world.work())
        .env("XDG_STATE_HOME", world.work().join("../state"))
        .env("TMPDIR", world.work().join("../tmp"))
        .output()
        .expect("runs");
    let ran = Ran::of(output);
    assert_eq!((ran.exit, ran.stdout.as_str(), ran.stderr.as_str()), (0, "value\n1\n", ""));
}
