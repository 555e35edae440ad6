//! Two shuffle masters, of which the one that is asked is killed.

use nix::sys::signal::Signal;

use crate::{
    copies::{DIGESTS, assert_right_at_once, create_tables, some_stage_is_half_done, two_copies},
    rerun,
    support::{ProcessCluster, World, signal, text},
};

/// How often the coordinator was answered by another master than before.
fn master_changes(url: &str) -> u64 {
    let metrics = text(&format!("{url}/metrics"));
    let name = "penstock_shuffle_client_master_changes_total ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

fn with_two_masters(world: &World) -> ProcessCluster<'_> {
    two_copies(world, &["--shuffle-masters", "2", "--executors", "1", "--slots", "1"])
}

#[test]
fn a_second_master_takes_over_in_the_middle_of_a_job_and_gives_it_back_and_no_task_runs_again() {
    let world = World::new();
    let cluster = with_two_masters(&world);
    let data = create_tables(&world);
    for _ in 0..2 {
        // The first one is asked first; each change is one to the other.
        let changes = master_changes(&cluster.url);
        let asked = format!("shuffle-master-{}", 1 + changes % 2);
        let master = cluster.pid_of(&asked);
        let kill = || signal(master, Signal::SIGKILL);
        let job = rerun::halted_when(&world, &cluster, DIGESTS, some_stage_is_half_done, kill);
        assert_right_at_once(&world, &cluster, &job, DIGESTS, &data);
        // What comes now is placed by the other one from the beginning.
        let next = world.json(&["submit", "--wait", "--json", "-e", DIGESTS]);
        let next = next["job_id"].as_str().expect("an id");
        assert_right_at_once(&world, &cluster, next, DIGESTS, &data);
        assert!(master_changes(&cluster.url) > changes, "another one was asked");
        assert!(world.ok(&["shuffle", "workers"]).contains("serving"), "the other one knows all");
        assert_eq!(world.penstock(&["cluster", "status"]).exit, 6, "one is gone");
        world.ok(&["cluster", "restart", &asked]);
        world.ok(&["cluster", "status"]);
    }
}

#[test]
fn a_cluster_with_two_masters_goes_as_a_whole() {
    let world = World::new();
    let cluster = with_two_masters(&world);
    let running = cluster.processes();
    let masters = running
        .iter()
        .filter(|process| process["name"].as_str().is_some_and(|name| name.starts_with("shuffle-master-")));
    assert_eq!(masters.count(), 2, "{running:?}");
    let down = world.json(&["cluster", "down", "--json"]);
    assert_eq!(down["stopped"], running.len());
}
