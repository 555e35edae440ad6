//! Everything that the core wants done: the only output of [`crate::coordinator::Coordinator::step`].
//!
//! The shell starts effects in order. `InsertJob`, `Journal` and `UpdateJob` must be durable before any later effect of
//! the same step starts; the others may run on side by side, and their answers come back as events.

use std::sync::Arc;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event,
    event::JobState,
    ids::{
        AttemptId, Epoch, ExecutorId, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, StatementIndex,
        WorkerId,
    },
    shuffle::{ShuffleSource, ShuffleTarget, Winner},
    task::WrittenFile,
};

use crate::{
    event::RequestId,
    job::{AttemptTarget, JobSpec, JobStatus, StatementResult},
    journal,
    store::JobRecord,
};

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    // The store.
    /// A new job: one row.
    InsertJob(Box<JobRecord>),
    /// The row of a job changed: state, times, failure, totals. Also its last word when it ends.
    UpdateJob(Box<JobRecord>),
    Journal {
        job: JobId,
        record: journal::Record,
    },

    // Clients.
    AnswerSubmit {
        request: RequestId,
        answer: Result<Accepted, SubmitError>,
    },
    AnswerCancel {
        request: RequestId,
        answer: Result<Arc<JobStatus>, CancelError>,
    },
    /// The newest status, for everybody who waits for a change. Versions of one job grow.
    PublishStatus(Arc<JobStatus>),
    /// The core forgot this job, which ended long ago: from now on the store answers. Drop plans, results and status.
    Forget {
        job: JobId,
    },

    // Planning.
    /// Parse the script and bind all of its statements. Answered by `ScriptPrepared`.
    PrepareScript {
        job: JobId,
        spec: Arc<JobSpec>,
    },
    /// Answered by `StatementPlanned`. Stage numbers start at `first_stage`.
    PlanStatement {
        job: JobId,
        statement: StatementIndex,
        first_stage: StageId,
        /// The job's settings with the script's `SET`s so far.
        settings: Arc<std::collections::BTreeMap<String, String>>,
    },

    // Shuffles.
    /// Answered by `ShuffleReserved`.
    ReserveShuffle {
        shuffle: ShuffleId,
        partitions: u32,
    },
    /// Reserve further epochs, away from the suspects if possible. Answered by `ShuffleExtended`.
    ExtendShuffle {
        shuffle: ShuffleId,
        wanted: Vec<(PartitionIndex, Epoch)>,
        suspects: Vec<WorkerId>,
    },
    /// Writers have left these epochs: they are closed before the others, so that their workers may leave. Not answered; the
    /// commit names them again.
    CloseEpochs {
        target: Arc<ShuffleTarget>,
    },
    /// Answered by `ShuffleCommitted`. May be asked again for the same shuffle.
    CommitShuffle {
        target: Arc<ShuffleTarget>,
        winners: Arc<[Winner]>,
    },
    /// Nobody reads these any more. Not answered; what fails expires at the master.
    ReleaseShuffles {
        job: JobId,
        shuffles: Vec<ShuffleId>,
    },
    /// The job has no data left in the shuffle service.
    ReleaseJob {
        job: JobId,
    },

    // Executors.
    Dispatch(Box<Dispatch>),
    /// Not answered by itself: the attempt's report says that it ended.
    CancelAttempt {
        executor: ExecutorId,
        incarnation: Incarnation,
        attempt: AttemptId,
    },
    /// What the report said is journaled, or of no use to anyone: the executor need not keep it.
    ReportTaken {
        executor: ExecutorId,
        incarnation: Incarnation,
        attempt: AttemptId,
    },
    /// What became of a wish for new epochs.
    AnswerEpochs {
        executor: ExecutorId,
        incarnation: Incarnation,
        request: u64,
        outcome: Result<ShuffleTarget, String>,
    },
    /// No attempt of this job comes to this executor any more: it drops the job's stages.
    ForgetJob {
        executor: ExecutorId,
        incarnation: Incarnation,
        job: JobId,
    },
    /// Its stream must be closed: it was declared lost, or a newer life of it connected.
    DisconnectExecutor {
        executor: ExecutorId,
        incarnation: Incarnation,
        reason: String,
    },

    // Statements.
    /// The rows of a finished query. Wanted until the job is forgotten.
    KeepResult {
        job: JobId,
        statement: StatementIndex,
        result: Arc<StatementResult>,
    },
    /// Make the winners' files visible in one step. Answered by `SinkPublished`.
    PublishSink {
        job: JobId,
        statement: StatementIndex,
        files: Vec<WrittenFile>,
    },
    /// Remove whatever waits in the statement's staging folder.
    DiscardSink {
        job: JobId,
        statement: StatementIndex,
    },
    /// Apply the catalog change of a statement. Answered by `CatalogApplied`.
    ApplyCatalog {
        job: JobId,
        statement: StatementIndex,
    },

    /// For readers of the event log: the job lives, although nothing may have happened for a while.
    SignOfLife {
        job: JobId,
        at: Timestamp,
    },
    /// For the job's event log; the shell adds the sequence number.
    Log {
        job: JobId,
        at: Timestamp,
        event: event::Event,
    },
    /// As `Log`, but rather dropped than waited for.
    Sample {
        job: JobId,
        at: Timestamp,
        event: event::Event,
    },
}

/// One attempt to run. The shell adds what the engine knows: the stage's plan and the task's files and partitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    pub executor: ExecutorId,
    pub incarnation: Incarnation,
    pub attempt: AttemptId,
    pub statement: StatementIndex,
    /// Grows whenever inputs or target of the stage's tasks change: an executor that knows another version is told anew.
    pub definition: u32,
    /// One for each input of the stage, in its order, with all partitions.
    pub inputs: Vec<Arc<ShuffleSource>>,
    pub target: AttemptTarget,
}

/// A submission that was taken, or found to be a job that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub job: JobId,
    pub try_number: u32,
    pub state: JobState,
    pub reattached: bool,
    pub definition_hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the idempotency key belongs to job {job}, which is {state:?} and has another definition")]
    Conflict {
        job: JobId,
        state: JobState,
        /// `sql`, `parameters`, `settings`, `base_url`; empty if only the hash of the other is known.
        differs: Vec<&'static str>,
    },
    #[error("{active} jobs are active, which is the limit")]
    TooManyJobs { active: usize },
    #[error("there is no queue `{queue}`")]
    UnknownQueue { queue: String, known: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// Not known to the core; the store may know that it ended.
    #[error("job {job} is not active")]
    UnknownJob { job: JobId },
    #[error("no active job has the idempotency key `{key}`")]
    UnknownKey { key: String },
}
