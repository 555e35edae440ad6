//! What the engine planned, in the words of the core and the event log.

use datafusion::arrow::datatypes::Schema;
use penstock_engine::{
    error::SqlError,
    sql::{PlannedStatement, StatementKind},
    stage_graph::{ReadMode as EngineReadMode, Stage, StageGraph, StageOutput as EngineOutput},
};
use penstock_protocol::{
    event::{self, PlannedInput, PlannedStage},
    ids::{StageId, StatementIndex},
};

use crate::job::{FailurePlace, JobFailure, ReadMode, StageOutput, StageSpec, StatementWork};

/// A mistake in the script, with its place.
pub fn sql_failure(error: &SqlError) -> JobFailure {
    let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let place =
        FailurePlace { line: narrow(error.line), column: narrow(error.column), ..FailurePlace::default() };
    let mut failure = JobFailure::new(error.class, message_with_source(error), None).at(place);
    failure.failure.advice = error.suggestion.clone();
    failure
}

/// The message with the source line and its caret, without the advice, which has a field of its own.
fn message_with_source(error: &SqlError) -> String {
    SqlError { suggestion: None, ..error.clone() }.to_string()
}

pub(super) fn work_of(statement: &PlannedStatement, first_stage: StageId) -> StatementWork {
    match &statement.kind {
        StatementKind::Query { graph, .. } => StatementWork::Query { stages: specs(graph, first_stage) },
        StatementKind::Sink { graph, sink, then } => StatementWork::Sink {
            stages: specs(graph, first_stage),
            target: sink.target_url.clone(),
            changes_catalog: then.is_some(),
        },
        StatementKind::Catalog(_) => StatementWork::Catalog,
        StatementKind::Rows { batches, .. } => {
            StatementWork::Rows { rows: batches.iter().map(|batch| batch.num_rows() as u64).sum() }
        }
        StatementKind::Set { key, value } => StatementWork::Set { key: key.clone(), value: value.clone() },
    }
}

pub(super) fn graph_of(kind: &StatementKind) -> Option<&StageGraph> {
    match kind {
        StatementKind::Query { graph, .. } | StatementKind::Sink { graph, .. } => Some(graph),
        StatementKind::Catalog(_) | StatementKind::Rows { .. } | StatementKind::Set { .. } => None,
    }
}

/// The word for a statement in the event log.
pub(super) fn kind_name(kind: &StatementKind) -> &'static str {
    match kind {
        StatementKind::Query { .. } => "query",
        StatementKind::Sink { .. } => "sink",
        StatementKind::Catalog(_) => "catalog",
        StatementKind::Rows { .. } => "explain",
        StatementKind::Set { .. } => "set",
    }
}

pub(super) fn log_of(
    statement: &PlannedStatement,
    index: StatementIndex,
    first_stage: StageId,
) -> event::StatementPlanned {
    let stages = graph_of(&statement.kind).map(|graph| planned_stages(graph, first_stage));
    event::StatementPlanned {
        statement: index,
        sql: statement.sql.clone(),
        kind: kind_name(&statement.kind).to_owned(),
        logical_plan: statement.logical_plan.clone(),
        physical_plan: statement.physical_plan.clone(),
        stages: stages.unwrap_or_default(),
    }
}

pub(super) fn columns(schema: &Schema) -> Vec<(String, String)> {
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
}

fn specs(graph: &StageGraph, first: StageId) -> Vec<StageSpec> {
    graph.stages.iter().enumerate().map(|(position, stage)| spec(stage, position, first)).collect()
}

fn spec(stage: &Stage, position: usize, first: StageId) -> StageSpec {
    let input =
        |input: &penstock_engine::stage_graph::Input| (numbered(first, input.stage), read_mode(input.mode));
    StageSpec {
        stage: numbered(first, position),
        name: stage.name.clone(),
        inputs: stage.inputs.iter().map(input).collect(),
        tasks: stage.tasks,
        output_partitions: stage.output_partitions,
        deterministic: stage.deterministic,
        output: match stage.output {
            EngineOutput::Result => StageOutput::Result,
            EngineOutput::Files => StageOutput::Files,
            EngineOutput::Hash { .. }
            | EngineOutput::RoundRobin
            | EngineOutput::Gather
            | EngineOutput::ByTask => StageOutput::Shuffle,
        },
    }
}

fn read_mode(mode: EngineReadMode) -> ReadMode {
    match mode {
        EngineReadMode::Partitioned => ReadMode::Partitioned,
        EngineReadMode::All => ReadMode::All,
    }
}

fn planned_stages(graph: &StageGraph, first: StageId) -> Vec<PlannedStage> {
    graph.stages.iter().enumerate().map(|(position, stage)| planned_stage(stage, position, first)).collect()
}

fn planned_stage(stage: &Stage, position: usize, first: StageId) -> PlannedStage {
    let inputs = stage
        .inputs
        .iter()
        .map(|input| PlannedInput { stage: numbered(first, input.stage), mode: input.to_string() });
    PlannedStage {
        stage: numbered(first, position),
        name: stage.name.clone(),
        tasks: stage.tasks,
        output_partitions: stage.output_partitions,
        output: stage.output.to_string(),
        inputs: inputs.collect(),
        operators: stage.operators(),
    }
}

/// Positions within a statement become numbers within the job. A plan has far fewer than 2^32 stages.
fn numbered(first: StageId, position: usize) -> StageId {
    StageId(first.0.saturating_add(u32::try_from(position).unwrap_or(u32::MAX)))
}
