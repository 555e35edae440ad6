//! What operators said of workers outlives the master that heard it, and the life of the worker that it was said of.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, SHUFFLE, Setup, Worker, cluster, eventually},
    http::{get, post},
    operations::{two_workers, until_state, worker, workers_of},
};

/// Starts a worker again, and waits until it drains or serves.
async fn restarted(cluster: &Cluster, worker: &Worker, drains: bool) -> Worker {
    let again = cluster.restart(worker, worker.disk.clone()).await;
    until_draining(&again, drains).await;
    again
}

async fn until_draining(worker: &Worker, drains: bool) {
    let own = worker.handle.admin.unwrap();
    let said = async || get(own, "/api/v1/worker").await["draining"] == drains;
    eventually(if drains { "it drains" } else { "it serves" }, said).await;
}

// Soft state: the worker remembers it, so a master that knows nothing learns it.
#[tokio::test]
async fn a_new_master_learns_that_a_worker_drains() {
    let cluster = cluster(two_workers()).await;
    let own = cluster.workers[0].handle.admin.unwrap();
    assert_eq!(post(own, "/api/v1/decommission", json!({})).await.0, 200);
    cluster.masters[0].stop().await;
    let again = cluster.restart_master(&cluster.masters[0]).await;
    let admin = again.handle.admin.unwrap();
    let both_report = async || get(admin, "/api/v1/workers").await["workers"].as_array().unwrap().len() == 2;
    eventually("both workers report", both_report).await;
    assert_eq!(worker(admin, "w0").await["draining"], true);
    let target = cluster.owner.reserve(SHUFFLE, 4).await.unwrap();
    assert_eq!(workers_of(&target), BTreeSet::from(["w1"]));
}

// Soft state: workers carry what operators say of them from master to master, and the latest counts.
#[tokio::test]
async fn what_one_master_hears_of_a_worker_all_learn() {
    let cluster = cluster(Setup { masters: 2, ..two_workers() }).await;
    let [one, other] = [0, 1].map(|master: usize| cluster.masters[master].handle.admin.unwrap());
    let state_at = async |admin, state| {
        let stands_so = |view: &Value| view["worker"] == "w0" && view["state"] == state;
        let listed = async || get(admin, "/api/v1/workers").await["workers"].clone();
        eventually(state, async || listed().await.as_array().unwrap().iter().any(stands_so)).await;
    };
    let order = json!({ "seconds": 600, "reason": "slow disk" });
    assert_eq!(post(one, "/api/v1/workers/w0/exclude", order).await.0, 200);
    state_at(other, "excluded").await;
    assert_eq!(worker(other, "w0").await["excluded_because"], "slow disk");

    cluster.masters[0].stop().await;
    let again = cluster.restart_master(&cluster.masters[0]).await;
    state_at(again.handle.admin.unwrap(), "excluded").await;
    cluster.clock.advance(Duration::from_secs(1));
    assert_eq!(post(other, "/api/v1/workers/w0/include", json!({})).await.0, 200);
    state_at(again.handle.admin.unwrap(), "serving").await;
}

// Soft state: masters remember what operators said of a worker by its name, not by its life.
#[tokio::test]
async fn a_decommissioned_worker_that_is_started_again_drains_until_it_is_recommissioned_anywhere() {
    let cluster = cluster(Setup { masters: 2, ..two_workers() }).await;
    let [one, other] = [0, 1].map(|master: usize| cluster.masters[master].handle.admin.unwrap());
    assert_eq!(post(one, "/api/v1/workers/w0/decommission", json!({})).await.0, 200);
    until_draining(&cluster.workers[0], true).await;
    eventually("the other master knows", async || worker(other, "w0").await["draining"] == true).await;
    // The master that heard it may be gone by then.
    cluster.masters[0].stop().await;
    let again = restarted(&cluster, &cluster.workers[0], true).await;
    assert_eq!(workers_of(&cluster.owner.reserve(SHUFFLE, 4).await.unwrap()), BTreeSet::from(["w1"]));

    let empty = cluster.restart_master(&cluster.masters[0]).await;
    let admin = empty.handle.admin.unwrap();
    let workers = async || get(admin, "/api/v1/workers").await["workers"].as_array().unwrap().len();
    eventually("both workers report", async || workers().await == 2).await;
    assert_eq!(post(admin, "/api/v1/workers/w0/recommission", json!({})).await.0, 200);
    until_draining(&again, false).await;
    eventually("the other master knows", async || worker(other, "w0").await["state"] == "serving").await;
    let again = restarted(&cluster, &again, false).await;
    assert_eq!(worker(other, "w0").await["draining"], false);
    drop(again);
}

#[tokio::test]
async fn a_worker_that_was_decommissioned_at_its_own_view_drains_in_its_next_life() {
    let cluster = cluster(two_workers()).await;
    let own = cluster.workers[0].handle.admin.unwrap();
    assert_eq!(post(own, "/api/v1/decommission", json!({})).await.0, 200);
    until_state(&cluster, "w0", "drained").await;
    let again = restarted(&cluster, &cluster.workers[0], true).await;
    let own = again.handle.admin.unwrap();
    assert_eq!(post(own, "/api/v1/recommission", json!({})).await.0, 200);
    until_state(&cluster, "w0", "serving").await;
    restarted(&cluster, &again, false).await;
}
