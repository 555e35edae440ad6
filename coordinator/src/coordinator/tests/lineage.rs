//! Which rows each winner has seen: the proof that re-runs never mix rows that do not belong together.
//!
//! Each run of a stage is taken to write rows of its own, unless the stage is deterministic and its winners read the same
//! as in another run. Winners of one run must all have read the same rows of each input, and nobody reads a run that was
//! lost. Readers are told of one run of each input, and a job ends with one story.

use std::collections::BTreeMap;

use penstock_protocol::ids::{AttemptId, AttemptNumber, JobId, ShuffleId, StageId, TaskId, TaskIndex};

use crate::{effect::Dispatch, journal::Fact};

type Stage = (JobId, StageId);
/// The rows that a run wrote, or that an attempt read, as the story of how they came about.
type Rows = String;

#[derive(Default)]
pub struct Lineage {
    deterministic: BTreeMap<Stage, bool>,
    /// The run that is not lost.
    runs: BTreeMap<Stage, u32>,
    inputs: BTreeMap<AttemptId, Vec<ShuffleId>>,
    winners: BTreeMap<Stage, BTreeMap<TaskIndex, AttemptNumber>>,
    committed: BTreeMap<ShuffleId, Rows>,
    /// The committed run of each stage, if it is not lost.
    newest: BTreeMap<Stage, ShuffleId>,
}

impl Lineage {
    pub fn dispatched(&mut self, dispatch: &Dispatch) {
        let inputs: Vec<_> = dispatch.inputs.iter().map(|input| input.shuffle).collect();
        for shuffle in &inputs {
            let run = self.runs.get(&(shuffle.job, shuffle.exchange)).copied().unwrap_or(0);
            assert!(shuffle.run >= run, "{} reads {shuffle}, which is lost", dispatch.attempt);
            assert!(self.committed.contains_key(shuffle), "{} reads {shuffle} too early", dispatch.attempt);
        }
        self.inputs.insert(dispatch.attempt, inputs);
    }

    pub fn see(&mut self, job: JobId, fact: &Fact) {
        match fact {
            Fact::Planned { stages, .. } => {
                let flags = stages.iter().map(|spec| ((job, spec.stage), spec.deterministic));
                self.deterministic.extend(flags);
            }
            Fact::RunAgain { stage, run, .. } => {
                self.runs.insert((job, *stage), *run);
                self.winners.remove(&(job, *stage));
                self.newest.remove(&(job, *stage));
            }
            Fact::Won { stage, task, attempt, .. } => {
                self.winners.entry((job, *stage)).or_default().insert(*task, *attempt);
                self.read_by((job, *stage));
            }
            Fact::Committed { shuffle, .. } => {
                let stage = (job, shuffle.exchange);
                let mut rows = format!("{}({})", shuffle.exchange, self.read_by(stage));
                if !self.deterministic[&stage] {
                    rows = format!("{}~{}", rows, shuffle.run);
                }
                self.committed.insert(*shuffle, rows);
                self.newest.insert(stage, *shuffle);
            }
            Fact::Publishing { .. } | Fact::StatementFinished { .. } => self.is_one_story(job),
            _ => {}
        }
    }

    /// Whatever run a winner has read, its rows are those of the run that stands at the end.
    fn is_one_story(&self, job: JobId) {
        for ((_, id), winners) in self.winners.iter().filter(|((of, _), _)| *of == job) {
            for (index, number) in winners {
                let attempt = AttemptId { task: TaskId { job, stage: *id, index: *index }, number: *number };
                for read in &self.inputs[&attempt] {
                    let newest = &self.newest[&(job, read.exchange)];
                    assert_eq!(self.committed[read], self.committed[newest], "{attempt} has read {read}");
                }
            }
        }
    }

    /// What the winners of a stage have read, which is the same for all of them.
    fn read_by(&self, stage: Stage) -> Rows {
        let (job, id) = stage;
        let mut known: Option<Rows> = None;
        for (index, number) in self.winners.get(&stage).into_iter().flatten() {
            let attempt = AttemptId { task: TaskId { job, stage: id, index: *index }, number: *number };
            let inputs = self.inputs[&attempt].iter().map(|shuffle| self.committed[shuffle].as_str());
            let read = inputs.collect::<Vec<_>>().join(" ");
            assert_eq!(*known.get_or_insert(read.clone()), read, "winners of {job}/{id} read the same rows");
        }
        known.unwrap_or_default()
    }
}
