//! Asks workers on behalf of operators, on the way on which owners call them: with the same credentials, encrypted if they are.

use std::{sync::Arc, time::Duration};

use penstock_common::{clock::Timestamp, grpc, net::Network};
use penstock_protocol::{
    credentials::{Calls, Credentials},
    pb::{self, shuffle_worker_client::ShuffleWorkerClient},
    shuffle::WorkerAddress,
    status::{ErrorCode, RpcError},
};
use tonic::{Response, Status};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How workers are asked.
pub(super) struct Asking {
    pub network: Arc<dyn Network>,
    pub credentials: Credentials,
}

impl Asking {
    pub async fn ask<T, Call>(
        &self,
        worker: &WorkerAddress,
        call: impl FnOnce(ShuffleWorkerClient<Calls>) -> Call,
    ) -> Result<T, RpcError>
    where
        Call: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = grpc::channel(Arc::clone(&self.network), &worker.control);
        let client = ShuffleWorkerClient::new(Calls::new(channel, self.credentials.clone()))
            .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX);
        match tokio::time::timeout(ANSWER_TIMEOUT, call(client)).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(RpcError::new(ErrorCode::DeadlineExceeded, "no answer in time")),
        }
    }

    /// Shows the settings of a worker, and changes those that `changes` names unless it is empty.
    pub async fn settings(
        &self,
        worker: &WorkerAddress,
        changes: String,
    ) -> Result<pb::SettingsAnswer, RpcError> {
        let request = pb::SettingsRequest { incarnation: worker.incarnation.0, changes };
        self.ask(worker, |mut client| async move { client.settings(request).await }).await
    }

    /// Tells a worker that its machine goes in so many seconds, or stays after all; returns when it goes.
    pub async fn interrupt(
        &self,
        worker: &WorkerAddress,
        seconds: Option<u64>,
    ) -> Result<Option<Timestamp>, RpcError> {
        let request = pb::InterruptRequest { incarnation: worker.incarnation.0, seconds };
        let answer = self.ask(worker, |mut client| async move { client.interrupt(request).await }).await?;
        Ok((answer.leaves_at_ms > 0).then(|| Timestamp::from_millis(answer.leaves_at_ms)))
    }
}
