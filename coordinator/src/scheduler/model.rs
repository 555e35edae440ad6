//! What the scheduler sees. Borrowed, so that 10,000 runnable tasks cost nothing to show.

use std::collections::{BTreeMap, BTreeSet};

use penstock_protocol::ids::{ExecutorId, StageId, TaskIndex};

#[derive(Debug, Default)]
pub struct Problem<'a> {
    /// Executors that take work, those without a free slot included.
    pub executors: Vec<Executor>,
    pub queues: Vec<Group>,
    pub users: Vec<Group>,
    pub jobs: Vec<Job<'a>>,
}

#[derive(Debug, Clone)]
pub struct Executor {
    pub id: ExecutorId,
    pub free: u32,
}

/// A queue or a user: what shares the slots.
#[derive(Debug, Clone)]
pub struct Group {
    /// Relative to the others; at least 1. Users all have the same.
    pub weight: u32,
    /// Slots that its jobs hold.
    pub running: u32,
    pub slots_max: u32,
}

#[derive(Debug)]
pub struct Job<'a> {
    /// Position in [`Problem::queues`].
    pub queue: usize,
    /// Position in [`Problem::users`].
    pub user: usize,
    /// Higher goes first within the queue.
    pub priority: i32,
    /// Waits without a single slot for too long: goes before every priority of its queue.
    pub starved: bool,
    pub running: u32,
    pub stages: Vec<Stage<'a>>,
}

#[derive(Debug)]
pub struct Stage<'a> {
    pub stage: StageId,
    pub ready: &'a BTreeSet<TaskIndex>,
    /// Executors on which a task failed before, the latest one last: taken only if no other executor takes work.
    pub avoid: &'a BTreeMap<TaskIndex, Vec<ExecutorId>>,
    /// Executors that have a task's data near: taken if one of them is free.
    pub prefer: &'a BTreeMap<TaskIndex, Vec<ExecutorId>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Position in [`Problem::jobs`].
    pub job: usize,
    pub stage: StageId,
    pub task: TaskIndex,
    /// Position in [`Problem::executors`].
    pub executor: usize,
}
