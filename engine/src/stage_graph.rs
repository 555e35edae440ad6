//! A statement cut into stages: what each computes, what it reads, and which task owns which part.
//!
//! In: what `fragment` cut. Out: plain data that the coordinator schedules with and encoded plans for executors.
//! Checked on construction, so that everyone after it may rely on topological order and in-range references.
//! Not here: where a task runs, how data moves.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{arrow::datatypes::SchemaRef, physical_plan::ExecutionPlan};
use penstock_protocol::{event::PlannedOperator, task::ScanFile};

use crate::{codec, metrics};

/// The stages of one statement in topological order: a stage reads only stages before it, the last one is the root.
#[derive(Debug, Clone)]
pub struct StageGraph {
    pub stages: Vec<Stage>,
}

/// A piece of plan between exchanges. Task `k` computes output partition `k` of the piece.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Short description, such as `HashJoin(o_custkey = c_custkey)`.
    pub name: String,
    /// The exchanges that the stage reads, by the numbers that its plan uses.
    pub inputs: Vec<Input>,
    pub tasks: u32,
    pub output_partitions: u32,
    pub output: StageOutput,
    /// Proved to write the same rows into the same partitions whenever it runs on the same input.
    pub deterministic: bool,
    /// The template without files and partitions; its root is the node that writes.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The files of the plan's scans, by the numbers that its plan uses.
    pub scans: Vec<StageScan>,
    /// Schema of the rows that leave the stage.
    pub schema: SchemaRef,
    /// The plan as executors get it.
    pub encoded: Bytes,
}

/// One exchange that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Input {
    /// Position of the producing stage in the graph.
    pub stage: usize,
    pub mode: ReadMode,
    /// Partitions of the producer.
    pub partitions: u32,
    /// The tasks that read it: all, or those of one branch of a union.
    pub owners: Range<u32>,
}

/// How the tasks of a stage share an exchange that they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// The i-th owner reads partition i.
    Partitioned,
    /// Every owner reads all partitions: a gather if there is one owner, a broadcast if there are more.
    All,
}

/// How rows leave a stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StageOutput {
    /// Rows are spread by the hash of these expressions (as text, for display).
    Hash { keys: Vec<String> },
    /// Batches are dealt out in turn.
    RoundRobin,
    /// Everything into one partition.
    Gather,
    /// Task m fills partition m, in order.
    ByTask,
    /// The rows of a query: task m fills partition m, in order; readers read the partitions in order.
    Result,
    /// Files of a sink.
    Files,
}

/// The files of one scan, by owner.
#[derive(Debug, Clone, PartialEq)]
pub struct StageScan {
    /// `groups[i]` is read by the i-th owner; a scan that every owner reads whole has one group.
    pub groups: Vec<Vec<ScanFile>>,
    pub owners: Range<u32>,
    pub mode: ReadMode,
}

/// What makes a graph unusable. Each is a bug in the cut, not in the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGraph {
    #[error("the graph has no stages")]
    Empty,
    #[error("stage {stage} has no tasks")]
    NoTasks { stage: usize },
    #[error("stage {stage} reads stage {input}, which does not come before it")]
    NotTopological { stage: usize, input: usize },
    #[error("stage {stage} reads {read} partitions of stage {input}, which has {written}")]
    PartitionsDiffer { stage: usize, input: usize, read: u32, written: u32 },
    #[error("tasks {owners:?} of stage {stage} do not fit its {tasks} tasks")]
    OwnersOutOfRange { stage: usize, owners: Range<u32>, tasks: u32 },
    #[error("stage {stage} has {owners} owners for {parts} parts of a source")]
    PartsDiffer { stage: usize, owners: u32, parts: u32 },
    #[error("stage {stage} is read by no one and is not the root")]
    Unread { stage: usize },
}

impl StageGraph {
    /// Checks that the stages fit together.
    pub fn new(stages: Vec<Stage>) -> Result<Self, InvalidGraph> {
        let root = stages.len().checked_sub(1).ok_or(InvalidGraph::Empty)?;
        let mut read = vec![false; stages.len()];
        for (index, stage) in stages.iter().enumerate() {
            stage.check(index, &stages)?;
            stage.inputs.iter().for_each(|input| read[input.stage] = true);
        }
        match read[..root].iter().position(|read| !read) {
            Some(stage) => Err(InvalidGraph::Unread { stage }),
            None => Ok(Self { stages }),
        }
    }

    /// The stage whose rows or files are the statement's outcome.
    pub fn root(&self) -> &Stage {
        self.stages.last().expect("a graph is never empty: checked on construction")
    }
}

impl Stage {
    /// The template for executors: encoded once, whatever the number of tasks and files.
    pub fn encode(&self) -> Result<Bytes, codec::EncodeError> {
        Ok(self.encoded.clone())
    }

    /// For each scan of the plan, the files that `task` reads; none for scans of other branches of a union.
    pub fn task_scans(&self, task: u32) -> Vec<Vec<ScanFile>> {
        self.scans.iter().map(|scan| scan.files_of(task).to_vec()).collect()
    }

    /// The partitions of the `input`-th exchange that `task` reads.
    pub fn reads(&self, input: usize, task: u32) -> Range<u32> {
        self.inputs[input].partitions_of(task)
    }

    /// The stage's operators in pre-order, numbered as in the metrics of its attempts.
    pub fn operators(&self) -> Vec<PlannedOperator> {
        metrics::planned_operators(&self.plan)
    }

    fn check(&self, index: usize, stages: &[Self]) -> Result<(), InvalidGraph> {
        if self.tasks == 0 {
            return Err(InvalidGraph::NoTasks { stage: index });
        }
        for input in &self.inputs {
            self.check_owners(
                index,
                &input.owners,
                (input.mode == ReadMode::Partitioned).then_some(input.partitions),
            )?;
            if input.stage >= index {
                return Err(InvalidGraph::NotTopological { stage: index, input: input.stage });
            }
            let written = stages[input.stage].output_partitions;
            if written != input.partitions {
                let read = input.partitions;
                return Err(InvalidGraph::PartitionsDiffer {
                    stage: index,
                    input: input.stage,
                    read,
                    written,
                });
            }
        }
        for scan in &self.scans {
            let parts = (scan.mode == ReadMode::Partitioned).then_some(scan.groups.len() as u32);
            self.check_owners(index, &scan.owners, parts)?;
        }
        Ok(())
    }

    fn check_owners(
        &self,
        stage: usize,
        owners: &Range<u32>,
        parts: Option<u32>,
    ) -> Result<(), InvalidGraph> {
        if owners.is_empty() || owners.end > self.tasks {
            return Err(InvalidGraph::OwnersOutOfRange { stage, owners: owners.clone(), tasks: self.tasks });
        }
        match parts {
            Some(parts) if parts as usize != owners.len() => {
                Err(InvalidGraph::PartsDiffer { stage, owners: owners.len() as u32, parts })
            }
            _ => Ok(()),
        }
    }
}

impl Input {
    fn partitions_of(&self, task: u32) -> Range<u32> {
        match self.mode {
            _ if !self.owners.contains(&task) => 0..0,
            ReadMode::Partitioned => task - self.owners.start..task - self.owners.start + 1,
            ReadMode::All => 0..self.partitions,
        }
    }
}

impl StageScan {
    fn files_of(&self, task: u32) -> &[ScanFile] {
        let group = match self.mode {
            _ if !self.owners.contains(&task) => return &[],
            ReadMode::Partitioned => (task - self.owners.start) as usize,
            ReadMode::All => 0,
        };
        self.groups.get(group).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for StageOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash { keys } => write!(f, "hash({})", keys.join(", ")),
            Self::RoundRobin => f.write_str("round robin"),
            Self::Gather | Self::ByTask => f.write_str("gather"),
            Self::Result => f.write_str("result"),
            Self::Files => f.write_str("files"),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            ReadMode::Partitioned => "partitioned",
            ReadMode::All if self.owners.len() == 1 => "gather",
            ReadMode::All => "broadcast",
        })
    }
}
