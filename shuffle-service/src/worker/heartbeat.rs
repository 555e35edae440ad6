//! Reports to the masters and deletes what they say has ended.

use std::{convert::Infallible, sync::Arc, time::Duration};

use penstock_common::{grpc, lifecycle::CancellationToken, net::Network};
use penstock_protocol::{
    BUILD,
    credentials::{Calls, Credentials},
    decode::job_id,
    pb::{self, shuffle_master_client::ShuffleMasterClient},
    shuffle::WorkerAddress,
    wire::common::job_bytes,
};
use tokio::sync::watch;

use super::{disks::DiskReport, store::Store};
use crate::metrics;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Between tries while no master was reached yet, so that a cluster comes up quickly.
const FIRST_CONTACT: Duration = Duration::from_millis(100);

pub(super) struct Heartbeat {
    pub store: Arc<Store>,
    pub address: WorkerAddress,
    pub interval: Duration,
    pub registered: watch::Sender<bool>,
    pub credentials: Credentials,
}

impl Heartbeat {
    /// Reports to one master until `stop`. Each master gets reports of its own, so that a standby knows everything.
    pub async fn run(
        self,
        network: Arc<dyn Network>,
        master: String,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let calls = Calls::new(grpc::channel(network, &master), self.credentials.clone());
        let client = ShuffleMasterClient::new(calls)
            .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX)
            .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX);
        let (mut interval, mut reached) = (self.interval, None);
        loop {
            let report = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                report = tokio::time::timeout(ANSWER_TIMEOUT, self.report(client.clone(), false)) => report,
            };
            let failure = match report {
                Ok(Ok(answer)) => {
                    self.take(&answer).await;
                    interval = Duration::from_millis(answer.interval_ms.clamp(1, 60_000));
                    None
                }
                Ok(Err(status)) => Some(status.message().to_owned()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if reached != Some(failure.is_none()) {
                match &failure {
                    None => {
                        tracing::info!(worker = %self.address.worker, master, "registered at the shuffle master")
                    }
                    Some(reason) => {
                        tracing::warn!(worker = %self.address.worker, master, reason, "shuffle master not reached")
                    }
                }
            }
            reached = Some(failure.is_none());
            self.registered.send_if_modified(|registered| {
                let first = failure.is_none() && !*registered;
                *registered |= first;
                first
            });
            let wait = if *self.registered.borrow() { interval } else { FIRST_CONTACT.min(interval) };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        // A worker that leaves in order says so: nothing more is placed on it.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.report(client, true)).await;
        Ok(())
    }

    async fn report(
        &self,
        mut client: ShuffleMasterClient<Calls>,
        draining: bool,
    ) -> Result<pb::HeartbeatAnswer, tonic::Status> {
        let report = pb::WorkerHeartbeat {
            build: BUILD.to_owned(),
            address: Some((&self.address).into()),
            usage: Some(self.usage()),
            jobs: self.store.jobs().into_iter().map(job_bytes).collect(),
            draining,
        };
        Ok(client.heartbeat(report).await?.into_inner())
    }

    fn usage(&self) -> pb::WorkerUsage {
        let store = &self.store;
        metrics::memory_used(store.budget.used());
        let disks = store.disks.reports();
        pb::WorkerUsage {
            memory_used_bytes: store.budget.used(),
            memory_limit_bytes: store.budget.bytes_max(),
            disk_used_bytes: disks.iter().map(|disk| disk.used_bytes).sum(),
            disk_free_bytes: disks.iter().fold(0, |sum, disk| sum.saturating_add(disk.room_bytes)),
            locations: store.locations() as u64,
            disks: disks.into_iter().map(Into::into).collect(),
        }
    }

    async fn take(&self, answer: &pb::HeartbeatAnswer) {
        for job in &answer.expired_jobs {
            match job_id(job, "expired_jobs") {
                Ok(job) => {
                    tracing::debug!(%job, "deleting the data of an ended job");
                    self.store.release_job(job).await;
                }
                Err(error) => tracing::warn!(%error, "the master named a job that is none"),
            }
        }
    }
}

impl From<DiskReport> for pb::DiskUsage {
    fn from(disk: DiskReport) -> Self {
        Self {
            path: disk.path,
            class: disk.class.to_string(),
            state: disk.state.to_string(),
            used_bytes: disk.used_bytes,
            room_bytes: disk.room_bytes,
            queued_bytes: disk.queued_bytes,
            errors: disk.errors,
        }
    }
}
