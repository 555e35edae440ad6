//! One statement of a script: planned, run, published, finished.

use std::sync::Arc;

use penstock_protocol::ids::{StageId, StatementIndex};

use super::{
    spec::{Outputs, StageOutput, StageSpec, StatementKind},
    status::{StatementState, StatementStatus},
};

#[derive(Debug)]
pub struct Statement {
    pub index: StatementIndex,
    pub sql: Arc<str>,
    pub kind: Option<StatementKind>,
    pub state: StatementState,
    /// Its stages are `first_stage..end_stage`; the last one is the root.
    pub first_stage: StageId,
    pub end_stage: StageId,
    /// Applied when the files are visible.
    pub changes_catalog: bool,
    /// While publishing: the files are visible, or there are none, and only the catalog is left.
    pub is_published: bool,
    pub rows: Option<u64>,
    pub has_result: bool,
    pub outputs: Option<Outputs>,
}

impl Statement {
    pub fn new(index: StatementIndex, sql: Arc<str>) -> Self {
        Self {
            index,
            sql,
            kind: None,
            state: StatementState::Waiting,
            first_stage: StageId(0),
            end_stage: StageId(0),
            changes_catalog: false,
            is_published: false,
            rows: None,
            has_result: false,
            outputs: None,
        }
    }

    pub fn stages(&self) -> std::ops::Range<StageId> {
        self.first_stage..self.end_stage
    }

    pub fn root(&self) -> StageId {
        StageId(self.end_stage.0 - 1)
    }

    /// From here on it must be brought to its end, whatever happens to the job.
    pub fn is_publishing(&self) -> bool {
        self.state == StatementState::Publishing
    }

    pub fn status(&self) -> StatementStatus {
        StatementStatus {
            index: self.index,
            sql: self.sql.clone(),
            kind: self.kind,
            state: self.state,
            rows: self.rows,
            has_result: self.has_result,
            outputs: self.outputs.clone(),
        }
    }
}

/// What is wrong with a stage graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("the plan has no stage")]
    Empty,
    #[error("stage {found} stands where stage {expected} belongs")]
    Number { expected: StageId, found: StageId },
    #[error("stage {stage} reads stage {input}, which is not a shuffle before it")]
    Input { stage: StageId, input: StageId },
    #[error("stage {stage} writes {found:?} where {expected:?} belongs")]
    Output { stage: StageId, expected: StageOutput, found: StageOutput },
}

/// Checks what the rest of the core relies on.
pub fn check_graph(first: StageId, stages: &[StageSpec], root: StageOutput) -> Result<(), GraphError> {
    if stages.is_empty() {
        return Err(GraphError::Empty);
    }
    for (position, stage) in (0u32..).zip(stages) {
        let expected = StageId(first.0 + position);
        if stage.stage != expected {
            return Err(GraphError::Number { expected, found: stage.stage });
        }
        let last = position as usize + 1 == stages.len();
        let output = if last { root } else { StageOutput::Shuffle };
        if stage.output != output {
            return Err(GraphError::Output { stage: stage.stage, expected: output, found: stage.output });
        }
        if let Some((input, _)) =
            stage.inputs.iter().find(|(input, _)| *input < first || *input >= stage.stage)
        {
            return Err(GraphError::Input { stage: stage.stage, input: *input });
        }
    }
    Ok(())
}
