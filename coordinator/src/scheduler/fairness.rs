//! Whose turn it is: the queue furthest below its share, and in it the job that matters most.
//!
//! A queue's share is its running slots divided by its weight. Within a queue starved jobs go first, then higher
//! priority, then the job with fewer running slots, then the older one. Limits of queues and users end their turns.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, btree_set},
    iter::Peekable,
};

use penstock_protocol::ids::TaskIndex;

use super::model::{Group, Problem};

pub struct Turns<'a> {
    problem: &'a Problem<'a>,
    queues: Vec<Group>,
    users: Vec<Group>,
    running: Vec<u32>,
    tasks: Vec<Tasks<'a>>,
    /// Queues with jobs that want slots, the neediest first.
    needy: BTreeSet<(u64, usize)>,
    /// For each queue its jobs that want slots, in order.
    jobs: Vec<BTreeSet<Turn>>,
}

/// A job's place in its queue: ordered as the jobs take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    starved: Reverse<bool>,
    priority: Reverse<i32>,
    running: u32,
    job: usize,
}

/// What is left to hand out of a job's ready tasks.
struct Tasks<'a> {
    stage: usize,
    stages: Vec<Peekable<btree_set::Iter<'a, TaskIndex>>>,
}

impl Tasks<'_> {
    fn next(&mut self) -> Option<(usize, TaskIndex)> {
        while let Some(tasks) = self.stages.get_mut(self.stage) {
            if let Some(task) = tasks.next() {
                return Some((self.stage, *task));
            }
            self.stage += 1;
        }
        None
    }

    fn is_empty(&mut self) -> bool {
        self.stages.iter_mut().skip(self.stage).all(|tasks| tasks.peek().is_none())
    }
}

impl<'a> Turns<'a> {
    pub fn new(problem: &'a Problem<'a>) -> Self {
        let tasks = problem.jobs.iter().map(|job| Tasks {
            stage: 0,
            stages: job.stages.iter().map(|stage| stage.ready.iter().peekable()).collect(),
        });
        let mut turns = Self {
            problem,
            queues: problem.queues.clone(),
            users: problem.users.clone(),
            running: problem.jobs.iter().map(|job| job.running).collect(),
            tasks: tasks.collect(),
            needy: BTreeSet::new(),
            jobs: vec![BTreeSet::new(); problem.queues.len()],
        };
        for job in 0..problem.jobs.len() {
            turns.queue_up(job);
        }
        for queue in 0..turns.queues.len() {
            turns.enlist(queue);
        }
        turns
    }

    fn queue_up(&mut self, job: usize) {
        let wants = !self.tasks[job].is_empty();
        let may = has_room(&self.users[self.problem.jobs[job].user]);
        if wants && may {
            let turn = self.turn(job);
            self.jobs[self.problem.jobs[job].queue].insert(turn);
        }
    }

    fn turn(&self, job: usize) -> Turn {
        let model = &self.problem.jobs[job];
        let running = self.running[job];
        // One slot ends starvation.
        Turn {
            starved: Reverse(model.starved && running == 0),
            priority: Reverse(model.priority),
            running,
            job,
        }
    }

    fn enlist(&mut self, queue: usize) {
        if has_room(&self.queues[queue]) && !self.jobs[queue].is_empty() {
            self.needy.insert((share(&self.queues[queue]), queue));
        }
    }

    /// The job that may take the next slot. It must be answered with `took_slot` or `retire`.
    pub fn next(&mut self) -> Option<usize> {
        loop {
            let (_, queue) = *self.needy.first()?;
            let Some(turn) = self.jobs[queue].first().copied() else {
                self.needy.pop_first();
                continue;
            };
            // Another job of the same user may have taken the user's last slot.
            if has_room(&self.users[self.problem.jobs[turn.job].user]) {
                return Some(turn.job);
            }
            self.jobs[queue].pop_first();
        }
    }

    /// The job's next ready task, each once a round.
    pub fn next_task(&mut self, job: usize) -> Option<(usize, TaskIndex)> {
        self.tasks[job].next()
    }

    pub fn took_slot(&mut self, job: usize) {
        let model = &self.problem.jobs[job];
        self.needy.remove(&(share(&self.queues[model.queue]), model.queue));
        self.jobs[model.queue].pop_first();
        self.running[job] += 1;
        self.queues[model.queue].running += 1;
        self.users[model.user].running += 1;
        self.queue_up(job);
        self.enlist(model.queue);
    }

    /// Nothing of this job can go anywhere in this round.
    pub fn retire(&mut self, job: usize) {
        let queue = self.problem.jobs[job].queue;
        self.jobs[queue].pop_first();
    }
}

fn has_room(group: &Group) -> bool {
    group.running < group.slots_max
}

fn share(queue: &Group) -> u64 {
    u64::from(queue.running) * 1_000_000 / u64::from(queue.weight.max(1))
}
