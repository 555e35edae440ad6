//! Hosts that a network no longer reaches, and nobody is told: two copies of shuffled data make that cost nothing.

use crate::{
    cluster::{get, is_busy},
    joins::{assert_joined, assert_joined_at_once, assert_runs, create_tables, under_way},
    own::{Own, with_own},
    spread::SpreadCluster,
    support::{World, until},
};

const TWO_COPIES: &str = "[coordinator]\nshuffle_copies = 2\n";

/// A job of which so many tasks have finished when `cut` is called.
fn survives(tasks: u64, cut: impl FnOnce(&SpreadCluster<'_>)) {
    let world = World::new();
    let cluster = SpreadCluster::up(&world, TWO_COPIES);
    let data = create_tables(&world);
    let job = under_way(&world, tasks);
    cut(&cluster);
    assert_runs(&world, &job);
    assert_joined_at_once(&world, &cluster, &job, &data);
}

#[test]
fn a_worker_cut_off_while_maps_push_costs_no_task() {
    with_own(Own::Network, || survives(1, |cluster| cluster.host("shuffle-worker-1").cut()));
}

#[test]
fn a_worker_cut_off_while_tasks_read_costs_no_task() {
    with_own(Own::Network, || survives(5, |cluster| cluster.host("shuffle-worker-2").cut()));
}

#[test]
fn two_workers_that_cannot_reach_each_other_cost_no_task() {
    with_own(Own::Network, || {
        survives(1, |cluster| {
            cluster.host("shuffle-worker-1").cut_from(cluster.host("shuffle-worker-2"));
        });
    });
}

#[test]
fn a_worker_that_the_coordinator_cannot_reach_costs_no_task() {
    with_own(Own::Network, || {
        survives(1, |cluster| cluster.host("coordinator-1").cut_from(cluster.host("shuffle-worker-3")));
    });
}

#[test]
fn a_worker_whose_link_comes_back_costs_no_task_and_serves_again() {
    with_own(Own::Network, || {
        let world = World::new();
        let cluster = SpreadCluster::up(&world, TWO_COPIES);
        let data = create_tables(&world);
        let job = under_way(&world, 1);
        cluster.host("shuffle-worker-1").cut();
        until("the master misses it", || (cluster.state_of_worker("worker-1") == "silent").then_some(()));
        cluster.host("shuffle-worker-1").mend();
        assert_joined_at_once(&world, &cluster, &job, &data);
        until("it serves again", || (cluster.state_of_worker("worker-1") == "serving").then_some(()));
        let next = under_way(&world, 0);
        assert_joined_at_once(&world, &cluster, &next, &data);
    });
}

/// What it pushes after others have taken its tasks over is not read.
#[test]
fn an_executor_that_the_coordinator_cannot_reach_costs_its_tasks_alone_and_comes_back() {
    with_own(Own::Network, || {
        let world = World::new();
        let cluster = SpreadCluster::up(&world, TWO_COPIES);
        let data = create_tables(&world);
        let job = under_way(&world, 1);
        until("a task runs there", || is_busy(&cluster, "executor-1").then_some(()));
        let (executor, coordinator) = (cluster.host("executor-1"), cluster.host("coordinator-1"));
        executor.cut_from(coordinator);
        assert_runs(&world, &job);
        assert_eq!(world.ok(&["wait", &job]), "SUCCEEDED\n");
        assert_joined(&world, &job, &data);
        let status = world.json(&["status", &job, "--json"]);
        assert_eq!(status["reruns"].as_array().map(Vec::len), Some(0), "no stage ran again: {status}");
        executor.mend_to(coordinator);
        until("it is back", || is_connected(&cluster, "executor-1").then_some(()));
        let next = under_way(&world, 0);
        assert_joined_at_once(&world, &cluster, &next, &data);
    });
}

fn is_connected(cluster: &SpreadCluster<'_>, name: &str) -> bool {
    let answer = get(cluster, "executors");
    let executors = answer["executors"].as_array().expect("a list");
    executors.iter().any(|executor| executor["executor"] == name && executor["state"] == "ACTIVE")
}
