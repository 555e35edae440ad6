//! Quotas of jobs and users: refused before acceptance, never after (invariant 29).

use bytes::Bytes;
use penstock_common::bytes::ByteSize;
use penstock_protocol::ids::{JobId, ShuffleId};
use penstock_shuffle_client::{
    PushError,
    owner::{OwnerError, Profile},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    http::{get, post},
    watch::Watch,
};

const OTHER: ShuffleId = ShuffleId { job: JobId(Uuid::from_u128(2)), ..SHUFFLE };

fn limited() -> Setup {
    Setup {
        configure_master: |config| {
            config.job_bytes_max = ByteSize(100_000);
            config.user_locations_max = 6;
        },
        // A new epoch elsewhere is no way out.
        revive: true,
        ..Setup::default()
    }
}

fn of(user: &str) -> Profile {
    Profile { user: user.into(), ..Profile::default() }
}

async fn is_over(cluster: &Cluster, job: JobId) -> bool {
    let view = get(cluster.master.admin.unwrap(), "/api/v1/jobs").await;
    view["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .any(|shown| shown["job"] == job.to_string() && shown["over_quota"] == true)
}

fn batch(number: u32) -> (u32, Bytes) {
    (0, payload(0, 0, number, 60_000))
}

#[tokio::test]
async fn a_job_beyond_its_bytes_is_refused_more_and_keeps_what_was_accepted() {
    let watch = Watch::start();
    let cluster = cluster(limited()).await;
    let target = cluster.reserve(SHUFFLE, 1).await;
    let output = cluster.write(&target, 0, 0, [batch(0), batch(1)]).await.unwrap();
    eventually("the master knows", async || is_over(&cluster, JOB).await).await;
    // From the answer to a report on, which may be the next one.
    let mut attempt = 1;
    let mut error = None;
    eventually("a push is refused", async || {
        error = cluster.write(&target, 0, attempt, [batch(0)]).await.err();
        attempt += 1;
        error.is_some()
    })
    .await;
    let error = error.unwrap();
    assert!(matches!(error, PushError::NoRoom { .. }), "{error}");
    assert!(error.to_string().contains("quota"), "{error}");
    assert_eq!(watch.counter("penstock_shuffle_refused_batches_total", "OverQuota"), 1);
    let told = watch.warnings().into_iter().filter(|line| line.contains("quota is used up")).count();
    assert_eq!(told, 1, "{:?}", watch.warnings());
    let refused = cluster.owner.reserve(shuffle(1), 1).await.unwrap_err();
    assert!(matches!(refused, OwnerError::OverQuota { .. }), "{refused}");
    // Another job is not concerned, and what was accepted can be read.
    cluster.write(&cluster.reserve(OTHER, 1).await, 0, 0, [batch(0)]).await.unwrap();
    let source = cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0);
    assert_eq!(cluster.read(SHUFFLE, &[winner(0, 0)], source).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_jobs_of_a_user_share_a_quota_which_an_operator_can_change() {
    let cluster = cluster(limited()).await;
    let admin = cluster.master.admin.unwrap();
    cluster.owner.describe(JOB, of("ann"));
    cluster.owner.describe(OTHER.job, of("ann"));
    cluster.reserve(SHUFFLE, 4).await;
    let refused = cluster.owner.reserve(OTHER, 3).await.unwrap_err();
    assert!(refused.to_string().contains("user ann"), "{refused}");

    let (status, view) = post(admin, "/api/v1/quotas", json!({ "user": "ann", "locations": 7 })).await;
    assert_eq!(status, 200);
    assert_eq!((&view["users"][0]["user"], &view["users"][0]["locations_max"]), (&json!("ann"), &json!(7)));
    cluster.reserve(OTHER, 3).await;
    eventually("the workers report whose jobs they are", async || {
        let view = get(admin, "/api/v1/quotas").await;
        view["users"][0]["user"] == "ann" && view["users"][0]["locations"] == 7
    })
    .await;
    post(admin, "/api/v1/quotas", json!({ "user": "ann" })).await;
    assert!(cluster.owner.reserve(shuffle(1), 1).await.is_err(), "back to 6");
    // The end of a job gives its share back.
    cluster.owner.release_job(OTHER.job).await.unwrap();
    eventually("its locations are gone", async || cluster.owner.reserve(shuffle(1), 1).await.is_ok()).await;
}

// The second master heard of the user from the workers alone.
#[tokio::test]
async fn a_master_that_takes_over_knows_what_users_hold() {
    let cluster = cluster(Setup { masters: 2, ..limited() }).await;
    cluster.owner.describe(JOB, of("ann"));
    cluster.reserve(SHUFFLE, 6).await;
    let admin = cluster.masters[1].handle.admin.unwrap();
    eventually("the standby knows", async || {
        get(admin, "/api/v1/quotas").await["users"][0]["locations"] == 6
    })
    .await;
    cluster.masters[0].stop().await;
    let refused = cluster.owner.reserve(shuffle(1), 1).await.unwrap_err();
    assert!(refused.to_string().contains("user ann"), "{refused}");
}

fn two_masters() -> Setup {
    Setup { masters: 2, configure: |config| config.admin_listen = "127.0.0.1:0".into(), ..limited() }
}

/// Until the other master has heard from the workers what was ordered at one.
async fn until_limit(cluster: &Cluster, master: usize, locations: u64) {
    let admin = cluster.masters[master].handle.admin.unwrap();
    eventually("the other master knows of the quota", async || {
        let view = get(admin, "/api/v1/quotas").await;
        let users = view["users"].as_array().unwrap().clone();
        users.iter().any(|user| user["user"] == "ann" && user["locations_max"] == locations)
    })
    .await;
}

// Soft state: workers carry quotas that were set at run time from master to master.
#[tokio::test]
async fn a_quota_is_in_force_after_the_master_that_heard_it_is_gone() {
    let cluster = cluster(two_masters()).await;
    cluster.owner.describe(JOB, of("ann"));
    let [one, other] = [0, 1].map(|master: usize| cluster.masters[master].handle.admin.unwrap());
    post(one, "/api/v1/quotas", json!({ "user": "ann", "locations": 2 })).await;
    until_limit(&cluster, 1, 2).await;
    cluster.masters[0].stop().await;
    let refused = cluster.owner.reserve(SHUFFLE, 3).await.unwrap_err();
    assert!(refused.to_string().contains("0 of 2 locations"), "{refused}");
    cluster.owner.reserve(SHUFFLE, 2).await.unwrap();

    // One that starts empty learns it, too, and that it was taken back.
    let again = cluster.restart_master(&cluster.masters[0]).await;
    let admin = again.handle.admin.unwrap();
    let limit = async |limit: u64| {
        let shown = async || get(admin, "/api/v1/quotas").await["users"][0]["locations_max"] == limit;
        eventually("the empty master knows of the quota", shown).await;
    };
    limit(2).await;
    post(other, "/api/v1/quotas", json!({ "user": "ann" })).await;
    limit(6).await;
}

#[tokio::test]
async fn a_quota_that_is_raised_at_one_master_is_raised_although_the_other_was_not_told() {
    let configure_master = |config: &mut penstock_shuffle_service::master::Config| {
        config.user_bytes_max = ByteSize(100_000);
    };
    let cluster = cluster(Setup { workers: 1, configure_master, ..two_masters() }).await;
    cluster.owner.describe(JOB, of("ann"));
    let target = cluster.reserve(SHUFFLE, 1).await;
    cluster.write(&target, 0, 0, [batch(0), batch(1)]).await.unwrap();
    let [one, other] = [0, 1].map(|master: usize| cluster.masters[master].handle.admin.unwrap());
    let worker = cluster.workers[0].handle.admin.unwrap();
    let over = async |admin| get(admin, "/api/v1/jobs").await["jobs"][0]["over_quota"] == true;
    eventually("all know", async || over(one).await && over(other).await && over(worker).await).await;

    post(one, "/api/v1/quotas", json!({ "user": "ann", "bytes": 1_000_000 })).await;
    eventually("the worker takes more", async || !over(worker).await).await;
    assert!(!over(other).await, "it would be refused again");
    let target = cluster.reserve(shuffle(1), 1).await;
    cluster.write(&target, 0, 0, [batch(0)]).await.unwrap();
}

#[tokio::test]
async fn a_quota_that_was_set_at_run_time_outlives_the_settings_it_was_laid_over() {
    let cluster = cluster(limited()).await;
    let admin = cluster.master.admin.unwrap();
    let shown = async || {
        let view = get(admin, "/api/v1/quotas").await;
        (view["users"][0]["locations_max"].clone(), view["users"][0]["ordered_at"].is_string())
    };
    post(admin, "/api/v1/quotas", json!({ "user": "ann", "locations": 2 })).await;
    let mut config = cluster.masters[0].config.clone();
    let limit = penstock_shuffle_service::master::Limit { bytes: ByteSize(0), locations: 5 };
    config.user_quotas.insert("ann".into(), limit);
    cluster.master.reload(config).unwrap();
    assert_eq!(shown().await, (json!(2), true));
    post(admin, "/api/v1/quotas", json!({ "user": "ann" })).await;
    assert_eq!(shown().await, (json!(5), false), "as the file says");
    let long = "a".repeat(257);
    assert_eq!(post(admin, "/api/v1/quotas", json!({ "user": long, "locations": 2 })).await.0, 400);
}
