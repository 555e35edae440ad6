//! What operators do with workers: exclude, decommission, announce that a machine goes; and jobs with tags.

use std::{collections::BTreeSet, net::SocketAddr};

use penstock_protocol::shuffle::ShuffleTarget;
use penstock_shuffle_client::owner::{OwnerError, Profile};
use penstock_shuffle_service::worker;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    http::{delete, get, get_text, post},
};

fn with_admin(_: usize, config: &mut worker::Config) {
    config.admin_listen = "127.0.0.1:0".into();
}

pub fn two_workers() -> Setup {
    Setup { configure_worker: with_admin, ..Setup::default() }
}

pub fn workers_of(target: &ShuffleTarget) -> BTreeSet<&str> {
    target.locations.iter().map(|location| location.worker.worker.as_str()).collect()
}

pub async fn worker(admin: SocketAddr, name: &str) -> Value {
    let view = get(admin, "/api/v1/workers").await;
    view["workers"].as_array().unwrap().iter().find(|worker| worker["worker"] == name).unwrap().clone()
}

pub async fn until_state(cluster: &Cluster, name: &str, state: &str) {
    let admin = cluster.master.admin.unwrap();
    eventually(&format!("{name} is {state}"), async || worker(admin, name).await["state"] == state).await;
}

#[tokio::test]
async fn an_excluded_worker_gets_nothing_new_and_keeps_what_it_has() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let before = cluster.reserve(SHUFFLE, 2).await;
    let order = json!({ "seconds": 60, "reason": "disk swap" });
    let (status, view) = post(admin, "/api/v1/workers/w0/exclude", order).await;
    assert_eq!(
        (status, &view["state"], &view["excluded_because"]),
        (200, &json!("excluded"), &json!("disk swap"))
    );
    assert_eq!(workers_of(&*cluster.reserve(shuffle(1), 4).await), BTreeSet::from(["w1"]));
    cluster.write(&before, 0, 0, [(0, payload(0, 0, 0, 10)), (1, payload(0, 1, 0, 10))]).await.unwrap();
    assert_eq!(post(admin, "/api/v1/workers/w0/include", json!({})).await.0, 200);
    assert_eq!(workers_of(&*cluster.reserve(shuffle(2), 4).await), BTreeSet::from(["w0", "w1"]));
    assert_eq!(post(admin, "/api/v1/workers/nobody/exclude", json!({})).await.0, 404);
    assert_eq!(post(admin, "/api/v1/workers/w0/exclude", json!({ "seconds": 0 })).await.0, 400);
}

#[tokio::test]
async fn a_decommissioned_worker_is_drained_once_its_jobs_have_ended_and_may_come_back() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let target = cluster.reserve(SHUFFLE, 2).await;
    let output =
        cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 10)), (1, payload(0, 1, 0, 10))]).await.unwrap();
    assert_eq!(post(admin, "/api/v1/workers/w0/decommission", json!({})).await.0, 200);
    until_state(&cluster, "w0", "draining").await;
    // What was there can be committed and read.
    for source in cluster.sources(&target, &[winner(0, 0)], &[output]).await {
        assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 1);
    }
    assert_eq!(workers_of(&*cluster.reserve(shuffle(1), 4).await), BTreeSet::from(["w1"]));
    let own = cluster.workers[0].handle.admin.unwrap();
    eventually("the worker heard it", async || get(own, "/api/v1/worker").await["draining"] == true).await;
    assert_eq!(get(own, "/api/v1/worker").await["drained"], false);
    cluster.owner.release_job(JOB).await.unwrap();
    until_state(&cluster, "w0", "drained").await;
    // It has not heard of the order yet, and is not called drained any more.
    let (_, view) = post(admin, "/api/v1/workers/w0/recommission", json!({})).await;
    assert_eq!((&view["state"], &view["drained"]), (&json!("serving"), &json!(false)));
    eventually("the worker heard it", async || get(own, "/api/v1/worker").await["draining"] == false).await;
    until_state(&cluster, "w0", "serving").await;
}

#[tokio::test]
async fn a_worker_that_stopped_in_order_is_shown_as_gone_at_once() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    cluster.workers[0].stop().await;
    let view = worker(admin, "w0").await;
    assert_eq!((&view["state"], &view["alive"]), (&json!("left"), &json!(false)));
    let again = cluster.restart(&cluster.workers[0], cluster.workers[0].disk.clone()).await;
    until_state(&cluster, "w0", "serving").await;
    drop(again);
}

#[tokio::test]
async fn a_worker_whose_machine_goes_is_left_while_others_can_take_what_is_written() {
    let cluster = cluster(two_workers()).await;
    let own = cluster.workers[0].handle.admin.unwrap();
    assert_eq!(post(own, "/api/v1/interruption", json!({ "seconds": 120 })).await.0, 200);
    until_state(&cluster, "w0", "leaving").await;
    assert_eq!(workers_of(&*cluster.reserve(SHUFFLE, 4).await), BTreeSet::from(["w1"]));
    assert_eq!(cluster.owner.leaving().await.unwrap(), BTreeSet::from(["w0".into()]));
    let master = cluster.master.admin.unwrap();
    assert_eq!(post(master, "/api/v1/workers/w1/exclude", json!({})).await.0, 200);
    assert_eq!(cluster.owner.leaving().await.unwrap(), BTreeSet::new(), "the other one takes nothing new");
    assert_eq!(post(master, "/api/v1/workers/w1/include", json!({})).await.0, 200);
    assert_eq!(cluster.owner.leaving().await.unwrap(), BTreeSet::from(["w0".into()]));
    cluster.workers[1].stop().await;
    until_state(&cluster, "w1", "left").await;
    assert_eq!(cluster.owner.leaving().await.unwrap(), BTreeSet::new(), "there is nowhere else to go");
    assert_eq!(delete(own, "/api/v1/interruption").await, 200);
    until_state(&cluster, "w0", "serving").await;
}

#[tokio::test]
async fn a_master_passes_on_that_the_machine_of_a_worker_goes() {
    let cluster = cluster(two_workers()).await;
    let (admin, own) = (cluster.master.admin.unwrap(), cluster.workers[0].handle.admin.unwrap());
    let path = "/api/v1/workers/w0/interruption";
    let (status, answer) = post(admin, path, json!({ "seconds": 120 })).await;
    assert_eq!((status, &answer["state"]), (200, &json!("leaving")), "{answer}");
    assert_eq!(get(own, "/api/v1/worker").await["leaves_at"], answer["leaves_at"]);
    assert_eq!(delete(admin, path).await, 200);
    until_state(&cluster, "w0", "serving").await;
    assert_eq!(get(own, "/api/v1/worker").await["leaves_at"], json!(null));
    assert_eq!(post(admin, "/api/v1/workers/nobody/interruption", json!({ "seconds": 1 })).await.0, 404);
    assert_eq!(post(admin, path, json!({ "seconds": -1 })).await.0, 422);
    assert_eq!(workers_of(&*cluster.reserve(shuffle(1), 4).await), BTreeSet::from(["w0", "w1"]));
}

#[tokio::test]
async fn a_job_that_asks_for_tags_gets_workers_that_have_them() {
    let configure_worker = |index: usize, config: &mut worker::Config| {
        config.tags = if index == 1 { vec!["nvme".into()] } else { Vec::new() };
    };
    let cluster = cluster(Setup { workers: 3, configure_worker, ..Setup::default() }).await;
    cluster.owner.describe(JOB, Profile { tags: vec!["nvme".into()], ..Profile::default() });
    assert_eq!(workers_of(&*cluster.reserve(SHUFFLE, 4).await), BTreeSet::from(["w1"]));
}

#[tokio::test]
async fn the_partitions_of_a_job_are_listed_with_their_workers() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let target = cluster.reserve(SHUFFLE, 2).await;
    cluster.write(&target, 0, 0, [(1, payload(0, 1, 0, 10))]).await.unwrap();
    let path = format!("/api/v1/jobs/{JOB}/partitions");
    eventually("the workers report the job", async || get_text(admin, &path).await.0 == 200).await;
    eventually("both are listed", async || get(admin, &path).await["total"] == 2).await;
    let view = get(admin, &path).await;
    let listed: Vec<_> = view["locations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| {
            (l["partition"].as_u64().unwrap(), l["phase"].as_str().unwrap(), l["bytes"].as_u64().unwrap() > 0)
        })
        .collect();
    assert_eq!(listed, [(0, "open", false), (1, "open", true)]);
    assert_eq!(get_text(admin, "/api/v1/jobs/nonsense/partitions").await.0, 400);
    let nobodys = uuid::Uuid::from_u128(99);
    assert_eq!(get_text(admin, &format!("/api/v1/jobs/{nobodys}/partitions")).await.0, 404);
}

#[tokio::test]
async fn settings_change_at_run_time_and_those_that_cannot_are_named() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let (status, answer) = post(admin, "/api/v1/settings", json!({ "job_locations_max": 3 })).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(["job_locations_max"])));
    let error = cluster.owner.reserve(SHUFFLE, 4).await.unwrap_err();
    assert!(matches!(error, OwnerError::OverQuota { .. }), "{error}");

    let both = json!({ "job_locations_max": 9, "control_listen": "127.0.0.1:1" });
    let (status, answer) = post(admin, "/api/v1/settings", both).await;
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("control_listen"), "{answer}");
    assert_eq!(get(admin, "/api/v1/settings").await["job_locations_max"], 3, "all or nothing");
    assert_eq!(post(admin, "/api/v1/settings", json!({ "failures_max": 0 })).await.0, 400);
    assert_eq!(post(admin, "/api/v1/settings", json!({ "no_such": 0 })).await.0, 400);

    // A file that was read again: what can change does.
    let config = penstock_shuffle_service::master::Config {
        job_locations_max: 9,
        admin_listen: String::new(),
        ..cluster.masters[0].config.clone()
    };
    let reloaded = cluster.master.reload(config).unwrap();
    assert_eq!(reloaded.changed, ["job_locations_max"]);
    assert_eq!(reloaded.refused, ["admin_listen"]);
    cluster.reserve(SHUFFLE, 4).await;
}

#[tokio::test]
async fn settings_of_a_worker_change_at_run_time_through_a_master() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let path = "/api/v1/workers/w0/settings";
    assert_eq!(get(admin, path).await["flush_from_percent"], 70);
    let wanted = json!({ "flush_from_percent": 40, "flush_to_percent": "20", "tags": "nvme,fast" });
    let (status, answer) = post(admin, path, wanted).await;
    let mut changed: Vec<_> =
        answer["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    changed.sort_unstable();
    assert_eq!((status, changed), (200, vec!["flush_from_percent", "flush_to_percent", "tags"]));
    let own = cluster.workers[0].handle.admin.unwrap();
    assert_eq!(get(own, "/api/v1/settings").await["flush_to_percent"], 20);

    // The next report tells the masters.
    let tagged = async || worker(admin, "w0").await["tags"] == json!(["nvme", "fast"]);
    eventually("w0 is known by its tags", tagged).await;
    cluster.owner.describe(JOB, Profile { tags: vec!["nvme".into()], ..Profile::default() });
    assert_eq!(workers_of(&*cluster.reserve(SHUFFLE, 4).await), BTreeSet::from(["w0"]));

    // What is new is refused from now on; what is there stays.
    assert_eq!(post(own, "/api/v1/settings", json!({ "locations_max": 4 })).await.0, 200);
    let error = cluster.owner.reserve(shuffle(1), 1).await.unwrap_err();
    assert!(matches!(error, OwnerError::NoWorkers { .. } | OwnerError::Reserve { .. }), "{error}");
}

#[tokio::test]
async fn settings_of_a_worker_that_need_a_restart_are_refused_by_name_and_nothing_changes() {
    let cluster = cluster(two_workers()).await;
    let admin = cluster.master.admin.unwrap();
    let path = "/api/v1/workers/w0/settings";
    let before = get(admin, path).await;
    for (wrong, said) in [
        (
            json!({ "locations_max": 9, "masters": "a:1", "memory_bytes_max": "1GiB" }),
            "masters, memory_bytes_max",
        ),
        (json!({ "locations_max": 9, "flush_to_percent": 99 }), "`flush_to_percent`"),
        (json!({ "locations_max": 9, "split_from_byte": 1 }), "did you mean `split_from_bytes`?"),
        (json!({ "locations_max": "many" }), "setting `locations_max`"),
        (json!({ "log_filter": "penstock=loud" }), "`log_filter`"),
        (json!({ "disks": [{ "path": "elsewhere" }] }), "only a restart changes these settings: disks"),
        (json!([]), "a JSON object"),
    ] {
        let (status, answer) = post(admin, path, wrong.clone()).await;
        assert_eq!(status, 400, "{wrong}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{wrong}: {message}");
        assert_eq!(get(admin, path).await, before, "{wrong}");
    }
    assert_eq!(post(admin, "/api/v1/workers/nobody/settings", json!({})).await.0, 404);

    // A file that was read again: what can change does.
    let w0 = &cluster.workers[0];
    let file = worker::Config { locations_max: 9, zone: "elsewhere".into(), ..w0.config.clone() };
    let reloaded = w0.handle.reload(file).unwrap();
    assert_eq!((reloaded.changed, reloaded.refused), (vec!["locations_max".into()], vec!["zone".into()]));
}
