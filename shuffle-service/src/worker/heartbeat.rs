//! Reports to the masters and does what they say.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_common::{grpc, lifecycle::CancellationToken, net::Network};
use penstock_protocol::{
    build,
    credentials::{Calls, Credentials},
    decode::{DecodeError, job_id},
    ids::JobId,
    pb::{self, shuffle_master_client::ShuffleMasterClient},
    shuffle::WorkerAddress,
};
use tokio::{sync::watch, time::Instant};
use tonic::{Code, Status};

use super::{
    carried::Carried,
    orders::{Orders, Said},
    site::Site,
    store::Store,
    usage,
};
use crate::ordered::{DrainOrder, QuotaOrders};

/// With the interval it bounds how long a master that comes back waits for a report.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Between tries while no master was reached yet, so that a cluster comes up quickly.
const FIRST_CONTACT: Duration = Duration::from_millis(100);
/// A master that takes over knows all workers within 3 s only if they report about every second.
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// What the reports to all masters share.
pub(super) struct Reporter {
    pub store: Arc<Store>,
    pub address: WorkerAddress,
    pub admin: String,
    pub orders: Mutex<Orders>,
    pub carried: Mutex<Carried>,
    pub registered: watch::Sender<bool>,
    pub credentials: Credentials,
}

/// The reports to one master.
pub(super) struct Heartbeat {
    pub reporter: Arc<Reporter>,
    /// Position in the configuration, and address.
    pub master: (usize, String),
    pub interval: Duration,
}

impl Heartbeat {
    /// Reports to one master until `stop`. Each master gets reports of its own, so that a standby knows everything.
    pub async fn run(self, network: Arc<dyn Network>, stop: CancellationToken) -> Result<(), Infallible> {
        let connect = || self.reporter.client(&network, &self.master.1);
        let mut client = connect();
        let mut standing = self.reporter.store.standing.watch();
        let (mut interval, mut reached) = (self.interval.min(INTERVAL_MAX), None);
        loop {
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                answer = self.reporter.report(client.clone(), false) => answer,
            };
            match &answer {
                Ok(answer) => {
                    self.reporter.obey(self.master.0, answer).await;
                    interval = Duration::from_millis(answer.interval_ms.max(1)).min(INTERVAL_MAX);
                }
                Err(status) => {
                    self.reporter.orders().lost(self.master.0);
                    // A connection into the void would stay until its keep-alive ends.
                    if status.code() == Code::DeadlineExceeded {
                        client = connect();
                    }
                }
            }
            let is_reached = answer.is_ok();
            if reached != Some(is_reached) {
                self.tell(answer.as_ref().err());
            }
            reached = Some(is_reached);
            let registered = self.reporter.note_registered(is_reached);
            let wait = if registered { interval } else { FIRST_CONTACT.min(interval) };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // The sender lives in the store, as long as this task.
                _ = standing.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // A worker that leaves in order says so: nothing more is placed on it.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.reporter.report(client, true)).await;
        Ok(())
    }

    fn tell(&self, failure: Option<&Status>) {
        let (worker, master) = (&self.reporter.address.worker, &self.master.1);
        match failure.map(Status::message) {
            None => tracing::info!(%worker, master, "registered at the shuffle master"),
            Some(reason) => tracing::warn!(%worker, master, reason, "shuffle master not reached"),
        }
    }
}

impl Reporter {
    fn client(&self, network: &Arc<dyn Network>, master: &str) -> ShuffleMasterClient<Calls> {
        let calls = Calls::new(grpc::channel(Arc::clone(network), master), self.credentials.clone());
        ShuffleMasterClient::new(calls)
            .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX)
            .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
    }

    async fn report(
        &self,
        mut client: ShuffleMasterClient<Calls>,
        leaving: bool,
    ) -> Result<pb::HeartbeatAnswer, Status> {
        let (jobs, job_usage, usage) = usage::of(&self.store);
        let standing = self.store.standing.get();
        let (drain, drain_at_ms) = DrainOrder::encode(standing.drain);
        let Carried { exclusion, quotas } = self.carried().clone();
        let site = Site::new(&self.store.settings.get(), &self.address.data);
        let report = pb::WorkerHeartbeat {
            build: build().to_owned(),
            address: Some((&self.address).into()),
            usage: Some(usage),
            jobs,
            draining: standing.takes_nothing() || leaving,
            zone: site.zone,
            rack: site.rack,
            host: site.host,
            tags: site.tags,
            weight: site.weight,
            admin: self.admin.clone(),
            leaves_at_ms: standing.leaves_at.map_or(0, |at| at.as_millis()),
            job_usage,
            left: leaving,
            exclusion: exclusion.map(Into::into),
            drain,
            drain_at_ms,
            quotas: quotas.encode(),
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, client.heartbeat(report)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    async fn obey(&self, master: usize, answer: &pb::HeartbeatAnswer) {
        self.hear_operators(answer);
        let said = match said(answer) {
            Ok(said) => said,
            Err(error) => return tracing::warn!(%error, "the master named a job that is none"),
        };
        let (ended, over_quota) = {
            let mut orders = self.orders();
            (orders.take(master, said), orders.over_quota())
        };
        for job in self.store.jobs_known.set_over_quota(over_quota) {
            tracing::warn!(%job, "its quota is used up: its pushes are refused");
        }
        let releases = ended.into_iter().map(|job| {
            tracing::debug!(%job, "deleting the data of an ended job");
            self.store.release_job(job)
        });
        futures::future::join_all(releases).await;
    }

    /// What operators said to the master, or to another one before.
    fn hear_operators(&self, answer: &pb::HeartbeatAnswer) {
        if let Some(order) = DrainOrder::decode(answer.drain, answer.drain_at_ms)
            && self.store.standing.hear(order)
        {
            tracing::info!(worker = %self.address.worker, drain = order.what, "draining or serving, as the master says");
        }
        let quotas = QuotaOrders::decode(answer.quotas.clone());
        self.carried().take(answer.exclusion.clone().map(Into::into), &quotas);
    }

    /// Whether any master was ever reached.
    fn note_registered(&self, reached: bool) -> bool {
        self.registered.send_if_modified(|registered| {
            let first = reached && !*registered;
            *registered |= first;
            first
        });
        *self.registered.borrow()
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn said(answer: &pb::HeartbeatAnswer) -> Result<Said, DecodeError> {
    let jobs = |jobs: &[bytes::Bytes], field| {
        jobs.iter().map(|job| job_id(job, field)).collect::<Result<std::collections::BTreeSet<JobId>, _>>()
    };
    Ok(Said {
        at: Instant::now(),
        released: jobs(&answer.released_jobs, "released_jobs")?,
        expired: jobs(&answer.expired_jobs, "expired_jobs")?,
        over_quota: jobs(&answer.over_quota_jobs, "over_quota_jobs")?,
    })
}
