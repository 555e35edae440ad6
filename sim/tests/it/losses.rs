//! Each role is lost in the middle of the same jobs.

use std::time::Duration;

use penstock_protocol::event::JobState;
use penstock_sim::{
    faults::{Act, Event, Messages, Timetable},
    oracle::{Input, StageShape},
    run::{self, Report},
    scenario::Scenario,
    summary::prepare_process,
    topology::{Host, Role},
    workload::{JobPlan, Temper},
};

const LOST_AT: Duration = Duration::from_millis(3_000);

/// Two jobs of three stages, each of which takes seconds.
fn scenario() -> Scenario {
    let reads = |stage, whole| vec![Input { stage, whole }];
    let statement = vec![
        StageShape { tasks: 6, partitions: 4, inputs: vec![] },
        StageShape { tasks: 4, partitions: 3, inputs: reads(0, false) },
        StageShape { tasks: 3, partitions: 3, inputs: reads(1, false) },
    ];
    let job = |number: u64| JobPlan {
        number,
        statements: vec![statement.clone()],
        seed: 40 + number,
        rows_max: 100,
        padding: 100,
        temper: Temper::Troubled,
        submit_at: Duration::from_millis(500 + 1_500 * number),
        twice_after: None,
        cancel_after: None,
        tries: 2,
    };
    let mut scenario = Scenario::of(5);
    scenario.sizes.inline_bytes_max = 0;
    scenario.jobs = vec![job(0), job(1)];
    scenario.messages = Messages::none();
    scenario
}

/// Loses the first host of a role for some time.
fn lose(role: Role, gone_for: Duration) -> Report {
    prepare_process();
    let mut scenario = scenario();
    let host: Host = scenario.topology.of(role)[0].clone();
    let event = |at, act| Event { at, act };
    scenario.timetable = Timetable(vec![
        event(LOST_AT, Act::Crash(host.clone())),
        event(LOST_AT + gone_for, Act::Start(host)),
        event(LOST_AT + gone_for, Act::Calm),
    ]);
    let report = run::scenario(scenario, true);
    assert!(report.violations.is_empty(), "{:#?}\n{}", report.violations, report.lines.join("\n"));
    report
}

fn ended(report: &Report) -> Vec<(JobState, Option<&str>)> {
    report.seen.outcomes.iter().map(|outcome| (outcome.state, outcome.class.as_deref())).collect()
}

#[test]
fn a_lost_executor_costs_no_job() {
    let report = lose(Role::Executor, Duration::from_secs(8));
    assert_eq!(ended(&report), [(JobState::Succeeded, None); 2]);
    let again = report.seen.started.iter().filter(|attempt| attempt.number.0 > 0).count();
    assert!(again > 0, "something ran on it:\n{}", report.lines.join("\n"));
}

#[test]
fn a_master_that_is_away_for_a_second_costs_no_job() {
    let report = lose(Role::Master, Duration::from_secs(1));
    assert_eq!(ended(&report), [(JobState::Succeeded, None); 2]);
}

#[test]
fn a_lost_coordinator_keeps_what_it_accepted_and_the_next_try_succeeds() {
    let report = lose(Role::Coordinator, Duration::from_secs(2));
    let ended = ended(&report);
    assert_eq!(ended.last(), Some(&(JobState::Succeeded, None)), "{ended:?}");
    assert!(ended.contains(&(JobState::Failed, Some("INFRASTRUCTURE"))), "{ended:?}");
    assert_eq!(report.seen.coordinator_lives.len(), 2);
}

#[test]
fn a_lost_worker_costs_typed_failures_and_never_rows() {
    let report = lose(Role::Worker, Duration::from_secs(2));
    let ended = ended(&report);
    assert_eq!(ended.last(), Some(&(JobState::Succeeded, None)), "{ended:?}");
    let known = [(JobState::Succeeded, None), (JobState::Failed, Some("INFRASTRUCTURE"))];
    assert!(ended.iter().all(|end| known.contains(end)), "{ended:?}");
}
