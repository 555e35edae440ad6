//! What scripted tasks compute, and hence what the result of a job must be.
//!
//! A task's rows depend on the job's seed, the stage, the task and the multiset of what it read: not on order, attempts
//! or batches. Executors and the oracle share these functions; what they do not share is everything in between.

use std::collections::BTreeMap;

use crate::{random::mix, workload::JobPlan};

/// The rows that readers of each partition must get, for all jobs of a run.
#[derive(Debug)]
pub struct Oracle(BTreeMap<u64, Vec<Partitions>>);

/// The sorted rows of each partition of a stage.
pub type Partitions = Vec<Vec<u64>>;

impl Oracle {
    pub fn of(plans: &[JobPlan]) -> Self {
        Self(plans.iter().map(|plan| (plan.seed, plan.partitions())).collect())
    }

    /// Of the job with this seed.
    pub fn partition(&self, seed: u64, stage: u32, partition: u32) -> Option<&[u64]> {
        let partitions = self.0.get(&seed)?.get(stage as usize)?;
        partitions.get(partition as usize).map(Vec::as_slice)
    }
}

/// A stage of a scripted statement. Positions are within the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageShape {
    pub tasks: u32,
    pub partitions: u32,
    pub inputs: Vec<Input>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    pub stage: u32,
    /// Every task reads all partitions, instead of task i partition i.
    pub whole: bool,
}

/// What makes the rows of a task.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub seed: u64,
    /// Within the job.
    pub stage: u32,
    pub task: u32,
    pub tasks: u32,
}

/// Rows of one input as a task takes them; of one that all tasks read whole, each works on its share.
pub fn share(place: Place, input: Input, rows: impl Iterator<Item = u64>) -> Vec<u64> {
    rows.filter(|row| !input.whole || row % u64::from(place.tasks) == u64::from(place.task)).collect()
}

/// The rows of a task, given its share of each input.
pub fn rows(place: Place, rows_max: u64, inputs: &[Vec<u64>]) -> Vec<u64> {
    let Place { seed, stage, task, .. } = place;
    let own = [seed, u64::from(stage), u64::from(task)];
    if inputs.is_empty() {
        let count = mix(&[own[0], own[1], own[2], 0]) % (rows_max + 1);
        return (1..=count).map(|row| mix(&[own[0], own[1], own[2], row])).collect();
    }
    let mut rows = Vec::new();
    let mut sum = 0u64;
    for (input, read) in (0u64..).zip(inputs) {
        rows.extend(read.iter().map(|row| mix(&[seed, own[1], input, *row])));
        sum = read.iter().fold(sum, |sum, row| sum.wrapping_add(mix(&[input, *row])));
    }
    // One row that only comes out right if all others were there.
    rows.push(mix(&[own[0], own[1], own[2], sum, rows.len() as u64]));
    rows
}

pub fn partition_of(row: u64, partitions: u32) -> u32 {
    u32::try_from((row >> 7) % u64::from(partitions)).expect("a remainder of a u32")
}

/// The sorted result of a statement whose first stage has the number `first` within its job.
pub fn result(seed: u64, first: u32, rows_max: u64, stages: &[StageShape]) -> Vec<u64> {
    let last = written(seed, first, rows_max, stages).pop().unwrap_or_default();
    let mut rows = last.concat();
    rows.sort_unstable();
    rows
}

/// What each stage of a statement writes.
pub fn written(seed: u64, first: u32, rows_max: u64, stages: &[StageShape]) -> Vec<Partitions> {
    let mut written: Vec<Partitions> = Vec::new();
    for (position, shape) in (0u32..).zip(stages) {
        let mut partitions = vec![Vec::new(); shape.partitions as usize];
        for task in 0..shape.tasks {
            let place = Place { seed, stage: first + position, task, tasks: shape.tasks };
            let inputs = shape.inputs.iter().map(|input| {
                let from = &written[input.stage as usize];
                let read = if input.whole { &from[..] } else { &from[task as usize..=task as usize] };
                share(place, *input, read.iter().flatten().copied())
            });
            let inputs: Vec<_> = inputs.collect();
            let rows = rows(place, rows_max, &inputs);
            rows.iter().for_each(|row| partitions[partition_of(*row, shape.partitions) as usize].push(*row));
        }
        partitions.iter_mut().for_each(|rows| rows.sort_unstable());
        written.push(partitions);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<StageShape> {
        let reads = |stage, whole| vec![Input { stage, whole }];
        vec![
            StageShape { tasks: 4, partitions: 3, inputs: vec![] },
            StageShape { tasks: 3, partitions: 2, inputs: reads(0, false) },
            StageShape { tasks: 2, partitions: 2, inputs: reads(1, true) },
        ]
    }

    #[test]
    fn every_source_row_and_one_row_per_task_reach_the_result() {
        let shapes = chain();
        let place = |task| Place { seed: 7, stage: 0, task, tasks: 4 };
        let sources: usize = (0..4).map(|task| rows(place(task), 50, &[]).len()).sum();
        assert!(sources > 0);
        assert_eq!(result(7, 0, 50, &shapes).len(), sources + 3 + 2);
    }

    #[test]
    fn one_row_less_changes_the_result_of_its_reader() {
        let place = Place { seed: 7, stage: 1, task: 0, tasks: 1 };
        let whole = rows(place, 50, &[vec![1, 2, 3]]);
        let less = rows(place, 50, &[vec![1, 2]]);
        assert!(whole.last() != less.last());
        assert_eq!(rows(place, 50, &[vec![3, 1, 2]]).last(), whole.last());
    }
}
