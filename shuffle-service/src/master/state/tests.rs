#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use penstock_common::bytes::ByteSize;
use penstock_protocol::{
    ids::{Incarnation, StageId},
    pb,
};
use uuid::Uuid;

use super::*;
use crate::master::{
    placement::Site,
    quotas::{Amount, Holding, Holdings},
};
use crate::ordered::{ORDERS_MAX, Ordered};

const JOB: JobId = JobId(Uuid::from_u128(1));
const OTHER: JobId = JobId(Uuid::from_u128(2));

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + seconds * 1000)
}

fn shuffle(job: JobId, exchange: u32) -> ShuffleId {
    ShuffleId { job, exchange: StageId(exchange), run: 0 }
}

fn report(worker: &str) -> Report {
    let address = WorkerAddress {
        worker: worker.into(),
        incarnation: Incarnation(1),
        control: "c:1".into(),
        data: "d:1".into(),
    };
    Report {
        address: address.into(),
        admin: String::new(),
        site: Site::default(),
        tags: Vec::new(),
        weight: 100,
        usage: pb::WorkerUsage::default(),
        holdings: Holdings::new(),
        draining: false,
        left: false,
        leaves_at: None,
        drain: None,
        exclusion: None,
        quotas: QuotaOrders::default(),
    }
}

fn holding(job: JobId, user: &str, bytes: u64, locations: u64) -> Holdings {
    Holdings::from([(job, Holding { user: user.into(), amount: Amount { bytes, locations } })])
}

fn request(job: JobId, partitions: u32) -> Request {
    Request {
        shuffle: shuffle(job, 0),
        partitions: (0..partitions).map(PartitionIndex).collect(),
        epoch: Epoch(0),
        copies: 1,
        copies_min: 1,
        user: String::new(),
        tags: Vec::new(),
        refused: Vec::new(),
    }
}

fn state(config: &Config, workers: &[&str]) -> State {
    let mut state = State::new(config);
    for worker in workers {
        state.heartbeat(at(0), report(worker)).unwrap();
    }
    state
}

fn placed(state: &mut State, now: Timestamp, request: &Request) -> Result<String, Refused> {
    let target = state.place(now, request)?;
    let names = target.locations.iter().map(|location| location.worker.worker.as_str());
    Ok(names.collect::<Vec<_>>().join(" "))
}

#[test]
fn nothing_is_placed_on_workers_that_are_silent_or_drain() {
    let mut state = state(&Config::default(), &["a", "b", "c"]);
    state.heartbeat(at(6), report("b")).unwrap();
    state.heartbeat(at(6), Report { draining: true, ..report("c") }).unwrap();
    assert_eq!(placed(&mut state, at(7), &request(JOB, 2)).unwrap(), "b b");
    assert!(placed(&mut state, at(60), &request(JOB, 2)).is_err());
}

// Invariant 16: a life that is over does not come back.
#[test]
fn a_former_life_does_not_replace_the_present_one() {
    let mut state = state(&Config::default(), &["a"]);
    let life = |incarnation| {
        let mut report = report("a");
        Arc::make_mut(&mut report.address).incarnation = Incarnation(incarnation);
        report
    };
    state.heartbeat(at(1), life(3)).unwrap();
    assert!(state.heartbeat(at(2), life(2)).is_err());
    assert_eq!(state.workers(at(2))[0].member.report.address.incarnation, Incarnation(3));
    state.heartbeat(at(60), life(2)).unwrap();
}

#[test]
fn an_excluded_worker_gets_nothing_until_the_exclusion_ends_or_is_lifted() {
    let mut state = state(&Config::default(), &["a", "b"]);
    let worker = WorkerId::from("a");
    assert!(state.exclude(at(0), &worker, Duration::from_secs(3), "disk swap".into()));
    assert_eq!(placed(&mut state, at(2), &request(JOB, 2)).unwrap(), "b b");
    assert_eq!(placed(&mut state, at(3), &request(JOB, 2)).unwrap(), "a b");
    state.exclude(at(3), &worker, Duration::from_secs(3), String::new());
    assert!(state.include(at(4), &worker));
    assert_eq!(placed(&mut state, at(4), &request(JOB, 2)).unwrap(), "a b");
    assert!(!state.exclude(at(4), &"nobody".into(), Duration::from_secs(3), String::new()));
}

#[test]
fn a_worker_on_which_several_placements_failed_is_the_last_choice_for_a_while() {
    let mut state = state(&Config::default(), &["a", "b"]);
    for exchange in 0..3 {
        let mut failed = request(JOB, 1);
        failed.shuffle = shuffle(JOB, exchange);
        failed.refused = vec!["a".into()];
        placed(&mut state, at(1), &failed).unwrap();
    }
    assert_eq!(placed(&mut state, at(2), &request(JOB, 3)).unwrap(), "b b b");
    state.exclude(at(2), &"b".into(), Duration::from_secs(60), String::new());
    assert_eq!(placed(&mut state, at(2), &request(JOB, 1)).unwrap(), "a", "the last one is better than none");
    for worker in ["a", "b"] {
        state.heartbeat(at(62), report(worker)).unwrap();
    }
    assert_eq!(placed(&mut state, at(62), &request(JOB, 1)).unwrap(), "a");
}

#[test]
fn a_worker_whose_machine_goes_is_the_last_choice_until_then() {
    let mut state = state(&Config::default(), &["b"]);
    state.heartbeat(at(0), Report { leaves_at: Some(at(120)), ..report("a") }).unwrap();
    assert_eq!(placed(&mut state, at(1), &request(JOB, 2)).unwrap(), "b b");
    let mut excluding = request(JOB, 1);
    excluding.refused = vec!["b".into()];
    assert_eq!(placed(&mut state, at(1), &excluding).unwrap(), "a");
}

/// Of a worker that does what an order says.
fn obedient(worker: &str, order: DrainOrder) -> Report {
    Report { draining: order.what, drain: Some(order), ..report(worker) }
}

#[test]
fn a_worker_is_told_to_drain_until_it_says_that_it_heard_it() {
    let mut state = state(&Config::default(), &["a", "b"]);
    assert!(state.drain(at(1), &"a".into(), true));
    assert_eq!(placed(&mut state, at(1), &request(JOB, 2)).unwrap(), "b b", "at once");
    let drain = state.heartbeat(at(1), report("a")).unwrap().drain.unwrap();
    assert_eq!(drain, Ordered { at: at(1), what: true });
    assert_eq!(state.heartbeat(at(2), obedient("a", drain)).unwrap().drain, None);
    assert_eq!(placed(&mut state, at(2), &request(JOB, 2)).unwrap(), "b b");
    state.drain(at(2), &"a".into(), false);
    let serve = state.heartbeat(at(3), obedient("a", drain)).unwrap().drain.unwrap();
    assert!(!serve.what);
    assert_eq!(placed(&mut state, at(3), &request(JOB, 2)).unwrap(), "a b");
    assert_eq!(state.heartbeat(at(4), obedient("a", serve)).unwrap().drain, None);
    assert_eq!(placed(&mut state, at(4), &request(JOB, 2)).unwrap(), "a b");
    assert!(!state.drain(at(4), &"nobody".into(), true));
}

#[test]
fn of_what_a_master_and_a_worker_were_told_the_later_counts() {
    let mut state = state(&Config::default(), &["a", "b"]);
    state.drain(at(2), &"a".into(), true);
    let before = Ordered { at: at(1), what: false };
    assert!(state.heartbeat(at(3), obedient("a", before)).unwrap().drain.is_some());
    assert_eq!(placed(&mut state, at(3), &request(JOB, 2)).unwrap(), "b b");
    // Taken back at the worker, or at a master that this one never hears.
    let after = Ordered { at: at(3), what: false };
    assert_eq!(state.heartbeat(at(4), obedient("a", after)).unwrap().drain, None);
    assert_eq!(placed(&mut state, at(4), &request(JOB, 2)).unwrap(), "a b");
}

#[test]
fn a_worker_that_comes_back_after_a_long_time_still_has_to_drain() {
    let mut state = state(&Config::default(), &["a", "b"]);
    let drain = Ordered { at: at(1), what: true };
    state.heartbeat(at(2), obedient("a", drain)).unwrap();
    state.exclude(at(2), &"a".into(), Duration::from_secs(1_000_000), String::new());
    state.heartbeat(at(100_000), report("b")).unwrap();
    assert!(!state.knows(&"a".into()), "nobody remembers the worker");
    let mut next_life = report("a");
    Arc::make_mut(&mut next_life.address).incarnation = Incarnation(2);
    let told = state.heartbeat(at(100_001), next_life).unwrap();
    assert_eq!(told.drain, Some(drain));
    assert!(told.exclusion.is_some());
    assert_eq!(placed(&mut state, at(100_001), &request(JOB, 2)).unwrap(), "b b");
}

// A stop is no order: an earlier one to serve does not make a worker that stops take anything.
#[test]
fn a_worker_that_stops_is_not_taken_for_one_that_serves() {
    let mut state = state(&Config::default(), &["a", "b"]);
    let serve = Ordered { at: at(1), what: false };
    state.heartbeat(at(2), Report { draining: true, ..obedient("a", serve) }).unwrap();
    assert_eq!(placed(&mut state, at(2), &request(JOB, 2)).unwrap(), "b b");
}

#[test]
fn orders_about_workers_that_are_gone_are_bounded_and_those_that_are_there_keep_theirs() {
    let mut state = state(&Config::default(), &["here"]);
    state.drain(at(0), &"here".into(), true);
    let many = || (0..ORDERS_MAX + 1).map(|n| format!("w{n:04}"));
    for worker in many() {
        state.heartbeat(at(1), obedient(&worker, Ordered { at: at(1), what: true })).unwrap();
    }
    for now in [400, 600] {
        state.heartbeat(at(now), report("here")).unwrap();
    }
    assert_eq!(state.workers(at(600)).len(), 1, "the others are gone");
    assert!(state.workers(at(600))[0].draining);
    let told = many().filter(|worker| state.heartbeat(at(601), report(worker)).unwrap().drain.is_some());
    assert_eq!(told.count(), ORDERS_MAX);
}

fn limited() -> Config {
    let large = Limit { bytes: ByteSize(1000), locations: 100 };
    Config {
        job_bytes_max: ByteSize(100),
        job_locations_max: 10,
        user_locations_max: 12,
        user_quotas: BTreeMap::from([("eve".to_owned(), large)]),
        ..Config::default()
    }
}

// Invariant 29: quotas refuse before acceptance.
#[test]
fn a_placement_beyond_a_quota_is_refused_even_before_its_worker_reports() {
    let mut state = state(&limited(), &["a", "b"]);
    let of = |job, user: &str, partitions| Request { user: user.into(), ..request(job, partitions) };
    placed(&mut state, at(0), &of(JOB, "ann", 8)).unwrap();
    let refused = placed(&mut state, at(0), &of(JOB, "ann", 3)).unwrap_err();
    assert!(matches!(refused, Refused::OverQuota(_)), "{refused}");
    placed(&mut state, at(0), &of(OTHER, "ann", 4)).unwrap();
    let refused = placed(&mut state, at(0), &of(OTHER, "ann", 1)).unwrap_err();
    assert!(refused.to_string().contains("user ann"), "{refused}");
    // The first report may have been on its way already. What the second one says counts in place of what was placed: the
    // reservations of `b` never came to be.
    for second in [1, 2] {
        assert!(placed(&mut state, at(1), &of(OTHER, "ann", 1)).is_err(), "report {second}");
        let holdings = holding(JOB, "ann", 1, 4);
        state.heartbeat(at(second), Report { holdings, ..report("a") }).unwrap();
        state.heartbeat(at(second), report("b")).unwrap();
    }
    placed(&mut state, at(2), &of(OTHER, "ann", 8)).unwrap();
    assert!(placed(&mut state, at(2), &of(OTHER, "ann", 1)).is_err());
}

#[test]
fn jobs_that_hold_as_many_bytes_as_they_may_are_named_to_their_workers() {
    let mut state = state(&limited(), &["a", "b"]);
    let over = |state: &mut State, worker: &str, bytes| {
        let holdings = holding(JOB, "ann", bytes, 1);
        state.heartbeat(at(1), Report { holdings, ..report(worker) }).unwrap().over_quota
    };
    assert!(over(&mut state, "a", 60).is_empty());
    assert_eq!(over(&mut state, "b", 40), [JOB]);
    assert_eq!(over(&mut state, "a", 60), [JOB]);
    assert!(over(&mut state, "b", 39).is_empty());
}

#[test]
fn what_a_worker_that_fell_silent_held_does_not_count() {
    let mut state = state(&limited(), &["b"]);
    let holdings = holding(JOB, "ann", 99, 10);
    state.heartbeat(at(0), Report { holdings, ..report("a") }).unwrap();
    assert!(placed(&mut state, at(1), &request(JOB, 1)).is_err());
    state.heartbeat(at(10), report("b")).unwrap();
    placed(&mut state, at(10), &request(JOB, 1)).unwrap();
}

// A master that starts empty knows quotas and users again after one round of reports.
#[test]
fn quotas_are_rebuilt_from_reports() {
    let mut state = state(&limited(), &[]);
    let holdings = holding(JOB, "ann", 1, 10);
    state.heartbeat(at(0), Report { holdings, ..report("a") }).unwrap();
    let of_ann = Request { user: "ann".into(), ..request(OTHER, 3) };
    assert!(placed(&mut state, at(0), &of_ann).is_err());
    // An owner that started again does not say whose job it is.
    let refused = placed(&mut state, at(0), &Request { shuffle: shuffle(JOB, 1), ..request(JOB, 1) });
    assert!(refused.unwrap_err().to_string().contains("10 of 10"));
}

#[test]
fn a_quota_that_another_master_heard_of_counts_before_anything_is_judged() {
    let mut state = state(&limited(), &["a"]);
    let large = Limit { bytes: ByteSize(1000), locations: 100 };
    state.set_quota(at(1), "bob".into(), Some(large));
    let raised = || QuotaOrders::from_iter([("ann".to_owned(), Ordered { at: at(1), what: Some(large) })]);
    let of_ann = Request { user: "ann".into(), ..request(JOB, 13) };
    state.configure(&Config { job_locations_max: 0, job_bytes_max: ByteSize(0), ..limited() });
    assert!(placed(&mut state, at(1), &of_ann).is_err());
    let told = state.heartbeat(at(1), Report { quotas: raised(), ..report("a") }).unwrap().quotas;
    assert_eq!(told.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>(), ["bob"]);
    placed(&mut state, at(1), &of_ann).unwrap();
    let lowered = Limit { bytes: ByteSize(10), locations: 0 };
    let quotas = QuotaOrders::from_iter([("ann".to_owned(), Ordered { at: at(2), what: Some(lowered) })]);
    let holdings = holding(JOB, "ann", 10, 1);
    let told = state.heartbeat(at(2), Report { quotas, holdings, ..report("a") }).unwrap();
    assert_eq!(told.over_quota, [JOB]);
}

#[test]
fn settings_that_change_keep_what_is_known() {
    let mut state = state(&Config::default(), &["a"]);
    placed(&mut state, at(0), &request(JOB, 10)).unwrap();
    state.configure(&limited());
    assert!(placed(&mut state, at(0), &request(JOB, 1)).is_err());
    state.configure(&Config::default());
    assert_eq!(placed(&mut state, at(0), &request(JOB, 1)).unwrap(), "a");
}
