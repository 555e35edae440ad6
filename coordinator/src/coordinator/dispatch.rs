//! Brings runnable tasks and free slots together, with the scheduler's help.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::{ExecutorId, JobId, StageId, TaskIndex};

use super::{Coordinator, Entry};
use crate::{job::Host, outbox::Outbox, scheduler};

static NO_PREFERENCE: BTreeMap<TaskIndex, Vec<ExecutorId>> = BTreeMap::new();

impl Coordinator {
    pub(super) fn dispatch(&mut self, out: &mut Outbox) {
        let hosts: Vec<_> = self.executors.iter().filter(|(_, executor)| executor.takes_work()).collect();
        let executors: Vec<_> = hosts
            .iter()
            .map(|(host, executor)| scheduler::Executor { id: host.executor.clone(), free: executor.free() })
            .collect();
        let hosts: Vec<_> = hosts.into_iter().map(|(host, _)| host).collect();
        let has_room = executors.iter().any(|executor| executor.free > 0);
        let mut assignments: BTreeMap<JobId, Vec<(StageId, TaskIndex, Host)>> = BTreeMap::new();
        if has_room {
            let (ids, problem) = self.problem(executors, out.now);
            for assignment in scheduler::schedule(&problem) {
                let host = hosts[assignment.executor].clone();
                let job = assignments.entry(ids[assignment.job]).or_default();
                job.push((assignment.stage, assignment.task, host));
            }
        }
        for (id, assignments) in assignments {
            let entry = self.jobs.get_mut(&id).expect("only known jobs are scheduled");
            for (attempt, host) in entry.job.dispatch(assignments, out) {
                self.executors.occupy(&host, attempt);
            }
            self.touched.insert(id);
        }
        self.note_starvation(out.now);
    }

    /// Jobs that want slots, with what they hold; queues and users with what theirs hold.
    fn problem(
        &self,
        executors: Vec<scheduler::Executor>,
        now: Timestamp,
    ) -> (Vec<JobId>, scheduler::Problem<'_>) {
        let mut problem = scheduler::Problem { executors, ..scheduler::Problem::default() };
        let mut ids = Vec::new();
        let mut queues: BTreeMap<&str, usize> = BTreeMap::new();
        let mut users: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for id in &self.active {
            let entry = &self.jobs[id];
            let running = entry.job.running();
            let queue = *queues.entry(&entry.queue).or_insert_with(|| {
                let options = &self.options.queues[&entry.queue];
                push(&mut problem.queues, options.weight, options.slots_max)
            });
            let user = *users
                .entry(entry.job.spec.owner.as_deref())
                .or_insert_with(|| push(&mut problem.users, 1, self.options.user_slots_max));
            problem.queues[queue].running += running;
            problem.users[user].running += running;
            let stages: Vec<_> = runnable_stages(entry);
            if !stages.is_empty() && !entry.job.is_ending() {
                ids.push(*id);
                let starved_since = entry.job.starved_since;
                let starved = starved_since.is_some_and(|since| now - since >= self.options.starved_after);
                let priority = entry.job.spec.priority;
                problem.jobs.push(scheduler::Job { queue, user, priority, starved, running, stages });
            }
        }
        (ids, problem)
    }

    /// Jobs that have runnable tasks and no slot at all.
    fn note_starvation(&mut self, now: Timestamp) {
        for id in &self.active {
            let job = &mut self.jobs.get_mut(id).expect("active jobs are known").job;
            let waits = job.runnable().next().is_some() && job.running() == 0;
            job.starved_since = if waits { job.starved_since.or(Some(now)) } else { None };
        }
    }
}

fn push(groups: &mut Vec<scheduler::Group>, weight: u32, slots_max: u32) -> usize {
    groups.push(scheduler::Group { weight, running: 0, slots_max });
    groups.len() - 1
}

fn runnable_stages(entry: &Entry) -> Vec<scheduler::Stage<'_>> {
    let stages = entry.job.runnable();
    stages
        .map(|(stage, ready, avoid)| scheduler::Stage { stage, ready, avoid, prefer: &NO_PREFERENCE })
        .collect()
}
