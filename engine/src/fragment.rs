//! Cuts an optimised physical plan at its exchanges.
//!
//! A stage ends below each hash repartition, below a gather (coalesce or merge) of several partitions, and at the build
//! side of a collected join that several tasks probe. What is left is a template: its leaves are scans without files and
//! reads of exchanges, and task `k` runs its output partition `k`. Equal pieces become one stage.
//!
//! In: a plan of one process. Out: a [`StageGraph`]. Not here: where tasks run, and choosing among plans.

mod name;
mod normalize;
mod refuse;
mod repeatable;
mod template;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use datafusion::{
    error::DataFusionError,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};

use crate::{
    codec,
    exchange::{ExchangeWriteExec, WritePartitioning},
    stage_graph::{Input, InvalidGraph, Stage, StageGraph, StageOutput, StageScan},
};

/// What the root of the plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOutput {
    /// The rows of a query.
    Result,
    /// The plan's root is the sink's write node.
    Files,
}

/// Why a plan cannot be run as stages.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// A piece of plan that can run neither spread over tasks nor within one.
    #[error("{operator} cannot run in Penstock: {reason}")]
    Unsupported { operator: String, reason: &'static str },
    #[error("the plan is nested {depth} levels deep, the limit is {limit}")]
    TooDeep { depth: usize, limit: usize },
    #[error("cutting the plan into stages: {0}")]
    Plan(#[from] DataFusionError),
    #[error("the stages do not fit together: {0}")]
    Invalid(#[from] InvalidGraph),
}

/// Cuts `plan`, which comes from a session with the pinned settings, into stages.
pub fn cut(plan: Arc<dyn ExecutionPlan>, root: RootOutput) -> Result<StageGraph, CutError> {
    refuse::check_depth(&plan)?;
    let plan = normalize::normalize(plan)?;
    refuse::check(&plan)?;
    let mut cutter = Cutter::default();
    match root {
        RootOutput::Result => cutter.stage(plan, Leaving::Result)?,
        RootOutput::Files => cutter.stage(plan, Leaving::Files)?,
    };
    Ok(StageGraph::new(cutter.stages)?)
}

/// The stages so far, producers first.
#[derive(Default)]
struct Cutter {
    stages: Vec<Stage>,
    /// Stages that may be equal, by what is quick to compare.
    shared: HashMap<Fingerprint, Vec<usize>>,
}

/// Two stages with equal fingerprints and equal files give the same rows.
#[derive(PartialEq, Eq, Hash)]
struct Fingerprint {
    plan: Bytes,
    inputs: Vec<Input>,
    output: StageOutput,
    tasks: u32,
}

/// How the rows of a piece leave it.
enum Leaving {
    Exchange(WritePartitioning),
    Result,
    Files,
}

/// What a stage's template refers to by number.
#[derive(Default)]
struct Sources {
    inputs: Vec<Input>,
    scans: Vec<StageScan>,
}

impl Cutter {
    /// Makes a stage of `plan` and of everything below it; gives its position.
    fn stage(&mut self, plan: Arc<dyn ExecutionPlan>, leaving: Leaving) -> Result<usize, CutError> {
        let tasks = plan.output_partitioning().partition_count().max(1) as u32;
        let schema = plan.schema();
        let mut sources = Sources::default();
        let volatile = refuse::is_volatile(&plan)?;
        let piece = self.template(plan, &template::Run::spread(0..tasks), &mut sources)?;
        let (name, (plan, output, output_partitions)) = (name::of(&piece), leaving.apply(piece, tasks));
        let Sources { inputs, scans } = sources;
        let encoded = codec::encode_plan(&plan).map_err(|error| error.0)?;
        let deterministic = repeatable::is_proved(&plan)?;
        let stage = Stage {
            name,
            inputs,
            tasks,
            output_partitions,
            output,
            deterministic,
            plan,
            scans,
            schema,
            encoded,
        };
        Ok(if volatile { self.add(stage) } else { self.share(stage) })
    }

    /// The equal stage that is there already, or the new one.
    fn share(&mut self, stage: Stage) -> usize {
        let fingerprint = Fingerprint::of(&stage);
        let known = self.shared.get(&fingerprint).into_iter().flatten();
        if let Some(equal) = known.copied().find(|known| self.stages[*known].scans == stage.scans) {
            return equal;
        }
        let index = self.add(stage);
        self.shared.entry(fingerprint).or_default().push(index);
        index
    }

    fn add(&mut self, stage: Stage) -> usize {
        self.stages.push(stage);
        self.stages.len() - 1
    }
}

impl Leaving {
    fn apply(self, piece: Arc<dyn ExecutionPlan>, tasks: u32) -> (Arc<dyn ExecutionPlan>, StageOutput, u32) {
        let exchange = |partitioning| Arc::new(ExchangeWriteExec::new(piece.clone(), partitioning)) as Arc<_>;
        match self {
            Self::Files => (piece, StageOutput::Files, 0),
            Self::Result => (exchange(WritePartitioning::ByTask { merged: 1 }), StageOutput::Result, tasks),
            Self::Exchange(partitioning) => {
                let (output, partitions) = match &partitioning {
                    WritePartitioning::Hash(exprs, partitions) => {
                        (StageOutput::Hash { keys: exprs.iter().map(short).collect() }, *partitions as u32)
                    }
                    WritePartitioning::RoundRobin(partitions) => {
                        (StageOutput::RoundRobin, *partitions as u32)
                    }
                    WritePartitioning::Gather => (StageOutput::Gather, 1),
                    WritePartitioning::ByTask { .. } => (StageOutput::ByTask, tasks),
                };
                (exchange(partitioning), output, partitions)
            }
        }
    }
}

/// `l_orderkey` instead of `l_orderkey@0`.
fn short(expr: &Arc<dyn datafusion::physical_expr::PhysicalExpr>) -> String {
    datafusion::physical_expr_common::physical_expr::fmt_sql(expr.as_ref()).to_string()
}

impl Fingerprint {
    fn of(stage: &Stage) -> Self {
        Self {
            plan: stage.encoded.clone(),
            inputs: stage.inputs.clone(),
            output: stage.output.clone(),
            tasks: stage.tasks,
        }
    }
}
