//! What must hold after every run, whatever went wrong in it.
//!
//! In: the record and the setup. Out: violations. Each invariant is a function of its own with the name under which it is
//! reported. Those that can only be seen while the cluster runs are reported where they are seen: that every job ends,
//! that nothing is left behind (`client`), that no attempt runs twice or before it was journaled (`record`), that tasks
//! get what was written (`engine`), that servers do not fail (`cluster`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use penstock_coordinator::journal::Fact;
use penstock_protocol::{
    event::JobState,
    ids::{AttemptNumber, JobId, StageId, TaskIndex},
    shuffle::Location,
};

use crate::{
    record::{Fault, Outcome, Seen, Violation},
    scenario::Scenario,
    topology::{Host, Role},
    workload::{JobPlan, Temper},
};

/// What was to be expected of a run before it began.
#[derive(Debug, Clone)]
pub struct Setup {
    pub plans: Vec<JobPlan>,
    pub hosts: Vec<Host>,
    pub copies: u32,
}

impl Setup {
    pub fn of(scenario: &Scenario) -> Self {
        let hosts = scenario.topology.hosts().to_vec();
        Self { plans: scenario.jobs.clone(), hosts, copies: scenario.sizes.copies }
    }
}

type Invariant = fn(&Seen, &Setup) -> Vec<String>;

const ALL: [(&str, Invariant); 10] = [
    ("results-are-right", results_are_right),
    ("doomed-jobs-do-not-succeed", doomed_jobs_do_not_succeed),
    ("failures-have-a-cause", failures_have_a_cause),
    ("stages-run-again-for-a-cause", stages_run_again_for_a_cause),
    ("failures-are-typed", failures_are_typed),
    ("only-the-wanted-are-cancelled", only_the_wanted_are_cancelled),
    ("one-winner-per-task", one_winner_per_task),
    ("attempt-numbers-are-unique", attempt_numbers_are_unique),
    ("journals-move-forward", journals_move_forward),
    ("one-key-one-job", one_key_one_job),
];

/// Everything that does not hold, with what was seen to be broken during the run.
pub fn check(seen: &Seen, setup: &Setup) -> Vec<Violation> {
    let broken = ALL.into_iter().flat_map(|(invariant, check)| {
        check(seen, setup).into_iter().map(move |what| Violation { invariant, what })
    });
    seen.violations.iter().cloned().chain(broken).collect()
}

/// The rows of a job that succeeded are exactly those that the oracle foretells. That they could not be fetched needs a
/// cause like a failure.
fn results_are_right(seen: &Seen, setup: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    for outcome in seen.outcomes.iter().filter(|outcome| outcome.state == JobState::Succeeded) {
        let expected = setup.plans[outcome.plan].results();
        for (statement, (got, expected)) in outcome.results.iter().zip(&expected).enumerate() {
            let place = format!("statement {statement} of job {}", outcome.job);
            match got {
                Ok(rows) if rows == expected => {}
                Ok(rows) => {
                    let (got, expected) = (rows.len(), expected.len());
                    wrong.push(format!("{place} gave {got} rows that are not the {expected} expected ones"));
                }
                Err(_) if something_excuses(seen, setup, outcome.job, 0..=u64::MAX) => {}
                Err(reason) => wrong.push(format!("{place} gave no rows without a cause: {reason}")),
            }
        }
    }
    wrong
}

/// A job that must fail does.
fn doomed_jobs_do_not_succeed(seen: &Seen, setup: &Setup) -> Vec<String> {
    let doomed = seen.outcomes.iter().filter(|outcome| setup.plans[outcome.plan].temper == Temper::Doomed);
    doomed
        .filter(|outcome| outcome.state == JobState::Succeeded)
        .map(|outcome| format!("{} succeeded", outcome.job))
        .collect()
}

/// A job fails by its own data, or because of a fault that may cost jobs and happened in its time. Without such a fault
/// it succeeds.
fn failures_have_a_cause(seen: &Seen, setup: &Setup) -> Vec<String> {
    let failed = seen.outcomes.iter().filter(|outcome| outcome.state == JobState::Failed);
    let has_no_cause = |outcome: &&Outcome| {
        let by_itself = setup.plans[outcome.plan].temper == Temper::Doomed
            && outcome.class.as_deref() == Some("USER_DATA");
        !by_itself && !something_excuses(seen, setup, outcome.job, outcome.submitted_ms..=outcome.ended_ms)
    };
    failed.filter(has_no_cause).map(|outcome| format!("{}: {}", outcome.job, outcome.message)).collect()
}

/// Without such a fault no stage runs twice either.
fn stages_run_again_for_a_cause(seen: &Seen, setup: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    for outcome in promised(seen, setup) {
        for (_, fact) in seen.journal.get(&outcome.job).into_iter().flatten() {
            if let Fact::RunAgain { stage, reason, .. } = fact {
                wrong.push(format!("stage {stage} of job {}: {reason}", outcome.job));
            }
        }
    }
    wrong
}

/// Jobs that no fault excuses, among those that a client followed to their end.
pub fn promised<'a>(seen: &'a Seen, setup: &Setup) -> Vec<&'a Outcome> {
    let times = |outcome: &Outcome| outcome.submitted_ms..=outcome.ended_ms;
    let all = seen.outcomes.iter();
    all.filter(|outcome| !something_excuses(seen, setup, outcome.job, times(outcome))).collect()
}

/// What a fault does may show some time after it: connections are given up after seconds of silence, and executors and
/// workers find out about each other late.
const AFTERMATH_MS: u64 = 60_000;

/// Whether faults in this time can have cost the job something. Not if there was a second one of everything that they
/// befell: another master, and the other copies of a single worker's data.
fn something_excuses(seen: &Seen, setup: &Setup, job: JobId, times: RangeInclusive<u64>) -> bool {
    let in_time = |fault: &&Fault| {
        fault.at_ms <= *times.end() && fault.at_ms.saturating_add(AFTERMATH_MS) >= *times.start()
    };
    let faults: Vec<_> =
        seen.faults.iter().filter(|fault| fault.kind.excuses_failure()).filter(in_time).collect();
    let spares = |role| {
        let hosts = setup.hosts.iter().filter(move |host| host.role == role);
        std::iter::once(None).chain(hosts.map(Some))
    };
    let is_spared = |spared: [Option<&Host>; 2]| {
        let spared: Vec<_> = spared.into_iter().flatten().collect();
        faults.iter().all(|fault| spared.iter().any(|host| fault.hosts.contains(*host)))
    };
    let workers = spares(Role::Worker)
        .filter(|worker| worker.is_none_or(|worker| setup.copies > 1 && !depends_on(seen, job, worker)));
    let masters: Vec<_> = match setup.hosts.iter().filter(|host| host.role == Role::Master).count() {
        0 | 1 => vec![None],
        _ => spares(Role::Master).collect(),
    };
    !workers.into_iter().any(|worker| masters.iter().any(|master| is_spared([worker, *master])))
}

/// Whether some of the job's data lay on this worker alone, since no other one took it.
fn depends_on(seen: &Seen, job: JobId, worker: &Host) -> bool {
    let placed = seen.journal.get(&job).into_iter().flatten().flat_map(|(_, fact)| match fact {
        Fact::Reserved { target } => &target.locations[..],
        Fact::Extended { locations, .. } => locations,
        _ => &[],
    });
    let is_alone =
        |location: &Location| location.replica.is_none() && location.worker.worker.as_str() == &*worker.name;
    placed.into_iter().any(is_alone)
}

/// A failure says whose fault it is and what went wrong.
fn failures_are_typed(seen: &Seen, _: &Setup) -> Vec<String> {
    const CLASSES: [&str; 5] = ["USER_SQL", "USER_DATA", "RESOURCES", "INFRASTRUCTURE", "INTERNAL"];
    let failed = seen.outcomes.iter().filter(|outcome| outcome.state == JobState::Failed);
    failed
        .filter(|outcome| {
            let class = outcome.class.as_deref().unwrap_or_default();
            !CLASSES.contains(&class) || outcome.message.is_empty()
        })
        .map(|outcome| format!("{} failed as {:?}: {:?}", outcome.job, outcome.class, outcome.message))
        .collect()
}

/// Nobody cancels a job but its client.
fn only_the_wanted_are_cancelled(seen: &Seen, _: &Setup) -> Vec<String> {
    let cancelled = seen.outcomes.iter().filter(|outcome| outcome.state == JobState::Cancelled);
    cancelled
        .filter(|outcome| !outcome.was_cancelled)
        .map(|outcome| format!("{} was cancelled", outcome.job))
        .collect()
}

/// In each run of a stage a task is won once, by an attempt that was dispatched.
fn one_winner_per_task(seen: &Seen, _: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    for (job, facts) in &seen.journal {
        let mut runs: BTreeMap<StageId, u32> = BTreeMap::new();
        let mut dispatched: BTreeSet<(StageId, TaskIndex, AttemptNumber)> = BTreeSet::new();
        let mut won: BTreeSet<(StageId, u32, TaskIndex)> = BTreeSet::new();
        for (_, fact) in facts {
            match fact {
                Fact::Reserved { target } => {
                    runs.insert(target.shuffle.exchange, target.shuffle.run);
                }
                Fact::Dispatched { attempts } => dispatched
                    .extend(attempts.iter().map(|attempt| (attempt.stage, attempt.task, attempt.attempt))),
                Fact::Won { stage, task, attempt, .. } => {
                    if !won.insert((*stage, runs.get(stage).copied().unwrap_or(0), *task)) {
                        wrong.push(format!("task {stage}/{task} of job {job} was won twice"));
                    }
                    if !dispatched.contains(&(*stage, *task, *attempt)) {
                        wrong.push(format!("attempt {stage}/{task}#{attempt} of job {job} won from nowhere"));
                    }
                }
                _ => {}
            }
        }
    }
    wrong
}

/// Attempts of a task are numbered upwards, in all lives of the coordinator.
fn attempt_numbers_are_unique(seen: &Seen, _: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    for (job, facts) in &seen.journal {
        let mut last: BTreeMap<(StageId, TaskIndex), AttemptNumber> = BTreeMap::new();
        let attempts = facts.iter().filter_map(|(_, fact)| match fact {
            Fact::Dispatched { attempts } => Some(attempts),
            _ => None,
        });
        for attempt in attempts.flatten() {
            let before = last.insert((attempt.stage, attempt.task), attempt.attempt);
            if before.is_some_and(|before| before >= attempt.attempt) {
                let (stage, task, number) = (attempt.stage, attempt.task, attempt.attempt);
                wrong.push(format!("attempt {stage}/{task}#{number} of job {job} comes after {before:?}"));
            }
        }
    }
    wrong
}

/// A job's journal begins with its submission, ends with its end and says nothing after it; its row only gets newer.
fn journals_move_forward(seen: &Seen, _: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    for (job, facts) in &seen.journal {
        let last = facts.len() - 1;
        for (position, (_, fact)) in facts.iter().enumerate() {
            if matches!(fact, Fact::Submitted { .. }) != (position == 0) {
                wrong.push(format!("record {position} of job {job} is {fact:?}"));
            }
            if matches!(fact, Fact::Finished { .. }) && position != last {
                wrong.push(format!("job {job} goes on after its end: {:?}", facts[position + 1].1));
            }
        }
    }
    for (job, statuses) in &seen.statuses {
        for pair in statuses.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            let is_forward = before.version < after.version
                && before.state <= after.state
                && !before.state.is_terminal()
                && before.progress.statements_finished <= after.progress.statements_finished;
            if !is_forward {
                wrong.push(format!(
                    "job {job} went from {:?} v{} to {:?} v{}",
                    before.state, before.version, after.state, after.version
                ));
            }
        }
    }
    wrong
}

/// The same key answers the same job while it is active or has succeeded; each new try follows one that ended badly.
fn one_key_one_job(seen: &Seen, setup: &Setup) -> Vec<String> {
    let mut wrong = Vec::new();
    let final_state = |job: &JobId| seen.statuses.get(job).and_then(|all| all.last()).map(|last| last.state);
    for plan in 0..setup.plans.len() {
        let mut tries: BTreeMap<u64, JobId> = BTreeMap::new();
        for accepted in seen.accepted.iter().filter(|accepted| accepted.plan == plan) {
            let job = *tries.entry(accepted.try_number).or_insert(accepted.job);
            if job != accepted.job {
                wrong
                    .push(format!("try {} of job-{plan} is {job} and {}", accepted.try_number, accepted.job));
            }
            if accepted.after == Some(accepted.job) {
                wrong.push(format!("{} failed and was answered again", accepted.job));
            }
        }
        let before_last = tries.values().rev().skip(1);
        for job in before_last.filter(|job| final_state(job) == Some(JobState::Succeeded)) {
            wrong.push(format!("{job} succeeded and was tried again"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use penstock_protocol::ids::{ExecutorId, Incarnation};

    use super::*;
    use penstock_coordinator::journal::{DispatchedAttempt, WinnerOutput};

    fn dispatched(task: u32, attempt: u32) -> Fact {
        Fact::Dispatched {
            attempts: vec![DispatchedAttempt {
                stage: StageId(0),
                task: TaskIndex(task),
                attempt: AttemptNumber(attempt),
                executor: ExecutorId::from("e1"),
                incarnation: Incarnation(1),
            }],
        }
    }

    fn won(task: u32, attempt: u32) -> Fact {
        let output = WinnerOutput::Inline { rows: 1 };
        Fact::Won { stage: StageId(0), task: TaskIndex(task), attempt: AttemptNumber(attempt), output }
    }

    fn nobody() -> Setup {
        Setup { plans: Vec::new(), hosts: Vec::new(), copies: 1 }
    }

    fn journal(facts: Vec<Fact>) -> Seen {
        let job: JobId = "01900000-0000-7000-8000-000000000001".parse().expect("is an id");
        let facts = facts.into_iter().map(|fact| (0, fact)).collect();
        Seen { journal: BTreeMap::from([(job, facts)]), ..Seen::default() }
    }

    #[test]
    fn a_second_winner_is_found() {
        let once = journal(vec![dispatched(0, 0), dispatched(0, 1), won(0, 1)]);
        assert!(one_winner_per_task(&once, &nobody()).is_empty());
        let twice = journal(vec![dispatched(0, 0), dispatched(0, 1), won(0, 1), won(0, 0)]);
        assert_eq!(one_winner_per_task(&twice, &nobody()).len(), 1);
        let nowhere = journal(vec![dispatched(0, 0), won(0, 3)]);
        assert_eq!(one_winner_per_task(&nowhere, &nobody()).len(), 1);
    }

    #[test]
    fn a_number_that_comes_again_is_found() {
        let upwards = journal(vec![dispatched(0, 0), dispatched(1, 0), dispatched(0, 1)]);
        assert!(attempt_numbers_are_unique(&upwards, &nobody()).is_empty());
        let again = journal(vec![dispatched(0, 0), dispatched(0, 0)]);
        assert_eq!(attempt_numbers_are_unique(&again, &nobody()).len(), 1);
    }
}
