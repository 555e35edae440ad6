//! A stage on the job's page: numbers over its tasks, its operator tree, its exchange.

use std::collections::BTreeMap;

use penstock_protocol::{ids::StageId, task::AttemptMetrics};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Distribution,
    exchange::{ExchangeView, exchange_view},
    rfc3339,
};
use crate::model::{AttemptState, Exchange, JobModel, OperatorRecord, Rerun, Stage};

#[derive(Debug, Serialize, ToSchema)]
pub struct StageView {
    pub stage: u32,
    pub statement: u32,
    pub name: String,
    /// `waiting`, `running`, `succeeded`, `failed`, `cancelled`, or `stopped` for what a finished job left undone.
    pub state: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// Milliseconds from the job's submission.
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    /// How its rows leave it: `hash(l_orderkey)`, `gather`, `result` or `files`.
    pub output: String,
    pub output_partitions: u32,
    pub inputs: Vec<Edge>,
    pub tasks: u32,
    pub tasks_finished: u32,
    pub tasks_running: u32,
    pub attempts: u32,
    pub attempts_failed: u32,
    pub attempts_lost: u32,
    /// Whether the job's duration hung on this stage.
    pub critical: bool,
    pub totals: StageTotals,
    /// Over the winning attempts: `run_ms`, `cpu_ms`, `rows_in`, `rows_out`, `memory_peak_bytes`, …
    pub quantiles: BTreeMap<String, Distribution>,
    pub operators: Vec<OperatorView>,
    pub exchange: Option<ExchangeView>,
    /// Its runs after the first.
    pub reruns: Vec<RerunView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RerunView {
    pub run: u32,
    pub at: String,
    /// Such as `ran again because its shuffle data was lost: worker w1: …`.
    pub message: String,
}

/// What flows into a stage from another.
#[derive(Debug, Serialize, ToSchema)]
pub struct Edge {
    pub stage: u32,
    /// `partitioned`, `gather` or `broadcast`.
    pub mode: String,
    /// As committed; before that as far as the producers have reported.
    pub rows: u64,
    pub bytes: u64,
    pub committed: bool,
}

/// Over all attempts, the ones that did not win included.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct StageTotals {
    pub rows_in: u64,
    pub rows_out: u64,
    pub scanned_bytes: u64,
    pub shuffle_read_bytes: u64,
    pub shuffle_written_bytes: u64,
    pub spilled_bytes: u64,
    pub written_bytes: u64,
    pub run_ms: u64,
    pub cpu_ms: u64,
    pub queued_ms: u64,
    pub shuffle_read_wait_ms: u64,
    pub shuffle_write_wait_ms: u64,
    /// Run time of attempts whose work was thrown away.
    pub lost_work_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorView {
    pub operator: u32,
    pub parent: Option<u32>,
    pub name: String,
    pub detail: String,
    pub estimated_rows: Option<u64>,
    pub rows_out: Distribution,
    pub cpu_ms: Distribution,
    pub spilled_bytes: Distribution,
    pub memory_peak_bytes: Distribution,
    /// Sums over tasks, by DataFusion's name.
    pub counters: BTreeMap<String, u64>,
}

pub fn stages(model: &JobModel, job_is_over: bool) -> Vec<StageView> {
    // Before the end nobody knows what the job will have waited for.
    let critical = if job_is_over { critical_path(model) } else { Vec::new() };
    let base_ms = model.submitted_at_ms.unwrap_or_default();
    model
        .stages
        .iter()
        .map(|(id, stage)| StageView {
            critical: critical.contains(id),
            inputs: edges(model, stage),
            ..view(*id, stage, base_ms, job_is_over)
        })
        .collect()
}

fn view(id: StageId, stage: &Stage, base_ms: i64, job_is_over: bool) -> StageView {
    let count = |wanted: AttemptState| {
        let found = stage.attempts().filter(|(_, _, attempt)| attempt.state == wanted).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    let planned = stage.planned.as_ref();
    StageView {
        stage: id.0,
        statement: stage.statement.0,
        name: planned.map_or_else(|| format!("Stage {id}"), |planned| planned.name.clone()),
        state: state(stage, job_is_over).to_owned(),
        started_at: stage.started_at_ms.map(rfc3339),
        finished_at: stage.finished_at_ms.map(rfc3339),
        started_ms: stage.started_at_ms.map(|at| at - base_ms),
        finished_ms: stage.finished_at_ms.map(|at| at - base_ms),
        output: planned.map(|planned| planned.output.clone()).unwrap_or_default(),
        output_partitions: planned.map_or(0, |planned| planned.output_partitions),
        inputs: Vec::new(),
        tasks: stage.tasks_total(),
        tasks_finished: stage.tasks_finished(),
        tasks_running: if job_is_over { 0 } else { count(AttemptState::Running) },
        attempts: u32::try_from(stage.attempts_total()).unwrap_or(u32::MAX),
        attempts_failed: count(AttemptState::Failed),
        attempts_lost: count(AttemptState::Lost),
        critical: false,
        totals: totals(stage),
        quantiles: quantiles(stage),
        operators: stage.operators.iter().map(|(id, operator)| operator_view(*id, operator)).collect(),
        exchange: stage.exchange.as_ref().map(exchange_view),
        reruns: stage.reruns.iter().map(RerunView::from).collect(),
    }
}

impl From<&Rerun> for RerunView {
    fn from(rerun: &Rerun) -> Self {
        let message = format!("ran again because {}", rerun.reason);
        Self { run: rerun.run, at: rfc3339(rerun.at_ms), message }
    }
}

fn state(stage: &Stage, job_is_over: bool) -> &str {
    match (&stage.outcome, stage.started_at_ms) {
        (Some(outcome), _) => outcome,
        (None, _) if job_is_over => "stopped",
        (None, Some(_)) => "running",
        (None, None) => "waiting",
    }
}

fn edges(model: &JobModel, stage: &Stage) -> Vec<Edge> {
    let inputs = stage.planned.iter().flat_map(|planned| &planned.inputs);
    inputs
        .map(|input| {
            let producer = model.stages.get(&input.stage);
            let committed = producer.and_then(|producer| producer.exchange.as_ref()).map(Exchange::totals);
            let (rows, bytes) = match (committed, producer) {
                (Some(totals), _) => (totals.rows, totals.bytes),
                (None, Some(producer)) => reported_output(producer),
                (None, None) => (0, 0),
            };
            Edge {
                stage: input.stage.0,
                mode: input.mode.clone(),
                rows,
                bytes,
                committed: committed.is_some(),
            }
        })
        .collect()
}

fn reported_output(stage: &Stage) -> (u64, u64) {
    let numbers = stage.winners().filter_map(|(_, attempt)| attempt.metrics.as_deref());
    numbers.fold((0, 0), |(rows, bytes), n| (rows + n.rows_out, bytes + n.shuffle_written_bytes))
}

fn totals(stage: &Stage) -> StageTotals {
    let mut totals = StageTotals::default();
    for (_, _, attempt) in stage.attempts() {
        totals.queued_ms += attempt.queued_ms;
        if let (false, Some(end)) = (attempt.winner, attempt.finished_at_ms) {
            totals.lost_work_ms += u64::try_from(end - attempt.started_at_ms).unwrap_or(0);
        }
        let Some(numbers) = attempt.metrics.as_deref() else { continue };
        totals.scanned_bytes += numbers.scanned_bytes;
        totals.shuffle_read_bytes += numbers.shuffle_read_bytes;
        totals.shuffle_written_bytes += numbers.shuffle_written_bytes;
        totals.spilled_bytes += numbers.spilled_bytes;
        totals.written_bytes += numbers.written_bytes;
        totals.run_ms += numbers.run_ms;
        totals.cpu_ms += numbers.cpu_ms;
        totals.shuffle_read_wait_ms += numbers.shuffle_read_wait_ms;
        totals.shuffle_write_wait_ms += numbers.shuffle_write_wait_ms;
        if attempt.winner {
            totals.rows_in += numbers.rows_in;
            totals.rows_out += numbers.rows_out;
        }
    }
    totals
}

/// A metric with its name on the page.
type Metric = (&'static str, fn(&AttemptMetrics) -> u64);

const METRICS: [Metric; 11] = [
    ("run_ms", |n| n.run_ms),
    ("cpu_ms", |n| n.cpu_ms),
    ("shuffle_read_wait_ms", |n| n.shuffle_read_wait_ms),
    ("shuffle_write_wait_ms", |n| n.shuffle_write_wait_ms),
    ("rows_in", |n| n.rows_in),
    ("rows_out", |n| n.rows_out),
    ("scanned_bytes", |n| n.scanned_bytes),
    ("shuffle_read_bytes", |n| n.shuffle_read_bytes),
    ("shuffle_written_bytes", |n| n.shuffle_written_bytes),
    ("spilled_bytes", |n| n.spilled_bytes),
    ("memory_peak_bytes", |n| n.memory_peak_bytes),
];

fn quantiles(stage: &Stage) -> BTreeMap<String, Distribution> {
    let winners: Vec<&AttemptMetrics> =
        stage.winners().filter_map(|(_, attempt)| attempt.metrics.as_deref()).collect();
    if winners.is_empty() {
        return BTreeMap::new();
    }
    let queued = Distribution::of_integers(stage.winners().map(|(_, attempt)| attempt.queued_ms));
    METRICS
        .iter()
        .map(|(name, value)| {
            ((*name).to_owned(), Distribution::of_integers(winners.iter().map(|n| value(n))))
        })
        .chain([("queued_ms".to_owned(), queued)])
        .collect()
}

fn operator_view(id: u32, operator: &OperatorRecord) -> OperatorView {
    let tasks = operator.tasks.values();
    OperatorView {
        operator: id,
        parent: operator.parent,
        name: operator.name.clone(),
        detail: operator.detail.clone(),
        estimated_rows: operator.estimated_rows,
        rows_out: Distribution::of_integers(tasks.clone().map(|task| task.rows_out)),
        cpu_ms: Distribution::of(tasks.clone().map(|task| task.cpu_ms)),
        spilled_bytes: Distribution::of_integers(tasks.clone().map(|task| task.spilled_bytes)),
        memory_peak_bytes: Distribution::of_integers(tasks.map(|task| task.memory_peak_bytes)),
        counters: operator.counters.clone(),
    }
}

/// From the stage that ended last, back over the input that ended last.
fn critical_path(model: &JobModel) -> Vec<StageId> {
    let end = |id: &StageId| model.stages.get(id).and_then(|stage| stage.finished_at_ms);
    let mut path: Vec<StageId> = Vec::new();
    let mut next = model.stages.keys().copied().filter(|id| end(id).is_some()).max_by_key(end);
    while let Some(id) = next.filter(|id| !path.contains(id)) {
        path.push(id);
        let inputs = model.stages[&id].planned.iter().flat_map(|planned| &planned.inputs);
        next = inputs.map(|input| input.stage).filter(|id| end(id).is_some()).max_by_key(end);
    }
    path
}
