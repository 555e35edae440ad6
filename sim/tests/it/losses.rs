//! Each role is lost in the middle of the same jobs.

use std::time::Duration;

use penstock_protocol::event::JobState;
use penstock_sim::{
    exercise::Feature,
    faults::{Act, Event, Messages, Timetable},
    oracle::{Input, StageShape},
    run::{self, Report},
    scenario::{Scenario, Sizes},
    summary::prepare_process,
    topology::{Role, Topology},
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
    scenario.topology = Topology::new(1, 3, 2);
    scenario.sizes = Sizes {
        inline_bytes_max: 0,
        copies: 1,
        split_from_bytes: 1 << 30,
        keep_data: false,
        drain_seconds: 6,
        ..scenario.sizes
    };
    scenario.jobs = vec![job(0), job(1)];
    scenario.messages = Messages::none();
    scenario
}

/// Begins one thing when the jobs run, and ends it after some time.
fn run(mut scenario: Scenario, begin: Act, lasts: Duration, end: Act) -> Report {
    prepare_process();
    let event = |at, act| Event { at, act };
    scenario.timetable = Timetable(vec![
        event(LOST_AT, begin),
        event(LOST_AT + lasts, end),
        event(LOST_AT + lasts, Act::Calm),
    ]);
    let report = run::scenario(scenario, true);
    assert!(report.violations.is_empty(), "{:#?}\n{}", report.violations, report.lines.join("\n"));
    report
}

/// Loses the first host of a role for some time.
fn lose_in(scenario: Scenario, role: Role, gone_for: Duration) -> Report {
    let host = scenario.topology.of(role)[0].clone();
    run(scenario, Act::Crash(host.clone()), gone_for, Act::Start(host))
}

fn lose(role: Role, gone_for: Duration) -> Report {
    lose_in(scenario(), role, gone_for)
}

fn ended(report: &Report) -> Vec<(JobState, Option<&str>)> {
    report.seen.outcomes.iter().map(|outcome| (outcome.state, outcome.class.as_deref())).collect()
}

fn exercised(report: &Report, feature: Feature) -> u64 {
    report.seen.exercised.get(&feature).copied().unwrap_or(0)
}

/// All jobs succeed, and no stage ran twice.
fn assert_nothing_lost(report: &Report) {
    assert_eq!(ended(report), [(JobState::Succeeded, None); 2]);
    assert_eq!(exercised(report, Feature::StageReruns), 0, "{}", report.lines.join("\n"));
}

#[test]
fn a_lost_executor_costs_no_job() {
    let report = lose(Role::Executor, Duration::from_secs(8));
    assert_nothing_lost(&report);
    let again = report.seen.started.iter().filter(|attempt| attempt.number.0 > 0).count();
    assert!(again > 0, "something ran on it:\n{}", report.lines.join("\n"));
}

#[test]
fn a_master_that_is_away_for_a_second_costs_no_job() {
    assert_nothing_lost(&lose(Role::Master, Duration::from_secs(1)));
}

#[test]
fn a_second_master_takes_over() {
    let scenario = Scenario { topology: Topology::new(2, 3, 2), ..scenario() };
    let report = lose_in(scenario, Role::Master, Duration::from_secs(20));
    assert_nothing_lost(&report);
    assert!(exercised(&report, Feature::MasterTakeovers) > 0, "{}", report.lines.join("\n"));
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
fn a_lost_worker_costs_runs_of_stages_and_never_rows() {
    let report = lose(Role::Worker, Duration::from_secs(2));
    let ended = ended(&report);
    assert_eq!(ended.last(), Some(&(JobState::Succeeded, None)), "{ended:?}");
    let known = [(JobState::Succeeded, None), (JobState::Failed, Some("INFRASTRUCTURE"))];
    assert!(ended.iter().all(|end| known.contains(end)), "{ended:?}");
    assert!(exercised(&report, Feature::StageReruns) > 0, "{}", report.lines.join("\n"));
}

#[test]
fn a_lost_worker_costs_nothing_while_there_is_a_second_copy() {
    let scenario = scenario();
    let scenario = Scenario { sizes: Sizes { copies: 2, ..scenario.sizes }, ..scenario };
    let report = lose_in(scenario, Role::Worker, Duration::from_secs(20));
    assert_nothing_lost(&report);
    assert!(exercised(&report, Feature::SecondCopies) > 0);
    let moved = exercised(&report, Feature::EpochsAfterLostWorker)
        + exercised(&report, Feature::EpochsAfterLostReplica)
        + exercised(&report, Feature::ReaderFailovers);
    assert!(moved > 0, "somebody noticed:\n{}", report.lines.join("\n"));
}

#[test]
fn a_worker_that_is_decommissioned_costs_nothing() {
    let scenario = scenario();
    let worker = scenario.topology.of(Role::Worker)[0].clone();
    let (begin, end) = (Act::Decommission(worker.clone()), Act::Recommission(worker));
    let report = run(scenario, begin, Duration::from_secs(20), end);
    assert_nothing_lost(&report);
    assert!(exercised(&report, Feature::EpochsAfterClosing) > 0, "{}", report.lines.join("\n"));
}

#[test]
fn partitions_that_grow_go_on_in_new_epochs() {
    let scenario = scenario();
    let scenario = Scenario { sizes: Sizes { split_from_bytes: 300, ..scenario.sizes }, ..scenario };
    let report = lose_in(scenario, Role::Executor, Duration::from_secs(1));
    assert_nothing_lost(&report);
    assert!(exercised(&report, Feature::EpochsAfterGrowth) > 0, "{}", report.lines.join("\n"));
}
