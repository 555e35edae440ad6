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
    quotas::{Amount, Holding, Holdings, Limit},
};

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
        heard: None,
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

#[test]
fn a_worker_is_told_to_drain_until_it_says_that_it_does() {
    let mut state = state(&Config::default(), &["a", "b"]);
    assert!(state.drain(&"a".into(), true));
    assert_eq!(placed(&mut state, at(1), &request(JOB, 2)).unwrap(), "b b", "at once");
    assert_eq!(state.heartbeat(at(1), report("a")).unwrap().drain, Some(true));
    let draining = || Report { draining: true, ..report("a") };
    assert_eq!(state.heartbeat(at(2), draining()).unwrap().drain, None);
    assert_eq!(placed(&mut state, at(2), &request(JOB, 2)).unwrap(), "b b");
    state.drain(&"a".into(), false);
    assert_eq!(state.heartbeat(at(3), draining()).unwrap().drain, Some(false));
    assert_eq!(state.heartbeat(at(4), report("a")).unwrap().drain, None);
    assert_eq!(placed(&mut state, at(4), &request(JOB, 2)).unwrap(), "a b");
}

#[test]
fn an_order_that_the_worker_itself_took_back_is_not_repeated() {
    let mut state = state(&Config::default(), &["a"]);
    state.drain(&"a".into(), true);
    state.heartbeat(at(1), Report { draining: true, ..report("a") }).unwrap();
    assert_eq!(state.heartbeat(at(2), report("a")).unwrap().drain, None);
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
fn settings_that_change_keep_what_is_known() {
    let mut state = state(&Config::default(), &["a"]);
    placed(&mut state, at(0), &request(JOB, 10)).unwrap();
    state.configure(&limited());
    assert!(placed(&mut state, at(0), &request(JOB, 1)).is_err());
    state.configure(&Config::default());
    assert_eq!(placed(&mut state, at(0), &request(JOB, 1)).unwrap(), "a");
}
