//! Where a task goes: near its data, away from where it failed, else to the executor with the most room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use penstock_protocol::ids::ExecutorId;

use super::model::Executor;

pub struct Placement<'a> {
    positions: BTreeMap<&'a ExecutorId, usize>,
    free: Vec<u32>,
    /// Executors with room, the emptiest first; equal ones in their order.
    roomy: BTreeSet<(Reverse<u32>, usize)>,
}

impl<'a> Placement<'a> {
    pub fn new(executors: &'a [Executor]) -> Self {
        let roomy = executors.iter().enumerate().filter(|(_, executor)| executor.free > 0);
        Self {
            positions: executors
                .iter()
                .enumerate()
                .map(|(position, executor)| (&executor.id, position))
                .collect(),
            free: executors.iter().map(|executor| executor.free).collect(),
            roomy: roomy.map(|(position, executor)| (Reverse(executor.free), position)).collect(),
        }
    }

    pub fn has_room(&self) -> bool {
        !self.roomy.is_empty()
    }

    /// Takes a slot, if there is a fitting one.
    pub fn place(&mut self, avoid: &[ExecutorId], prefer: &[ExecutorId]) -> Option<usize> {
        let mut avoid: Vec<_> = avoid.iter().filter_map(|id| self.positions.get(id)).copied().collect();
        if avoid.len() >= self.positions.len() {
            // With nowhere else to go, the task is tried where it failed, but not where it failed last.
            avoid.drain(..avoid.len() - usize::from(self.positions.len() > 1));
        }
        let near = prefer.iter().filter_map(|id| self.positions.get(id)).copied();
        let near = near.filter(|position| self.free[*position] > 0 && !avoid.contains(position)).min();
        let executor = near.or_else(|| {
            let mut fitting = self.roomy.iter().map(|(_, position)| *position);
            fitting.find(|position| !avoid.contains(position))
        })?;
        self.take(executor);
        Some(executor)
    }

    fn take(&mut self, executor: usize) {
        let free = &mut self.free[executor];
        self.roomy.remove(&(Reverse(*free), executor));
        *free -= 1;
        if *free > 0 {
            self.roomy.insert((Reverse(*free), executor));
        }
    }
}
