//! What coordinator and executors say to each other.
//!
//! [`ToCoordinator`] and [`ToExecutor`] are the two directions of the stream as closed enums; stage definitions and
//! assignments stand in [`stage`], reports in [`report`].

mod epochs;
pub mod report;
pub mod stage;

use std::time::Duration;

use bytes::Bytes;

use crate::{
    decode::{DecodeError, Required, each, job_id, required},
    ids::{AttemptId, ExecutorId, Incarnation, JobId, ShuffleId, WorkerId},
    pb,
    shuffle::{EndedEpoch, ShuffleTarget},
    task::{AttemptReport, StageDefinition, TaskAssignment},
    token::JobToken,
    wire::common::job_bytes,
};

/// What an executor says.
#[derive(Debug, Clone, PartialEq)]
pub enum ToCoordinator {
    /// Always the first message of a stream.
    Hello(Hello),
    Heartbeat(Heartbeat),
    /// Repeated after a reconnect until it was taken.
    Report(Box<AttemptReport>),
    /// The executor takes nothing new from now on.
    Draining,
    /// Repeated after a reconnect until it is answered.
    Epochs(EpochsRequest),
}

/// Partitions whose epoch takes nothing more need their next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochsRequest {
    /// Unique in the life of the executor.
    pub request: u64,
    pub shuffle: ShuffleId,
    pub ended: Vec<EndedEpoch>,
    /// Workers that did not answer or lost what they held.
    pub suspects: Vec<WorkerId>,
}

/// An executor introduces itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// [`crate::build()`] of the executor: another build is refused.
    pub build: String,
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
    pub slots: u32,
    pub host: String,
    pub memory_bytes: u64,
    /// Attempts that run or whose reports were not delivered yet.
    pub running: Vec<AttemptId>,
}

/// A sign of life with samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heartbeat {
    pub sample: NodeSample,
    pub progress: Vec<AttemptProgress>,
}

/// How busy the executor's process is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NodeSample {
    /// Cores used since the last heartbeat.
    pub cpu_used: f64,
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
    pub scratch_used_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptProgress {
    pub attempt: AttemptId,
    pub rows_in: u64,
    pub rows_out: u64,
}

/// What the coordinator says.
#[derive(Debug, Clone, PartialEq)]
pub enum ToExecutor {
    /// The first answer to [`Hello`].
    Welcome {
        heartbeat_interval: Duration,
    },
    /// The other first answer to [`Hello`]: trying again cannot help.
    Refused {
        reason: String,
    },
    /// Comes before the first task of the stage on this stream.
    DefineStage(Box<StageDefinition>),
    Run(Box<TaskAssignment>),
    Cancel(AttemptId),
    /// The report of this attempt arrived: it need not be kept.
    ReportTaken(AttemptId),
    /// The job has ended: everything kept for it may go.
    ForgetJob(JobId),
    /// The newest location of each partition that was asked for, or why there is none.
    Epochs {
        request: u64,
        outcome: Result<ShuffleTarget, String>,
    },
    /// What opens the job's data on shuffle workers.
    GrantJob(JobId, JobToken),
}

impl From<ToCoordinator> for pb::ToCoordinator {
    fn from(message: ToCoordinator) -> Self {
        use pb::to_coordinator::Message;
        let message = match message {
            ToCoordinator::Hello(hello) => Message::Hello(hello.into()),
            ToCoordinator::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.into()),
            ToCoordinator::Report(report) => Message::Report((*report).into()),
            ToCoordinator::Draining => Message::Draining(pb::Draining {}),
            ToCoordinator::Epochs(request) => Message::Epochs(request.into()),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::ToCoordinator> for ToCoordinator {
    type Error = DecodeError;
    fn try_from(message: pb::ToCoordinator) -> Result<Self, DecodeError> {
        use pb::to_coordinator::Message;
        Ok(match message.message.required("message")? {
            Message::Hello(hello) => Self::Hello(within("hello", hello)?),
            Message::Heartbeat(heartbeat) => Self::Heartbeat(within("heartbeat", heartbeat)?),
            Message::Report(report) => Self::Report(Box::new(within("report", report)?)),
            Message::Draining(pb::Draining {}) => Self::Draining,
            Message::Epochs(request) => Self::Epochs(within("epochs", request)?),
        })
    }
}

impl From<ToExecutor> for pb::ToExecutor {
    fn from(message: ToExecutor) -> Self {
        use pb::to_executor::Message;
        let message = match message {
            ToExecutor::Welcome { heartbeat_interval } => Message::Welcome(pb::Welcome {
                heartbeat_interval_ms: u64::try_from(heartbeat_interval.as_millis()).unwrap_or(u64::MAX),
            }),
            ToExecutor::Refused { reason } => Message::Refused(pb::Refused { reason }),
            ToExecutor::DefineStage(stage) => Message::DefineStage((*stage).into()),
            ToExecutor::Run(task) => Message::Run((*task).into()),
            ToExecutor::Cancel(attempt) => Message::Cancel(attempt.into()),
            ToExecutor::ReportTaken(attempt) => Message::ReportTaken(attempt.into()),
            ToExecutor::ForgetJob(job) => Message::ForgetJob(pb::ForgetJob { job: job_bytes(job) }),
            ToExecutor::Epochs { request, outcome } => Message::Epochs(epochs::answer(request, outcome)),
            ToExecutor::GrantJob(job, token) => Message::GrantJob(pb::GrantJob {
                job: job_bytes(job),
                shuffle_token: Bytes::copy_from_slice(&token.to_bytes()),
            }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::ToExecutor> for ToExecutor {
    type Error = DecodeError;
    fn try_from(message: pb::ToExecutor) -> Result<Self, DecodeError> {
        use pb::to_executor::Message;
        Ok(match message.message.required("message")? {
            Message::Welcome(welcome) => {
                Self::Welcome { heartbeat_interval: Duration::from_millis(welcome.heartbeat_interval_ms) }
            }
            Message::Refused(refused) => Self::Refused { reason: refused.reason },
            Message::DefineStage(stage) => Self::DefineStage(Box::new(within("define_stage", stage)?)),
            Message::Run(task) => Self::Run(Box::new(within("run", task)?)),
            Message::Cancel(attempt) => Self::Cancel(within("cancel", attempt)?),
            Message::ReportTaken(attempt) => Self::ReportTaken(within("report_taken", attempt)?),
            Message::ForgetJob(forget) => Self::ForgetJob(job_id(&forget.job, "forget_job.job")?),
            Message::Epochs(answer) => {
                let (request, outcome) = epochs::outcome(answer).map_err(|error| error.within("epochs"))?;
                Self::Epochs { request, outcome }
            }
            Message::GrantJob(grant) => {
                let token = grant.shuffle_token[..]
                    .try_into()
                    .map_err(|_| DecodeError::invalid("grant_job.shuffle_token", "a token of 16 bytes"))?;
                Self::GrantJob(job_id(&grant.job, "grant_job.job")?, JobToken::from_bytes(token))
            }
        })
    }
}

/// Decodes the message of a `oneof`, which cannot be missing any more.
fn within<M, T: TryFrom<M, Error = DecodeError>>(field: &'static str, message: M) -> Result<T, DecodeError> {
    T::try_from(message).map_err(|error| error.within(field))
}

impl From<Hello> for pb::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            build: hello.build,
            executor: hello.executor.as_str().to_owned(),
            incarnation: hello.incarnation.0,
            slots: hello.slots,
            host: hello.host,
            memory_bytes: hello.memory_bytes,
            running: hello.running.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Hello> for Hello {
    type Error = DecodeError;
    fn try_from(hello: pb::Hello) -> Result<Self, DecodeError> {
        if hello.executor.is_empty() {
            return Err(DecodeError::missing("executor"));
        }
        Ok(Self {
            build: hello.build,
            executor: ExecutorId::new(hello.executor),
            incarnation: Incarnation(hello.incarnation),
            slots: hello.slots,
            host: hello.host,
            memory_bytes: hello.memory_bytes,
            running: each(hello.running, "running")?,
        })
    }
}

impl From<Heartbeat> for pb::Heartbeat {
    fn from(heartbeat: Heartbeat) -> Self {
        let NodeSample { cpu_used, memory_used_bytes, memory_limit_bytes, scratch_used_bytes } =
            heartbeat.sample;
        let progress = |progress: AttemptProgress| pb::AttemptProgress {
            attempt: Some(progress.attempt.into()),
            rows_in: progress.rows_in,
            rows_out: progress.rows_out,
        };
        Self {
            sample: Some(pb::NodeSample {
                cpu_used,
                memory_used_bytes,
                memory_limit_bytes,
                scratch_used_bytes,
            }),
            progress: heartbeat.progress.into_iter().map(progress).collect(),
        }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = DecodeError;
    fn try_from(heartbeat: pb::Heartbeat) -> Result<Self, DecodeError> {
        let pb::NodeSample { cpu_used, memory_used_bytes, memory_limit_bytes, scratch_used_bytes } =
            heartbeat.sample.unwrap_or_default();
        Ok(Self {
            sample: NodeSample { cpu_used, memory_used_bytes, memory_limit_bytes, scratch_used_bytes },
            progress: each(heartbeat.progress, "progress")?,
        })
    }
}

impl TryFrom<pb::AttemptProgress> for AttemptProgress {
    type Error = DecodeError;
    fn try_from(progress: pb::AttemptProgress) -> Result<Self, DecodeError> {
        Ok(Self {
            attempt: required(progress.attempt, "attempt")?,
            rows_in: progress.rows_in,
            rows_out: progress.rows_out,
        })
    }
}
