//! The shuffles of a job: each exchange with its workers, what happened to it, and why it is as it is.

mod story;
mod why;
mod workers;

use std::collections::BTreeMap;

use penstock_protocol::{ids::StageId, shuffle::EpochEnd};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Distribution, exchange::exchange_view, rfc3339};
use crate::model::{JobModel, OperatorRecord, Shuffle, Stage};

pub use story::Moment;
pub use workers::WorkerShare;

/// All exchanges of a job, in the order of their stages.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobShuffle {
    /// False if a version that did not record the history of shuffles wrote the log: then only what was committed is known.
    pub recorded: bool,
    pub exchanges: Vec<ExchangeHistory>,
    /// Losses, moves away from lost workers and runs that followed, as they happened.
    pub story: Vec<Moment>,
}

/// One exchange: its newest run, and what became of the former ones.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangeHistory {
    pub stage: u32,
    pub name: String,
    /// How the rows are spread: `hash(l_orderkey)`, `round robin`, `gather` or `result`.
    pub output: String,
    /// Stages that read it; none if a client does.
    pub readers: Vec<u32>,
    pub run: u32,
    /// `placed`, `committed`, `lost` or `released`; `unknown` if nothing is told of this run.
    pub state: String,
    pub partitions: u32,
    pub partitions_empty: Option<u32>,
    /// Workers that keep each partition; absent if the log does not say.
    pub copies: Option<u32>,
    /// `lz4`, `zstd` or `none`, as set; absent if the log does not say.
    pub codec: Option<String>,
    pub rows: u64,
    pub bytes: u64,
    pub batches: u64,
    pub partition_bytes: Distribution,
    pub partition_rows: Distribution,
    /// Bytes of the largest partition over those of the median; absent with fewer than two partitions.
    pub skew: Option<f64>,
    pub largest: Vec<LargestPartition>,
    pub placed_at: Option<String>,
    pub committed_at: Option<String>,
    pub released_at: Option<String>,
    /// From the first try to reserve until there was room.
    pub placed_waited_ms: Option<u64>,
    /// From the first call until the last worker's word.
    pub commit_took_ms: Option<u64>,
    /// Beyond the first of each partition.
    pub epochs_added: u64,
    pub epoch_reasons: Vec<EpochReason>,
    pub write: Writes,
    pub read: Reads,
    pub workers: Vec<WorkerShare>,
    /// Runs whose data was lost.
    pub lost_runs: Vec<LostRun>,
    /// Why it is this way, a sentence each.
    pub why: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LargestPartition {
    pub partition: u32,
    pub rows: u64,
    pub bytes: u64,
    /// Epochs that it lies in; absent if the log does not say.
    pub epochs: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EpochReason {
    /// `grown`, `full`, `closing`, `worker_lost`, `replica_lost`, `damaged` or `other`.
    pub why: String,
    pub partitions: u64,
    /// In words: goes on after "12 partitions".
    pub text: String,
}

/// Over the winning attempts of the stage that wrote.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Writes {
    /// Over all attempts: time that the shuffle made them wait.
    pub wait_ms: u64,
    pub pushes: u64,
    pub pushes_resent: u64,
    pub batches_revived: u64,
    pub partitions_moved: u64,
}

/// Over the winning attempts of the stages that read, shared with what else they read.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Reads {
    /// Over all attempts: time that they waited for data.
    pub wait_ms: u64,
    /// Locations read from another copy because one failed.
    pub failovers: u64,
    pub streams_reopened: u64,
    pub batches_skipped: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LostRun {
    pub run: u32,
    pub at: String,
    pub reason: String,
}

pub fn job_shuffle(model: &JobModel) -> JobShuffle {
    let exchanges = model.stages.iter().filter(|(_, stage)| has_exchange(stage));
    JobShuffle {
        recorded: model.stages.values().any(|stage| !stage.shuffles.is_empty()),
        exchanges: exchanges.map(|(id, stage)| exchange_history(model, *id, stage)).collect(),
        story: story::story(model),
    }
}

fn has_exchange(stage: &Stage) -> bool {
    let pushes = stage.shuffles.values().any(|shuffle| shuffle.placed.is_some());
    let is_result = stage.planned.as_ref().is_some_and(|planned| planned.output == "result");
    // Room is reserved for every result; most ride in the tasks' reports.
    stage.exchange.is_some() || (pushes && !is_result)
}

fn exchange_history(model: &JobModel, id: StageId, stage: &Stage) -> ExchangeHistory {
    let nothing = Shuffle::default();
    let last = stage.shuffles.last_key_value();
    let run = last.map(|(run, _)| *run).or(stage.exchange.as_ref().map(|exchange| exchange.run)).unwrap_or(0);
    let shuffle = last.map_or(&nothing, |(_, shuffle)| shuffle);
    let view = stage.exchange.as_ref().filter(|exchange| exchange.run == run).map(exchange_view);
    let planned = stage.planned.as_ref();
    let placed = shuffle.placed.as_ref();
    let committed = shuffle.committed.as_ref().map(|committed| &committed.what);
    let epochs_of: BTreeMap<u32, u32> = committed
        .iter()
        .flat_map(|committed| &committed.largest)
        .map(|largest| (largest.partition.0, largest.epochs))
        .collect();
    let (largest, readers) = (largest(view.as_ref(), &epochs_of), readers(model, id));
    let partition_bytes = view.as_ref().map(|view| view.partition_bytes).unwrap_or_default();
    let mut history = ExchangeHistory {
        stage: id.0,
        name: planned.map_or_else(|| format!("Stage {id}"), |planned| planned.name.clone()),
        output: planned.map(|planned| planned.output.clone()).unwrap_or_default(),
        run,
        state: state(stage, run, shuffle).to_owned(),
        partitions: view
            .as_ref()
            .map(|view| view.partitions)
            .or(placed.map(|placed| placed.what.partitions))
            .or(planned.map(|planned| planned.output_partitions))
            .unwrap_or(0),
        partitions_empty: committed.map(|committed| committed.partitions_empty),
        copies: placed.map(|placed| placed.what.copies),
        codec: codec(model),
        rows: view.as_ref().map_or(0, |view| view.rows),
        bytes: view.as_ref().map_or(0, |view| view.bytes),
        batches: view.as_ref().map_or(0, |view| view.batches),
        partition_bytes,
        partition_rows: view.as_ref().map(|view| view.partition_rows).unwrap_or_default(),
        skew: (partition_bytes.count > 1).then(|| partition_bytes.skew()),
        largest,
        placed_at: placed.map(|placed| rfc3339(placed.at_ms)),
        committed_at: view.as_ref().map(|view| view.committed_at.clone()),
        released_at: shuffle.released_at_ms.map(rfc3339),
        placed_waited_ms: placed.map(|placed| placed.what.waited_ms),
        commit_took_ms: committed.map(|committed| committed.took_ms),
        epochs_added: committed
            .map_or_else(|| shuffle.growth.partitions(), |committed| committed.epochs_added.into()),
        epoch_reasons: epoch_reasons(shuffle),
        write: writes(stage),
        read: reads(readers.iter().filter_map(|reader| model.stages.get(reader))),
        readers: readers.iter().map(|reader| reader.0).collect(),
        workers: workers::workers(shuffle, view.as_ref()),
        lost_runs: lost_runs(stage),
        why: Vec::new(),
    };
    history.why = why::why(&history, &settings(model));
    history
}

fn state(stage: &Stage, run: u32, shuffle: &Shuffle) -> &'static str {
    let is_committed = stage.exchange.as_ref().is_some_and(|exchange| exchange.run == run);
    match shuffle {
        Shuffle { lost: Some(_), .. } => "lost",
        Shuffle { released_at_ms: Some(_), .. } => "released",
        _ if is_committed => "committed",
        Shuffle { placed: Some(_), .. } => "placed",
        _ => "unknown",
    }
}

fn largest(view: Option<&super::ExchangeView>, epochs_of: &BTreeMap<u32, u32>) -> Vec<LargestPartition> {
    let partitions = view.iter().flat_map(|view| &view.largest);
    partitions
        .map(|partition| LargestPartition {
            partition: partition.partition,
            rows: partition.rows,
            bytes: partition.bytes,
            epochs: epochs_of.get(&partition.partition).copied(),
        })
        .collect()
}

fn readers(model: &JobModel, producer: StageId) -> Vec<StageId> {
    let reads = |stage: &Stage| {
        stage.planned.iter().flat_map(|planned| &planned.inputs).any(|input| input.stage == producer)
    };
    model.stages.iter().filter(|(_, stage)| reads(stage)).map(|(id, _)| *id).collect()
}

fn settings(model: &JobModel) -> BTreeMap<&str, &str> {
    let settings = model.submitted.iter().flat_map(|submitted| &submitted.settings);
    settings.map(|(key, setting)| (key.as_str(), setting.value.as_str())).collect()
}

fn codec(model: &JobModel) -> Option<String> {
    settings(model).get("penstock.shuffle.codec").map(|codec| (*codec).to_owned())
}

fn epoch_reasons(shuffle: &Shuffle) -> Vec<EpochReason> {
    let mut reasons: Vec<_> = shuffle
        .growth
        .reasons
        .iter()
        .map(|(why, partitions)| EpochReason {
            why: name_of(*why).to_owned(),
            partitions: *partitions,
            text: why::reason(*why).to_owned(),
        })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.partitions));
    reasons
}

fn name_of(why: EpochEnd) -> &'static str {
    match why {
        EpochEnd::Grown => "grown",
        EpochEnd::Full => "full",
        EpochEnd::Closing => "closing",
        EpochEnd::TurnedAway => "turned_away",
        EpochEnd::WorkerLost => "worker_lost",
        EpochEnd::ReplicaLost => "replica_lost",
        EpochEnd::Damaged => "damaged",
        EpochEnd::Other => "other",
    }
}

fn writes(stage: &Stage) -> Writes {
    let counter = |name: &str| counters(stage, "ExchangeWriteExec", name);
    Writes {
        wait_ms: waits(stage, |metrics| metrics.shuffle_write_wait_ms),
        pushes: counter("pushes"),
        pushes_resent: counter("pushes_resent"),
        batches_revived: counter("batches_revived"),
        partitions_moved: counter("partitions_moved"),
    }
}

fn reads<'a>(readers: impl Iterator<Item = &'a Stage>) -> Reads {
    let mut reads = Reads::default();
    for stage in readers {
        let counter = |name: &str| counters(stage, "ExchangeReadExec", name);
        reads.wait_ms += waits(stage, |metrics| metrics.shuffle_read_wait_ms);
        reads.failovers += counter("read_failovers");
        reads.streams_reopened += counter("streams_reopened");
        reads.batches_skipped += counter("batches_skipped");
    }
    reads
}

fn counters(stage: &Stage, operator: &str, name: &str) -> u64 {
    let operators = stage.operators.values().filter(|record: &&OperatorRecord| record.name == operator);
    operators.filter_map(|record| record.counters.get(name)).sum()
}

fn waits(stage: &Stage, of: fn(&penstock_protocol::task::AttemptMetrics) -> u64) -> u64 {
    stage.attempts().filter_map(|(_, _, attempt)| attempt.metrics.as_deref()).map(of).sum()
}

fn lost_runs(stage: &Stage) -> Vec<LostRun> {
    let runs = stage.shuffles.iter();
    let told: Vec<_> = runs
        .filter_map(|(run, shuffle)| {
            let lost = shuffle.lost.as_ref()?;
            Some(LostRun { run: *run, at: rfc3339(lost.at_ms), reason: lost.what.clone() })
        })
        .collect();
    if !told.is_empty() {
        return told;
    }
    // Older logs say only that the stage ran again.
    let reruns = stage.reruns.iter();
    reruns
        .map(|rerun| LostRun {
            run: rerun.run.saturating_sub(1),
            at: rfc3339(rerun.at_ms),
            reason: rerun.reason.clone(),
        })
        .collect()
}
