//! Everything that can happen to the coordinator: the only input of [`crate::coordinator::Coordinator::step`].
//!
//! Events may come late, twice or out of order; the core ignores what it already knows or no longer needs. Each event
//! that answers an effect names the thing it answers for, so that an answer to a former try is told apart.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use penstock_protocol::{
    ids::{
        AttemptId, Epoch, ExecutorId, Incarnation, JobId, PartitionIndex, ShuffleId, StatementIndex, WorkerId,
    },
    shuffle::{CommitVerdict, Location, ShuffleTarget},
    task::AttemptReport,
    wire::executor::{EpochsRequest, Heartbeat},
};

use crate::job::{JobFailure, JobSpec, Outputs, StatementPlan, StatementText};

/// A client's call that waits for an answer; numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    // Clients.
    /// `job` is a fresh id, used if a new job comes of it. `stored` is what the store knows about the idempotency key,
    /// looked up before; what the core itself remembers goes first. Answered by `AnswerSubmit`.
    Submit {
        request: RequestId,
        job: JobId,
        spec: Box<JobSpec>,
        stored: Option<StoredKey>,
    },
    /// Answered by `AnswerCancel` if there is a `request`.
    Cancel {
        request: Option<RequestId>,
        job: JobId,
        reason: String,
        grace: Duration,
    },
    /// Cancels the active job with this key. Answered by `AnswerCancel`.
    CancelKey {
        request: RequestId,
        idempotency_key: String,
        reason: String,
        grace: Duration,
    },
    /// Somebody asked for the job's status: renews its lease.
    Polled {
        job: JobId,
    },

    // Planning.
    /// Answers `PrepareScript`: all statements were parsed and bound.
    ScriptPrepared {
        job: JobId,
        outcome: Result<Vec<StatementText>, JobFailure>,
    },
    /// Answers `PlanStatement`.
    StatementPlanned {
        job: JobId,
        statement: StatementIndex,
        outcome: Result<StatementPlan, JobFailure>,
    },

    // Shuffles.
    /// Answers `ReserveShuffle`.
    ShuffleReserved {
        shuffle: ShuffleId,
        outcome: Result<Arc<ShuffleTarget>, JobFailure>,
    },
    /// Answers `CommitShuffle`: a verdict for every location that was asked for.
    ShuffleCommitted {
        shuffle: ShuffleId,
        outcome: Result<Vec<(Location, CommitVerdict)>, JobFailure>,
    },

    /// Answers `ExtendShuffle`.
    ShuffleExtended {
        shuffle: ShuffleId,
        wanted: Vec<(PartitionIndex, Epoch)>,
        outcome: Result<Vec<Location>, JobFailure>,
    },

    /// Shuffle workers that are about to leave, as often as one likes.
    WorkersLeaving {
        workers: BTreeSet<WorkerId>,
    },

    // Executors.
    /// Writers need new epochs. Answered by `AnswerEpochs` in any case; may come again.
    EpochsWanted {
        executor: ExecutorId,
        incarnation: Incarnation,
        request: EpochsRequest,
    },
    /// An executor opened its stream. `running` are the attempts it still runs or has not reported yet.
    ExecutorConnected {
        executor: ExecutorId,
        incarnation: Incarnation,
        host: String,
        slots: u32,
        running: Vec<AttemptId>,
    },
    /// Any sign of life renews the lease; this one comes by itself and says how things go.
    ExecutorHeartbeat {
        executor: ExecutorId,
        incarnation: Incarnation,
        heartbeat: Heartbeat,
    },
    /// Takes nothing new; what it runs, it finishes or hands back.
    ExecutorDraining {
        executor: ExecutorId,
        incarnation: Incarnation,
    },
    /// Its stream ended. It has the reconnect grace to come back.
    ExecutorDisconnected {
        executor: ExecutorId,
        incarnation: Incarnation,
        reason: String,
    },
    AttemptReported {
        executor: ExecutorId,
        incarnation: Incarnation,
        report: Box<AttemptReport>,
    },

    // Statements.
    /// Answers `PublishSink`.
    SinkPublished {
        job: JobId,
        statement: StatementIndex,
        outcome: Result<Outputs, JobFailure>,
    },
    /// Answers `ApplyCatalog`.
    CatalogApplied {
        job: JobId,
        statement: StatementIndex,
        outcome: Result<(), JobFailure>,
    },

    /// Nothing was heard for so long because the coordinator itself stood still: nobody is to blame for it.
    StoodStill {
        duration: Duration,
    },

    /// Time went on: leases, timeouts, back-offs, expiry. Wanted every [`crate::coordinator::TICK`].
    Tick,
}

/// The newest job that was submitted with a key, as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredKey {
    pub job: JobId,
    pub try_number: u32,
    pub state: penstock_protocol::event::JobState,
    pub definition_hash: String,
}
