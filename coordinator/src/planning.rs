//! SQL to stages, off the loop.
//!
//! In: a job's spec, the catalog, the settings so far. Out: what the core schedules with ([`StatementPlan`]) and what
//! the shell holds until tasks are dispatched ([`Held`]). The [`Planner`] trait lets the simulation use scripted plans.
//! Not here: DataFusion itself, which `engine` wraps.

mod convert;
mod engine;
pub mod scripted;

use std::{collections::BTreeMap, fmt::Debug, ops::Range, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use penstock_engine::{
    catalog::{Catalog, CatalogChange},
    sink::SinkTarget,
};
use penstock_protocol::{
    event,
    ids::{JobId, StageId, StatementIndex},
    task::ScanFile,
};

pub use self::{convert::sql_failure, engine::EnginePlanner};
use crate::job::{JobFailure, JobSpec, StatementPlan, StatementText};

/// Turns scripts into plans.
#[async_trait]
pub trait Planner: Debug + Send + Sync {
    /// Parses the script and binds every statement, before anything runs.
    async fn prepare(&self, request: PrepareRequest) -> Result<Vec<StatementText>, JobFailure>;

    /// Plans one statement on the catalog as it is when the statement starts.
    async fn plan(&self, request: PlanRequest) -> Result<Planned, JobFailure>;

    /// Plans all statements without a job, each on what its predecessors would leave behind.
    async fn describe(&self, request: PrepareRequest) -> Result<Vec<Described>, JobFailure>;
}

/// A script to check.
#[derive(Debug, Clone)]
pub struct PrepareRequest {
    pub job: JobId,
    pub spec: Arc<JobSpec>,
    /// The coordinator's settings with the job's own above them.
    pub settings: Arc<BTreeMap<String, String>>,
    pub catalog: Arc<Catalog>,
}

/// A statement to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    pub job: JobId,
    pub spec: Arc<JobSpec>,
    pub catalog: Arc<Catalog>,
    pub statement: StatementIndex,
    pub first_stage: StageId,
    /// As above, with the script's `SET`s so far.
    pub settings: Arc<BTreeMap<String, String>>,
}

/// A planned statement: what the core gets and what stays here.
#[derive(Debug)]
pub struct Planned {
    pub plan: StatementPlan,
    pub held: Held,
}

/// The parts of a planned statement that the core has no use for.
#[derive(Debug)]
pub struct Held {
    pub first_stage: StageId,
    pub settings: Arc<BTreeMap<String, String>>,
    pub inline_bytes_max: u64,
    pub stages: Option<Arc<dyn StagePlans>>,
    /// Of a query's rows.
    pub schema: Option<SchemaRef>,
    /// Rows that were known at planning.
    pub rows: Option<Vec<RecordBatch>>,
    pub sink: Option<SinkTarget>,
    pub change: Option<CatalogChange>,
}

/// What executors need of a statement's stages; `stage` is the position within the statement.
pub trait StagePlans: Debug + Send + Sync {
    fn template(&self, stage: usize) -> Bytes;
    /// For each scan of the stage, the files of one task.
    fn scans(&self, stage: usize, task: u32) -> Vec<Vec<ScanFile>>;
    /// The partitions of the stage's `input`-th exchange that one task reads.
    fn reads(&self, stage: usize, input: usize, task: u32) -> Range<u32>;
}

/// What `EXPLAIN` says about a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    pub sql: String,
    pub kind: &'static str,
    /// Columns of a query with their types.
    pub schema: Option<Vec<(String, String)>>,
    pub plan: event::StatementPlanned,
}

impl Held {
    /// The same without what only dispatching needs.
    pub fn without_stages(&self) -> Self {
        Self {
            first_stage: self.first_stage,
            settings: Arc::clone(&self.settings),
            inline_bytes_max: self.inline_bytes_max,
            stages: None,
            schema: self.schema.clone(),
            rows: None,
            sink: self.sink.clone(),
            change: self.change.clone(),
        }
    }
}
