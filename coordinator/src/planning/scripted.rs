//! A planner that knows its answers: for tests and the simulation, where no DataFusion runs.
//!
//! A script names stages instead of SQL: one statement per line, stages separated by `;`, each
//! `tasks>partitions[:inputs]` with inputs as positions, `*` after one that every task reads whole. `4>2; 2>1:0; 1>1:1*`
//! is a scan with 4 tasks, an aggregation of its 2 partitions, and a root that gathers.

use std::{ops::Range, sync::Arc};

use arrow::datatypes::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use penstock_protocol::{
    event,
    ids::{StageId, StatementIndex},
    task::{FailureClass, ScanFile},
};

use super::{Described, Held, PlanRequest, Planned, Planner, PrepareRequest, StagePlans};
use crate::job::{JobFailure, ReadMode, StageOutput, StageSpec, StatementPlan, StatementText, StatementWork};

/// See the module's documentation for the script's form.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScriptedPlanner;

#[async_trait]
impl Planner for ScriptedPlanner {
    async fn prepare(&self, request: PrepareRequest) -> Result<Vec<StatementText>, JobFailure> {
        statements(&request.spec.sql)
            .map(|line| parse(line, 0).map(|_| StatementText { sql: line.into() }))
            .collect()
    }

    async fn plan(&self, request: PlanRequest) -> Result<Planned, JobFailure> {
        let line = statements(&request.spec.sql).nth(request.statement.0 as usize);
        let stages = parse(line.unwrap_or_default(), request.first_stage.0)?;
        let log = log(line.unwrap_or_default(), request.statement);
        let plans = ScriptedStages { first_stage: request.first_stage, stages: stages.clone() };
        let held = Held {
            first_stage: request.first_stage,
            settings: request.settings,
            inline_bytes_max: 0,
            stages: Some(Arc::new(plans)),
            schema: Some(Arc::new(Schema::empty())),
            rows: None,
            sink: None,
            change: None,
        };
        Ok(Planned {
            plan: StatementPlan { work: StatementWork::Query { stages }, log: Box::new(log) },
            held,
        })
    }

    async fn describe(&self, _: PrepareRequest) -> Result<Vec<Described>, JobFailure> {
        Ok(Vec::new())
    }
}

fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn log(line: &str, statement: StatementIndex) -> event::StatementPlanned {
    event::StatementPlanned {
        statement,
        sql: line.to_owned(),
        kind: "query".to_owned(),
        logical_plan: String::new(),
        physical_plan: String::new(),
        stages: Vec::new(),
    }
}

fn parse(line: &str, first: u32) -> Result<Vec<StageSpec>, JobFailure> {
    let parts: Vec<&str> = line.split(';').map(str::trim).collect();
    let last = parts.len() - 1;
    let stage = |(position, text): (usize, &&str)| {
        let output = if position == last { StageOutput::Result } else { StageOutput::Shuffle };
        parse_stage(text, u32::try_from(position).ok()?, first, output)
    };
    let stages: Option<Vec<_>> = parts.iter().enumerate().map(stage).collect();
    stages.ok_or_else(|| {
        JobFailure::new(FailureClass::UserSql, format!("`{line}` is not a scripted statement"), None)
    })
}

fn parse_stage(text: &str, position: u32, first: u32, output: StageOutput) -> Option<StageSpec> {
    let (sizes, inputs) = text.split_once(':').unwrap_or((text, ""));
    let (tasks, partitions) = sizes.split_once('>')?;
    let input = |text: &str| {
        let (number, mode) = match text.trim().strip_suffix('*') {
            Some(number) => (number, ReadMode::All),
            None => (text.trim(), ReadMode::Partitioned),
        };
        let number: u32 = number.parse().ok().filter(|number| *number < position)?;
        Some((StageId(first + number), mode))
    };
    Some(StageSpec {
        stage: StageId(first + position),
        name: format!("scripted {text}"),
        inputs: inputs.split(',').filter(|text| !text.trim().is_empty()).map(input).collect::<Option<_>>()?,
        tasks: tasks.trim().parse().ok()?,
        output_partitions: partitions.trim().parse().ok()?,
        output,
        deterministic: false,
    })
}

#[derive(Debug)]
struct ScriptedStages {
    first_stage: StageId,
    stages: Vec<StageSpec>,
}

impl StagePlans for ScriptedStages {
    fn template(&self, stage: usize) -> Bytes {
        Bytes::from(self.stages[stage].name.clone())
    }

    fn scans(&self, _: usize, _: u32) -> Vec<Vec<ScanFile>> {
        Vec::new()
    }

    fn reads(&self, stage: usize, input: usize, task: u32) -> Range<u32> {
        let (producer, mode) = self.stages[stage].inputs[input];
        match mode {
            ReadMode::Partitioned => task..task + 1,
            ReadMode::All => {
                let producer = (producer.0 - self.first_stage.0) as usize;
                0..self.stages[producer].output_partitions
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripted_statement_is_a_chain_of_stages() {
        let stages = parse("4>2; 2>1:0; 1>1:1*", 7).expect("is well formed");
        assert_eq!(stages[2].inputs, [(StageId(8), ReadMode::All)]);
        assert_eq!(stages[2].output, StageOutput::Result);
        let plans = ScriptedStages { first_stage: StageId(7), stages };
        assert_eq!(plans.reads(1, 0, 1), 1..2);
        assert_eq!(plans.reads(2, 0, 0), 0..1);
    }

    #[test]
    fn an_input_must_come_before_its_reader() {
        assert!(parse("1>1:0", 0).is_err());
    }
}
