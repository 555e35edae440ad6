//! Calls with their deadlines and retries: one table for all of them.

use std::{future::Future, sync::atomic::Ordering, time::Duration};

use penstock_common::{grpc, retry};
use penstock_protocol::{
    credentials::Calls,
    pb::{shuffle_master_client::ShuffleMasterClient, shuffle_worker_client::ShuffleWorkerClient},
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
};
use tokio::time::Instant;
use tonic::Status;

use super::{Owner, OwnerError, lock};
use crate::metrics;

/// All calls are idempotent: each is repeated until it is answered, refused, or out of tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub deadline: Duration,
    pub tries: u32,
    /// A failure that took so long is not followed by another try.
    patience: Duration,
}

impl Policy {
    const fn new(deadline: Duration, tries: u32) -> Self {
        Self { deadline, tries, patience: Duration::MAX }
    }

    /// For those who have somebody else to turn to: what ended in silence is not tried again.
    pub fn within(self, silence: Duration) -> Self {
        Self { patience: silent_from(silence), ..self }
    }
}

pub(super) const MASTER: Policy = Policy::new(Duration::from_secs(5), 4);
pub(super) const RESERVE: Policy = Policy::new(Duration::from_secs(10), 3);
/// Longer than the worker's own limit for one commit, which answers `Failed` when it is hit.
pub(super) const COMMIT: Policy = Policy::new(Duration::from_secs(60), 3);
pub(super) const RELEASE: Policy = Policy::new(Duration::from_secs(2), 1);

/// How long the first round waits for one of several masters before the next one is asked: a takeover is to take no more
/// than 3 s.
const FAILOVER: Duration = Duration::from_secs(1);

/// Channels that are kept; addresses of restarted workers would pile up otherwise.
const CHANNELS_MAX: usize = 1024;

/// Why a round over all masters gave no answer.
enum Asked {
    Refused(OwnerError),
    /// None of them answered; another round may help.
    Silent(String),
}

impl Owner {
    /// Asks one master after the other, beginning with the one that answered last, until one answers. Masters that know
    /// no workers (yet) are passed over.
    pub(super) async fn ask_master<T, Call>(
        &self,
        call: impl Fn(ShuffleMasterClient<Calls>) -> Call,
    ) -> Result<T, OwnerError>
    where
        Call: Future<Output = Result<T, Status>>,
    {
        let mut deadline = if self.masters.len() > 1 { FAILOVER } else { MASTER.deadline };
        let mut waits = backoff(0).tries(MASTER.tries);
        loop {
            let failure = match self.ask_round(deadline, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Asked::Refused(refused)) => return Err(refused),
                Err(Asked::Silent(failure)) => failure,
            };
            match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(self.master_failed(failure)),
            }
            deadline = MASTER.deadline;
        }
    }

    async fn ask_round<T, Call>(
        &self,
        deadline: Duration,
        call: &impl Fn(ShuffleMasterClient<Calls>) -> Call,
    ) -> Result<T, Asked>
    where
        Call: Future<Output = Result<T, Status>>,
    {
        let masters = self.masters.len();
        let first = self.answering.load(Ordering::Relaxed);
        let (mut no_workers, mut silent) = (None, "no address is configured".to_owned());
        for index in (0..masters).map(|offset| (first + offset) % masters) {
            let error = match within(deadline, call(self.master(index))).await {
                Ok(answer) => {
                    if self.answering.swap(index, Ordering::Relaxed) != index {
                        metrics::master_changed();
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match error.code {
                ErrorCode::NoRoom => no_workers = Some(error.message),
                ErrorCode::QuotaExceeded => {
                    return Err(Asked::Refused(OwnerError::OverQuota { reason: error.message }));
                }
                _ if error.may_be_retried() => silent = error.message,
                _ => return Err(Asked::Refused(self.master_failed(error.message))),
            }
        }
        Err(match no_workers {
            Some(reason) => Asked::Refused(OwnerError::NoWorkers { reason }),
            None => Asked::Silent(silent),
        })
    }

    /// Tells all masters the same, so that each of them can take over; one that hears it is enough.
    pub(super) async fn tell_masters<Call>(
        &self,
        call: impl Fn(ShuffleMasterClient<Calls>) -> Call,
    ) -> Result<(), OwnerError>
    where
        Call: Future<Output = Result<(), Status>>,
    {
        let tell = async |index: usize| {
            let waits = backoff(index as u64).tries(MASTER.tries);
            let once = || within(MASTER.deadline, call(self.master(index)));
            retry::retry(waits, RpcError::may_be_retried, once).await
        };
        let told = futures::future::join_all((0..self.masters.len()).map(tell)).await;
        if told.iter().any(Result::is_ok) {
            return Ok(());
        }
        let reasons: Vec<_> = told.into_iter().filter_map(Result::err).map(|error| error.message).collect();
        Err(self.master_failed(reasons.join("; ")))
    }

    fn master_failed(&self, reason: String) -> OwnerError {
        OwnerError::Master { addresses: self.masters.join(", "), reason }
    }

    fn master(&self, index: usize) -> ShuffleMasterClient<Calls> {
        ShuffleMasterClient::new(self.calls(&self.masters[index], grpc::KeepAlive::default()))
            .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX)
    }

    pub(super) async fn ask_worker<T, Call>(
        &self,
        worker: &WorkerAddress,
        policy: Policy,
        call: impl Fn(ShuffleWorkerClient<Calls>) -> Call,
    ) -> Result<T, RpcError>
    where
        Call: Future<Output = Result<T, Status>>,
    {
        let client =
            ShuffleWorkerClient::new(self.calls(&worker.control, grpc::KeepAlive::within(self.silence)))
                .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
        let started = Instant::now();
        let waits = backoff(worker.incarnation.0).tries(policy.tries);
        let waits = waits.take_while(|_| started.elapsed() < policy.patience);
        // Full is not a matter of waiting here; the owner places elsewhere.
        let retry_may_help = |error: &RpcError| error.may_be_retried() && error.code != ErrorCode::NoRoom;
        let answer =
            retry::retry(waits, retry_may_help, || within(policy.deadline, call(client.clone()))).await;
        match &answer {
            Ok(_) => self.suspects.remove(worker),
            Err(error) if retry_may_help(error) && started.elapsed() >= silent_from(self.silence) => {
                self.suspects.add(worker);
            }
            Err(_) => {}
        }
        answer
    }

    fn calls(&self, address: &str, keep_alive: grpc::KeepAlive) -> Calls {
        let mut channels = lock(&self.channels);
        if let Some(calls) = channels.get(address) {
            return calls.clone();
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let channel = grpc::channel_with(self.network.clone(), address, keep_alive);
        let calls = Calls::new(channel, self.credentials.clone());
        channels.insert(address.to_owned(), calls.clone());
        calls
    }
}

/// A call that failed after so long met silence. Pings give a call up after at least three quarters of it, since how long the
/// connection was quiet before the call counts as well; whoever is refused or cut off learns that at once.
fn silent_from(silence: Duration) -> Duration {
    silence / 2
}

pub(super) fn backoff(seed: u64) -> retry::Backoff {
    retry::Backoff::new(Duration::from_millis(50), Duration::from_secs(1)).with_seed(seed)
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, RpcError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(RpcError::from),
        Err(_) => Err(RpcError::new(ErrorCode::DeadlineExceeded, "no answer in time")),
    }
}
