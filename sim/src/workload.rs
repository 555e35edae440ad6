//! Which jobs a run submits: their scripts, what their tasks do, and what their clients do.
//!
//! In: the seed. Out: plans as data. A job tells its tasks what to do through its settings, so that executors need to
//! know nothing but what the coordinator sends them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    oracle::{self, Input, Partitions, StageShape},
    random::{Dice, mix},
};

/// Names of the settings that tasks read.
pub const SEED: &str = "sim.seed";
pub const ROWS_MAX: &str = "sim.rows_max";
pub const PADDING: &str = "sim.padding";
pub const TROUBLE: &str = "sim.trouble";
pub const DOOM: &str = "sim.doom";

/// One job and its client.
#[derive(Debug, Clone)]
pub struct JobPlan {
    pub number: u64,
    pub statements: Vec<Vec<StageShape>>,
    /// Of its rows and of what its tasks do.
    pub seed: u64,
    pub rows_max: u64,
    /// Bytes at most that a batch carries beside its rows.
    pub padding: u64,
    pub temper: Temper,
    pub submit_at: Duration,
    /// After this time a second client submits the same with the same key.
    pub twice_after: Option<Duration>,
    pub cancel_after: Option<Duration>,
    /// Submitted again with the same key when it failed.
    pub tries: u32,
}

/// What its tasks do beside their work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Calm,
    /// Some tasks take seconds; some fail or panic in their first attempts.
    Troubled,
    /// A task of its last statement finds that its data is wrong, however often it runs.
    Doomed,
}

impl JobPlan {
    /// The text that [`penstock_coordinator::planning::scripted`] reads.
    pub fn script(&self) -> String {
        let input = |input: &Input| format!("{}{}", input.stage, if input.whole { "*" } else { "" });
        let stage = |stage: &StageShape| {
            let inputs: Vec<_> = stage.inputs.iter().map(input).collect();
            let inputs = if inputs.is_empty() { String::new() } else { format!(":{}", inputs.join(",")) };
            format!("{}>{}{inputs}", stage.tasks, stage.partitions)
        };
        let line = |stages: &Vec<StageShape>| stages.iter().map(stage).collect::<Vec<_>>().join("; ");
        self.statements.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    pub fn settings(&self) -> BTreeMap<String, String> {
        let trouble = self.temper == Temper::Troubled;
        let doom = if self.temper == Temper::Doomed { self.last_stage().to_string() } else { String::new() };
        let settings = [
            (SEED, self.seed.to_string()),
            (ROWS_MAX, self.rows_max.to_string()),
            (PADDING, self.padding.to_string()),
            (TROUBLE, trouble.to_string()),
            (DOOM, doom),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub fn key(&self) -> String {
        format!("job-{}", self.number)
    }

    /// The sorted rows that each statement must give.
    pub fn results(&self) -> Vec<Vec<u64>> {
        self.each_statement(oracle::result)
    }

    /// What each stage writes.
    pub fn partitions(&self) -> Vec<Partitions> {
        self.each_statement(oracle::written).concat()
    }

    fn each_statement<T>(&self, ask: impl Fn(u64, u32, u64, &[StageShape]) -> T) -> Vec<T> {
        let mut first = 0;
        let statements = self.statements.iter().map(|stages| {
            let answer = ask(self.seed, first, self.rows_max, stages);
            first += stages.len() as u32;
            answer
        });
        statements.collect()
    }

    fn last_stage(&self) -> usize {
        self.statements.iter().map(Vec::len).sum::<usize>() - 1
    }
}

pub fn jobs(seed: u64) -> Vec<JobPlan> {
    let dice = Dice::new(seed, "workload");
    (0..dice.between(2, 7)).map(|number| job(seed, number, &dice)).collect()
}

fn job(seed: u64, number: u64, dice: &Dice) -> JobPlan {
    let statements = (0..*dice.pick(&[1, 1, 1, 2, 3])).map(|_| statement(dice)).collect();
    JobPlan {
        number,
        statements,
        seed: mix(&[seed, number]),
        rows_max: *dice.pick(&[0, 5, 40, 200]),
        padding: *dice.pick(&[0, 0, 500, 20_000, 120_000]),
        temper: *dice.pick(&[Temper::Calm, Temper::Calm, Temper::Troubled, Temper::Troubled, Temper::Doomed]),
        submit_at: dice.millis(500, 9_000),
        twice_after: dice.chance(0.3).then(|| dice.millis(0, 3_000)),
        cancel_after: dice.chance(0.15).then(|| dice.millis(0, 4_000)),
        tries: *dice.pick(&[1, 1, 2]),
    }
}

/// A chain with branches: every stage but the last has a reader, some have two.
fn statement(dice: &Dice) -> Vec<StageShape> {
    let stages = *dice.pick(&[1usize, 2, 2, 3, 3, 4, 5]);
    let tasks_max = *dice.pick(&[3, 3, 6, 16]);
    let mut shapes: Vec<StageShape> = (0..stages)
        .map(|_| {
            let tasks = dice.between(1, tasks_max) as u32;
            StageShape { tasks, partitions: tasks, inputs: Vec::new() }
        })
        .collect();
    for stage in 0..stages.saturating_sub(1) {
        let reader = dice.between(stage as u64 + 1, (stage as u64 + 3).min(stages as u64 - 1)) as usize;
        let whole = dice.chance(0.25);
        shapes[stage].partitions = if whole { dice.between(1, 5) as u32 } else { shapes[reader].tasks };
        shapes[reader].inputs.push(Input { stage: stage as u32, whole });
        let other = dice.between(stage as u64 + 1, stages as u64 - 1) as usize;
        if other != reader && dice.chance(0.2) {
            shapes[other].inputs.push(Input { stage: stage as u32, whole: true });
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_but_the_last_has_a_reader_that_fits_it() {
        for seed in 0..200 {
            for stages in jobs(seed).iter().flat_map(|job| &job.statements) {
                for stage in 0..stages.len() - 1 {
                    let reads = |shape: &StageShape| {
                        let input = shape.inputs.iter().find(|input| input.stage == stage as u32)?;
                        Some(input.whole || shape.tasks == stages[stage].partitions)
                    };
                    let fits: Vec<bool> = stages.iter().filter_map(reads).collect();
                    assert!(!fits.is_empty() && fits.iter().all(|fits| *fits), "{stages:?}");
                }
            }
        }
    }
}
