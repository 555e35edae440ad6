//! `penstock run`

use nix::sys::signal::Signal;

use crate::support::{Ran, World, signal, until};

#[test]
fn a_query_runs_without_any_server() {
    let world = World::new();
    assert_eq!(world.ok(&["run", "-e", "select 1 as a, 'x' as b"]), "a,b\n1,x\n");
    world.assert_nothing_left();
}

#[test]
fn a_script_of_several_statements_writes_each_result() {
    let world = World::new();
    world.file("orders.csv", "id,amount\n1,10\n2,20\n3,5\n");
    world.file(
        "job.sql",
        "create external table orders stored as csv location 'orders.csv' options ('format.has_header' 'true');
         select sum(amount) as total from orders;
         select id from orders where amount > $least order by id;",
    );
    let out = world.ok(&["run", "-f", "job.sql", "--param", "least=7", "--format", "csv"]);
    assert_eq!(out, "total\n35\nid\n1\n2\n");
    world.assert_nothing_left();
}

#[test]
fn a_script_comes_from_standard_input() {
    let world = World::new();
    let path = world.file("job.sql", "select 41 + 1 as answer");
    let mut command = world.command(&["run", "-f", "-"]);
    command.stdin(std::fs::File::open(path).expect("opens"));
    assert_eq!(Ran::of(command.output().expect("runs")).stdout, "answer\n42\n");
}

#[test]
fn tables_stay_with_state_and_go_without() {
    let world = World::new();
    let lake = world.work().join("lake");
    let lake = lake.to_str().expect("utf-8");
    world.ok(&["run", "--state", lake, "-e", "create table t as select 1 as a union all select 2"]);
    assert_eq!(world.ok(&["run", "--state", lake, "-e", "select sum(a) as s from t"]), "s\n3\n");
    let without = world.penstock(&["run", "-e", "select * from t"]);
    assert_eq!(without.exit, 3, "{without:?}");
}

#[test]
fn ctrl_c_cancels_the_job_and_leaves_nothing() {
    let world = World::new();
    let child = world.spawn(&["run", "-e", ENDLESS]);
    until("the job runs", || job_is_running(&world));
    signal(i32::try_from(child.id()).expect("a pid"), Signal::SIGINT);
    let ran = Ran::of(child.wait_with_output().expect("ends"));
    assert_eq!(ran.exit, 130, "{ran:?}");
    assert!(ran.stderr.contains("interrupted, the job is cancelled"), "{ran:?}");
    world.assert_nothing_left();
}

/// Runs for hours and uses no memory.
const ENDLESS: &str =
    "select sum(a.value % 7) from generate_series(1, 100000000) a, generate_series(1, 100000) b";

/// The event log says so, from the first second.
fn job_is_running(world: &World) -> Option<()> {
    let events = world.events_folder();
    let jobs = std::fs::read_dir(events).ok()?;
    jobs.flatten().any(|job| job.path().join("summary.json").exists()).then_some(())
}

#[test]
fn every_command_has_help_with_examples() {
    let world = World::new();
    let commands = [
        "demo",
        "run",
        "submit",
        "status",
        "wait",
        "logs",
        "results",
        "cancel",
        "jobs",
        "explain",
        "tables",
        "cluster",
        "coordinator",
        "executor",
        "shuffle-master",
        "shuffle-worker",
        "history-server",
        "completions",
    ];
    for command in commands {
        let help = world.ok(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
    let help = world.ok(&["--help"]);
    assert!(help.contains("Exit codes:"), "{help}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.ok(&["completions", shell]).contains("penstock"), "{shell}");
    }
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let world = World::new();
    world.file("penstock.toml", "[executor]\nslots = 3\n");
    let mut command = world.command(&["config", "show", "executor", "--config", "penstock.toml"]);
    let ran = Ran::of(command.env("PENSTOCK_EXECUTOR_MEMORY", "1GiB").output().expect("runs"));
    let line =
        |key: &str| ran.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("slots").contains("= 3") && line("slots").contains("file penstock.toml"), "{ran:?}");
    assert!(line("memory").contains("PENSTOCK_EXECUTOR_MEMORY"), "{ran:?}");
    assert!(line("drain_seconds").contains("default"), "{ran:?}");
}
