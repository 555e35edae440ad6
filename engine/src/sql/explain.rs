//! EXPLAIN: the plans as rows; EXPLAIN DISTRIBUTED: the stages, and why there is each exchange.

use std::fmt::Write;

use datafusion::physical_plan::displayable;

use super::{PlannedStatement, StatementKind, bind::Bound, show::text_rows};
use crate::{
    error::SqlError,
    stage_graph::{ReadMode, Stage, StageGraph, StageOutput},
};

/// The rows that explain `planned`.
pub fn rows(planned: &PlannedStatement, distributed: bool) -> Result<StatementKind, SqlError> {
    let row = |kind: &str, plan: &str| vec![Some(kind.to_owned()), Some(plan.trim_end().to_owned())];
    let mut rows = Vec::new();
    match graph(planned) {
        Some(graph) if distributed => {
            rows.extend(
                (0..graph.stages.len()).map(|index| row(&format!("stage {index}"), &stage(graph, index))),
            );
        }
        Some(_) => {
            rows.push(row("logical_plan", &planned.logical_plan));
            rows.push(row("physical_plan", &planned.physical_plan));
        }
        None => rows.push(row("statement", &format!("{} without stages", planned.kind.name()))),
    }
    match text_rows(&["plan_type", "plan"], rows)? {
        Bound::Rows { schema, batches } => Ok(StatementKind::Rows { schema, batches }),
        _ => Err(SqlError::sql("EXPLAIN has no rows")),
    }
}

fn graph(planned: &PlannedStatement) -> Option<&StageGraph> {
    match &planned.kind {
        StatementKind::Query { graph, .. } | StatementKind::Sink { graph, .. } => Some(graph),
        _ => None,
    }
}

/// One stage: what it is, what it reads and why, what it computes, where its rows go.
fn stage(graph: &StageGraph, index: usize) -> String {
    let stage = &graph.stages[index];
    let mut text = format!("{}\n{}\n", stage.name, tasks(stage.tasks));
    for (number, input) in stage.inputs.iter().enumerate() {
        let from = &graph.stages[input.stage];
        let reason = why(from, input.mode, input.owners.len());
        let partitions = input.partitions;
        let _ = writeln!(
            text,
            "reads exchange {number}: stage {}, {partitions} partitions: {reason}",
            input.stage
        );
    }
    let _ = writeln!(text, "writes {}", output(stage));
    text.push_str(&displayable(stage.plan.as_ref()).indent(false).to_string());
    text
}

fn tasks(count: u32) -> String {
    match count {
        1 => "1 task".to_owned(),
        count => format!("{count} tasks"),
    }
}

fn why(from: &Stage, mode: ReadMode, readers: usize) -> String {
    match (mode, &from.output) {
        (ReadMode::Partitioned, StageOutput::Hash { keys }) => {
            format!("rows with equal {} have to meet in one task", keys.join(", "))
        }
        (ReadMode::Partitioned, _) => "each task takes its share".to_owned(),
        (ReadMode::All, _) if readers > 1 => "every task needs all of these rows (broadcast)".to_owned(),
        (ReadMode::All, StageOutput::ByTask) => {
            "one task needs all rows, those of each task in their order".to_owned()
        }
        (ReadMode::All, _) => "one task needs all rows".to_owned(),
    }
}

fn output(stage: &Stage) -> String {
    let partitions = stage.output_partitions;
    match &stage.output {
        StageOutput::Hash { keys } => format!("{partitions} partitions by hash of {}", keys.join(", ")),
        StageOutput::RoundRobin => format!("{partitions} partitions in turn"),
        StageOutput::Gather => "one partition".to_owned(),
        StageOutput::ByTask => format!("{partitions} partitions, one per task"),
        StageOutput::Result => format!("the result, {partitions} partitions"),
        StageOutput::Files => "files".to_owned(),
    }
}
