//! Chooses an executor for each runnable task.
//!
//! In: free slots, runnable tasks, queues, users and their limits. Out: assignments. Equal input gives equal output.
//! The work is proportional to the number of assignments and of jobs, not to that of tasks times executors.
//! Not here: RPC, time, storage, admission of jobs.

mod fairness;
mod model;
mod placement;

pub use model::{Assignment, Executor, Group, Job, Problem, Stage};

use fairness::Turns;
use placement::Placement;

/// Hands out slots until there are none, or nobody may take one.
pub fn schedule(problem: &Problem) -> Vec<Assignment> {
    let mut placement = Placement::new(&problem.executors);
    let mut turns = Turns::new(problem);
    let mut assignments = Vec::new();
    while placement.has_room() {
        let Some(job) = turns.next() else { break };
        match next_assignment(problem, job, &mut turns, &mut placement) {
            Some(assignment) => {
                turns.took_slot(job);
                assignments.push(assignment);
            }
            None => turns.retire(job),
        }
    }
    assignments
}

/// The job's first task for which there is a slot now. Tasks that cannot go anywhere at present are passed over for
/// this round.
fn next_assignment(
    problem: &Problem,
    job: usize,
    turns: &mut Turns,
    placement: &mut Placement,
) -> Option<Assignment> {
    while let Some((stage, task)) = turns.next_task(job) {
        let stage = &problem.jobs[job].stages[stage];
        let avoid = stage.avoid.get(&task).map_or(&[][..], Vec::as_slice);
        let prefer = stage.prefer.get(&task).map_or(&[][..], Vec::as_slice);
        if let Some(executor) = placement.place(avoid, prefer) {
            return Some(Assignment { job, stage: stage.stage, task, executor });
        }
    }
    None
}

#[cfg(test)]
mod tests;
