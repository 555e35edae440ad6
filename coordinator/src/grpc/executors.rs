//! The open streams to executors: what is sent on which, and in what order.
//!
//! In: dispatches and orders from the loop. Out: messages in the order in which they were given; a stage is defined to
//! an executor before its first task, and again only when what it reads or writes has changed. An executor that does not read fast enough is cut off, so that it never
//! holds up the loop. Not here: who runs what.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use penstock_protocol::{
    ids::{AttemptId, ExecutorId, Incarnation, JobId, StageId},
    pb,
    shuffle::ShuffleTarget,
    task::{StageDefinition, TaskAssignment},
    token::ClusterSecret,
    wire::{common::job_bytes, executor::ToExecutor},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::metrics;

/// Messages that may wait for one executor.
const OUTBOX_MAX: usize = 8_192;

pub type Outbound = mpsc::Receiver<Result<pb::ToExecutor, Status>>;

/// One of these per stream, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

/// The executor is not connected, or not in the life that was meant. The core hears of that by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("executor {executor} is not connected")]
pub struct NotConnected {
    pub executor: ExecutorId,
}

#[derive(Debug, Default)]
pub struct Executors {
    /// Tokens of jobs come from it, where shuffle workers ask for any.
    secret: Option<ClusterSecret>,
    connections: Mutex<HashMap<ExecutorId, Connection>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    incarnation: Incarnation,
    messages: mpsc::Sender<Result<pb::ToExecutor, Status>>,
    /// Stages that this life of the executor knows, with the version of what it was told about each.
    defined: HashMap<(JobId, StageId), u32>,
    /// Cancelled to end the stream.
    close: CancellationToken,
}

impl Executors {
    pub fn new(secret: Option<ClusterSecret>) -> Self {
        Self { secret, ..Self::default() }
    }

    /// Registers a stream. An older one of the same executor is closed.
    pub fn connect(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        messages: mpsc::Sender<Result<pb::ToExecutor, Status>>,
        close: CancellationToken,
    ) -> ConnectionId {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut connections = self.lock();
        let connection = Connection { id, incarnation, messages, defined: HashMap::new(), close };
        if let Some(old) = connections.insert(executor.clone(), connection) {
            old.close.cancel();
        }
        connected(connections.len());
        id
    }

    /// Takes a stream that ended off the list. Whether it was still the executor's newest.
    pub fn disconnected(&self, executor: &ExecutorId, id: ConnectionId) -> bool {
        let mut connections = self.lock();
        let is_newest = connections.get(executor).is_some_and(|connection| connection.id == id);
        if is_newest {
            connections.remove(executor);
        }
        connected(connections.len());
        is_newest
    }

    /// Sends a task, and its stage before it if this executor does not know the stage in this version.
    pub fn run(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        assignment: TaskAssignment,
        version: u32,
        definition: impl FnOnce() -> StageDefinition,
    ) -> Result<(), NotConnected> {
        let task = assignment.attempt.task;
        self.with(executor, incarnation, |connection| {
            if connection.defined.insert((task.job, task.stage), version) != Some(version) {
                if let Some(secret) = &self.secret {
                    connection.send(grant(task.job, secret));
                }
                connection.send(pb::to_executor::Message::DefineStage(definition().into()));
            }
            connection.send(pb::to_executor::Message::Run(assignment.into()));
            ::metrics::counter!(metrics::ATTEMPTS_DISPATCHED).increment(1);
        })
    }

    /// Tells an executor that it need not keep a report for the next stream.
    pub fn report_taken(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        attempt: AttemptId,
    ) -> Result<(), NotConnected> {
        self.with(executor, incarnation, |connection| {
            connection.send(pb::to_executor::Message::ReportTaken(attempt.into()));
        })
    }

    /// Answers a wish for new epochs.
    pub fn epochs(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        request: u64,
        outcome: Result<ShuffleTarget, String>,
    ) -> Result<(), NotConnected> {
        self.with(executor, incarnation, |connection| {
            let message = pb::ToExecutor::from(ToExecutor::Epochs { request, outcome });
            message.message.into_iter().for_each(|message| connection.send(message));
        })
    }

    pub fn cancel(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        attempt: AttemptId,
    ) -> Result<(), NotConnected> {
        self.with(executor, incarnation, |connection| {
            connection.send(pb::to_executor::Message::Cancel(attempt.into()));
        })
    }

    pub fn forget_job(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        job: JobId,
    ) -> Result<(), NotConnected> {
        self.with(executor, incarnation, |connection| {
            connection.defined.retain(|(defined, _), _| *defined != job);
            let message = pb::ForgetJob { job: job.0.as_bytes().to_vec().into() };
            connection.send(pb::to_executor::Message::ForgetJob(message));
        })
    }

    /// Ends the stream of this life of the executor.
    pub fn close(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        reason: &str,
    ) -> Result<(), NotConnected> {
        self.with(executor, incarnation, |connection| {
            tracing::warn!(%executor, reason, "executor is cut off");
            connection.close.cancel();
        })
    }

    fn with(
        &self,
        executor: &ExecutorId,
        incarnation: Incarnation,
        act: impl FnOnce(&mut Connection),
    ) -> Result<(), NotConnected> {
        let mut connections = self.lock();
        let connection =
            connections.get_mut(executor).filter(|connection| connection.incarnation == incarnation);
        let connection = connection.ok_or_else(|| NotConnected { executor: executor.clone() })?;
        act(connection);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutorId, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn send(&self, message: pb::to_executor::Message) {
        if self.messages.try_send(Ok(pb::ToExecutor { message: Some(message) })).is_err() {
            // It is gone, or too slow to be of use: the core hears of it when the stream ends.
            self.close.cancel();
        }
    }
}

fn grant(job: JobId, secret: &ClusterSecret) -> pb::to_executor::Message {
    let shuffle_token = Bytes::copy_from_slice(&secret.job_token(job).to_bytes());
    pb::to_executor::Message::GrantJob(pb::GrantJob { job: job_bytes(job), shuffle_token })
}

/// A channel for one stream.
pub fn outbox() -> (mpsc::Sender<Result<pb::ToExecutor, Status>>, Outbound) {
    mpsc::channel(OUTBOX_MAX)
}

#[allow(clippy::cast_precision_loss)]
fn connected(count: usize) {
    ::metrics::gauge!(metrics::EXECUTORS_CONNECTED).set(count as f64);
}
