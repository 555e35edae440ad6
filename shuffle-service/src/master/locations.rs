//! Asks the workers which locations of a job they hold: masters do not keep that.

use std::sync::Arc;

use penstock_protocol::{ids::JobId, pb, shuffle::WorkerAddress, status::RpcError, wire::common::job_bytes};
use serde::Serialize;

use super::asking::Asking;

#[derive(Debug, Default, Serialize)]
pub(super) struct Listed {
    /// How many there are; `locations` may hold fewer.
    pub total: u64,
    pub locations: Vec<ListedLocation>,
    /// Workers that hold something and did not answer.
    pub silent: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ListedLocation {
    /// The stage that writes the exchange, and the run of it.
    exchange: u32,
    run: u32,
    partition: u32,
    epoch: u32,
    worker: String,
    /// `open`, `closing`, `committed`, `broken` or `released`.
    phase: String,
    bytes: u64,
    disk_bytes: u64,
}

/// At most `locations_max` of them, ordered by exchange, partition, epoch and worker.
pub(super) async fn of(
    asking: &Asking,
    job: JobId,
    holders: Vec<Arc<WorkerAddress>>,
    locations_max: usize,
) -> Listed {
    let ask = holders.iter().map(|worker| ask(asking, worker, job, locations_max));
    let answers = futures::future::join_all(ask).await;
    let mut listed = Listed::default();
    for (worker, answer) in holders.iter().zip(answers) {
        match answer {
            Ok(answer) => {
                listed.total += answer.total;
                let shown = answer.locations.into_iter().map(|location| shown(worker, location));
                listed.locations.extend(shown);
            }
            Err(error) => {
                tracing::debug!(worker = %worker.worker, %error, "a worker does not list its locations");
                listed.silent.push(worker.worker.to_string());
            }
        }
    }
    let order = |l: &ListedLocation| (l.exchange, l.run, l.partition, l.epoch, l.worker.clone());
    listed.locations.sort_by_cached_key(order);
    listed.locations.truncate(locations_max);
    listed
}

async fn ask(
    asking: &Asking,
    worker: &WorkerAddress,
    job: JobId,
    locations_max: usize,
) -> Result<pb::ListLocationsAnswer, RpcError> {
    let request = pb::ListLocationsRequest {
        incarnation: worker.incarnation.0,
        job: job_bytes(job),
        locations_max: u32::try_from(locations_max).unwrap_or(u32::MAX),
    };
    asking.ask(worker, |mut client| async move { client.list_locations(request).await }).await
}

fn shown(worker: &WorkerAddress, location: pb::LocationInfo) -> ListedLocation {
    let shuffle = location.shuffle.unwrap_or_default();
    ListedLocation {
        exchange: shuffle.exchange,
        run: shuffle.run,
        partition: location.partition,
        epoch: location.epoch,
        worker: worker.worker.to_string(),
        phase: location.phase,
        bytes: location.bytes,
        disk_bytes: location.disk_bytes,
    }
}
