//! Calls with their deadlines and retries: one table for all of them.

use std::{future::Future, time::Duration};

use penstock_common::{grpc, retry};
use penstock_protocol::{
    credentials::Calls,
    pb::{shuffle_master_client::ShuffleMasterClient, shuffle_worker_client::ShuffleWorkerClient},
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
};
use tonic::Status;

use super::{Owner, OwnerError, lock};

/// All calls are idempotent: each is repeated until it is answered, refused, or out of tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub deadline: Duration,
    pub tries: u32,
}

pub(super) const MASTER: Policy = Policy { deadline: Duration::from_secs(5), tries: 4 };
pub(super) const RESERVE: Policy = Policy { deadline: Duration::from_secs(10), tries: 3 };
/// Longer than the worker's own limit for one commit, which answers `Failed` when it is hit.
pub(super) const COMMIT: Policy = Policy { deadline: Duration::from_secs(60), tries: 3 };
pub(super) const RELEASE: Policy = Policy { deadline: Duration::from_secs(2), tries: 1 };

/// Channels that are kept; addresses of restarted workers would pile up otherwise.
const CHANNELS_MAX: usize = 1024;

impl Owner {
    /// Asks one master after the other until one answers.
    pub(super) async fn ask_master<T, Call>(
        &self,
        call: impl Fn(ShuffleMasterClient<Calls>) -> Call,
    ) -> Result<T, OwnerError>
    where
        Call: Future<Output = Result<T, Status>>,
    {
        let mut last = None;
        let tries = MASTER.tries as usize * self.masters.len().max(1);
        let mut waits = backoff(0, MASTER.tries);
        for address in self.masters.iter().cycle().take(tries) {
            let client = ShuffleMasterClient::new(self.calls(address))
                .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
            match within(MASTER.deadline, call(client)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.code == ErrorCode::NoRoom => {
                    return Err(OwnerError::NoWorkers { reason: error.message });
                }
                Err(error) => {
                    let retry = error.may_be_retried();
                    last = Some(error);
                    if !retry {
                        break;
                    }
                }
            }
            if let Some(wait) = waits.next() {
                tokio::time::sleep(wait).await;
            }
        }
        let reason = last.map_or_else(|| "no address is configured".to_owned(), |error| error.message);
        Err(OwnerError::Master { addresses: self.masters.join(", "), reason })
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
        let client = ShuffleWorkerClient::new(self.calls(&worker.control))
            .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
        let waits = backoff(worker.incarnation.0, policy.tries);
        // Full is not a matter of waiting here; the owner places elsewhere.
        let retry_may_help = |error: &RpcError| error.may_be_retried() && error.code != ErrorCode::NoRoom;
        retry::retry(waits, retry_may_help, || within(policy.deadline, call(client.clone()))).await
    }

    fn calls(&self, address: &str) -> Calls {
        let mut channels = lock(&self.channels);
        if let Some(calls) = channels.get(address) {
            return calls.clone();
        }
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        let calls = Calls::new(grpc::channel(self.network.clone(), address), self.credentials.clone());
        channels.insert(address.to_owned(), calls.clone());
        calls
    }
}

fn backoff(seed: u64, tries: u32) -> retry::Backoff {
    retry::Backoff::new(Duration::from_millis(50), Duration::from_secs(1)).with_seed(seed).tries(tries)
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, RpcError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(RpcError::from),
        Err(_) => Err(RpcError::new(ErrorCode::DeadlineExceeded, "no answer in time")),
    }
}
