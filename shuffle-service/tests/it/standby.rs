//! Two masters: one is asked, the other takes over, and nobody's data goes because of it.

use std::time::Duration;

use penstock_common::net::{Network, Tcp};
use penstock_protocol::{
    ids::{JobId, ShuffleId},
    shuffle::PartitionSource,
};
use penstock_shuffle_client::{FetchError, owner::Owner};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, cluster, eventually, payload, shuffle, winner},
    http::get,
};

/// What a takeover may cost a job.
const TAKEOVER: Duration = Duration::from_secs(3);
const ABANDONED: ShuffleId = ShuffleId { job: JobId(Uuid::from_u128(2)), ..SHUFFLE };

fn two_masters() -> Setup {
    Setup { masters: 2, ..Setup::default() }
}

async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(TAKEOVER, done)
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than a takeover may"))
}

async fn store(cluster: &Cluster, owner: &Owner, shuffle: ShuffleId) -> PartitionSource {
    let target = owner.reserve(shuffle, 1).await.unwrap().into();
    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0)
}

async fn is_there(cluster: &Cluster, shuffle: ShuffleId, source: &PartitionSource) -> bool {
    match cluster.read(shuffle, &[winner(0, 0)], source.clone()).await {
        Ok(batches) => batches.len() == 1,
        Err(FetchError::Lost { reason, .. }) if reason.contains("was released") => false,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_job_goes_on_when_the_master_that_it_asks_is_gone() {
    let cluster = cluster(two_masters()).await;
    let before = store(&cluster, &cluster.owner, SHUFFLE).await;
    let target = cluster.reserve(shuffle(1), 2).await;
    cluster.masters[0].stop().await;

    let output = cluster.write(&target, 0, 0, [(0, payload(0, 0, 0, 100))]).await.unwrap();
    let sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;
    let after = in_time("placing", store(&cluster, &cluster.owner, shuffle(2))).await;
    in_time("keeping alive", cluster.owner.keep_alive(&[JOB])).await.unwrap();
    for (shuffle, source) in [(SHUFFLE, &before), (shuffle(1), &sources[0]), (shuffle(2), &after)] {
        assert!(is_there(&cluster, shuffle, source).await);
    }
    cluster.owner.release_job(JOB).await.unwrap();
    assert!(!is_there(&cluster, SHUFFLE, &before).await);
}

#[tokio::test]
async fn a_master_that_takes_calls_and_never_answers_is_passed_over() {
    let cluster = cluster(Setup::default()).await;
    let silent = Tcp.bind("127.0.0.1:0").await.unwrap();
    let masters = [silent.local_addr().unwrap(), cluster.master.control].map(|address| address.to_string());
    let owner = Owner::new(std::sync::Arc::new(Tcp), masters.into());
    in_time("placing", owner.reserve(SHUFFLE, 2)).await.unwrap();
}

// Invariant 26: a master that comes back empty deletes nothing.
#[tokio::test]
async fn a_master_that_comes_back_empty_learns_everything_and_deletes_nothing() {
    let cluster = cluster(two_masters()).await;
    let source = store(&cluster, &cluster.owner, SHUFFLE).await;
    for master in &cluster.masters {
        master.stop().await;
    }
    // Longer than any lease: nobody could be heard.
    cluster.clock.advance(Duration::from_secs(3600));
    let again = cluster.restart_master(&cluster.masters[0]).await;
    let admin = again.handle.admin.unwrap();
    eventually("both workers report", async || {
        let view = get(admin, "/api/v1/workers").await;
        view["workers"].as_array().unwrap().iter().filter(|worker| worker["alive"] == true).count() == 2
    })
    .await;
    eventually("the job is known", async || get(admin, "/api/v1/jobs").await["jobs"][0]["locations"] == 1)
        .await;
    let owner = cluster.owner_at(&[&again]);
    owner.reserve(shuffle(1), 2).await.unwrap();
    assert!(is_there(&cluster, SHUFFLE, &source).await);
}

// Invariant 26: the standby hears of every job from the workers, and of none from this owner.
#[tokio::test]
async fn a_standby_that_no_owner_speaks_to_ends_no_job() {
    let cluster = cluster(Setup { workers: 1, ..two_masters() }).await;
    let owner = cluster.owner_at(&[&cluster.masters[0]]);
    let wanted = store(&cluster, &owner, SHUFFLE).await;
    let abandoned = store(&cluster, &owner, ABANDONED).await;
    let mut rounds_after = 0;
    eventually("the abandoned job goes, and time passes", async || {
        // Little in a round: time in which a master hears no worker does not count.
        cluster.clock.advance(Duration::from_secs(10));
        owner.keep_alive(&[JOB]).await.unwrap();
        assert!(is_there(&cluster, SHUFFLE, &wanted).await);
        rounds_after += usize::from(!is_there(&cluster, ABANDONED, &abandoned).await);
        rounds_after > 20
    })
    .await;
}
