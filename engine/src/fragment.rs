//! Cuts an optimised physical plan at its exchanges.

use std::sync::Arc;

use datafusion::{error::DataFusionError, physical_plan::ExecutionPlan, prelude::SessionContext};

use crate::stage_graph::{InvalidGraph, StageGraph};

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
    #[error("cutting the plan into stages")]
    Plan(#[from] DataFusionError),
    #[error("the stages do not fit together")]
    Invalid(#[from] InvalidGraph),
}

/// Cuts `plan` into stages. The plan comes from a session that pins what `planning` pins.
pub fn cut(plan: Arc<dyn ExecutionPlan>, root: RootOutput, ctx: &SessionContext) -> Result<StageGraph, CutError> {
    let _ = (plan, root, ctx);
    Err(CutError::Invalid(InvalidGraph::Empty))
}
