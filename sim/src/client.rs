//! The clients: submit jobs over REST, follow them to their end, fetch their results, and look whether all is clean. Beside
//! them an operator tells masters what is to become of workers.
//!
//! A call whose answer does not come is made again with the same idempotency key. What clients see goes into the record,
//! where the invariants find it.

mod follow;
pub mod http;
mod operator;

use std::{sync::Arc, time::Duration};

use penstock_common::grpc;
use penstock_protocol::pb::{self, shuffle_master_client::ShuffleMasterClient};
use tokio::sync::mpsc;

use self::http::Server;
pub use self::operator::Order;
use crate::{
    cluster::{Life, World},
    topology::REST,
    workload::JobPlan,
};

/// Every job ends in this time once nothing goes wrong any more.
pub const END_WITHIN: Duration = Duration::from_secs(240);
/// What jobs held is given back in this time once all have ended: results expire, leases end, half a frame is given up.
pub const CLEAN_WITHIN: Duration = Duration::from_secs(240);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs all clients; ends when everything has ended and is clean, or took too long.
pub async fn run(
    world: Arc<World>,
    life: Life,
    plans: Vec<JobPlan>,
    orders: mpsc::Receiver<Order>,
) -> turmoil::Result {
    tokio::select! {
        biased;
        () = follow_jobs(&world, &life, &plans) => Ok(()),
        () = operator::obey(&world, &life, orders) => Ok(()),
    }
}

async fn follow_jobs(world: &World, life: &Life, plans: &[JobPlan]) {
    let clients = plans.iter().enumerate().map(|(number, plan)| follow::client(world, life, number, plan));
    let second = plans.iter().enumerate().filter_map(|(number, plan)| {
        Some(follow::second_client(world, life, number, plan, plan.twice_after?))
    });
    let calm = Duration::from_millis(world.weather.calm_at_ms);
    let all = async {
        futures::join!(futures::future::join_all(clients), futures::future::join_all(second));
        while !world.record.all_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(calm + END_WITHIN, all).await.is_err() {
        let what = format!("not within {END_WITHIN:?} after the last fault");
        return world.record.violation("every-job-ends", what);
    }
    tokio::time::sleep(calm.saturating_sub(Duration::from_millis(world.record.now_ms()))).await;
    check_clean(world, life).await;
}

/// Waits until nothing of any job is left anywhere.
async fn check_clean(world: &World, life: &Life) {
    let mut dirt = vec!["nobody answered".to_owned()];
    let cleaning = async {
        loop {
            dirt = look_for_dirt(world, life).await;
            if dirt.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(CLEAN_WITHIN, cleaning).await.is_err() {
        return world.record.violation("nothing-is-left-behind", dirt.join("; "));
    }
    world.record.line(format_args!("all is clean"));
}

async fn look_for_dirt(world: &World, life: &Life) -> Vec<String> {
    let mut dirt = Vec::new();
    if world.record.running() > 0 {
        dirt.push(format!("{} attempts of ended jobs run on", world.record.running()));
    }
    for (worker, disk) in &world.disks {
        if disk.file_count() > 0 {
            dirt.push(format!("{} files on {worker}", disk.file_count()));
        }
    }
    for (worker, objects) in &world.objects {
        match objects.names().await {
            Ok(names) if names.is_empty() => {}
            Ok(names) => dirt.push(format!("{worker} has left {} in the object store", names.join(", "))),
            Err(error) => dirt.push(format!("the object store of {worker} does not list: {error}")),
        }
    }
    match busy_slots(life).await {
        Some(0) => {}
        Some(busy) => dirt.push(format!("{busy} slots are taken")),
        None => dirt.push("the coordinator does not list its executors".to_owned()),
    }
    for master in &world.masters {
        match workers(life, master).await {
            Ok(workers) if workers.len() < world.disks.len() => {
                dirt.push(format!("{master} misses workers"));
            }
            Ok(workers) => dirt.extend(workers.iter().filter_map(left_on)),
            Err(status) => dirt.push(format!("{master} does not list its workers: {}", status.message())),
        }
    }
    dirt
}

async fn busy_slots(life: &Life) -> Option<u64> {
    let server = Server { network: life.network.as_ref(), addr: REST };
    let answer = server.get("/api/v1/executors", Duration::from_secs(5)).await.ok()?;
    let executors = answer.body["executors"].as_array()?;
    executors.iter().map(|executor| executor["slots_used"].as_u64()).sum()
}

async fn workers(life: &Life, master: &str) -> Result<Vec<pb::WorkerInfo>, tonic::Status> {
    let mut master = ShuffleMasterClient::new(grpc::channel(life.network.clone(), master));
    let listing = master.list_workers(pb::ListWorkersRequest {});
    let listed = tokio::time::timeout(Duration::from_secs(5), listing).await;
    let listed = listed.map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))?;
    Ok(listed?.into_inner().workers.into_iter().filter(|worker| worker.alive).collect())
}

fn left_on(worker: &pb::WorkerInfo) -> Option<String> {
    let name = &worker.address.as_ref()?.worker;
    let usage = worker.usage.as_ref()?;
    let left = (usage.memory_used_bytes, usage.disk_used_bytes, usage.locations, worker.jobs);
    (left != (0, 0, 0, 0)).then(|| {
        let (memory, disk, locations, jobs) = left;
        format!("{name} holds {memory} bytes in memory, {disk} on disk, {locations} locations of {jobs} jobs")
    })
}
