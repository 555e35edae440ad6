//! What one more look at the workers tells: the log before and what a master says in, the log after out. Pure.

use std::{collections::BTreeMap, mem};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{
        CLUSTER_EVENTS_MAX, ClusterEvent, ClusterLog, ClusterRecord, MastersSilent, SCHEMA_VERSION,
        WorkerStanding,
    },
    ids::WorkerId,
};

/// A master that has just started knows a worker when it reports, within a second or two: only who stays away is gone.
const FORGET_AFTER_MS: i64 = 60_000;

/// Takes a look into the log. Whether there is news that should not wait.
pub(super) fn take(log: &mut ClusterLog, now: Timestamp, seen: Result<Vec<WorkerStanding>, String>) -> bool {
    let at_ms = now.as_millis();
    let events = match seen {
        Ok(workers) => answered(log, at_ms, workers),
        Err(reason) => silent(log, at_ms, reason),
    };
    log.v = SCHEMA_VERSION;
    let has_news = !events.is_empty();
    log.events.extend(events.into_iter().map(|event| ClusterRecord { at_ms, event }));
    let surplus = log.events.len().saturating_sub(CLUSTER_EVENTS_MAX);
    log.events.drain(..surplus);
    has_news
}

fn silent(log: &mut ClusterLog, at_ms: i64, reason: String) -> Vec<ClusterEvent> {
    let is_news = log.silent.is_none();
    let since_ms = log.silent.take().map_or(at_ms, |silent| silent.since_ms);
    log.silent = Some(MastersSilent { since_ms, reason: reason.clone() });
    if is_news { vec![ClusterEvent::MastersSilent { reason }] } else { Vec::new() }
}

fn answered(log: &mut ClusterLog, at_ms: i64, workers: Vec<WorkerStanding>) -> Vec<ClusterEvent> {
    log.looked_at_ms = at_ms;
    let mut events: Vec<_> =
        log.silent.take().map(|_| ClusterEvent::MastersAnswered {}).into_iter().collect();
    let known = mem::take(&mut log.workers).into_iter().map(|worker| (worker.worker.clone(), worker));
    let mut known: BTreeMap<WorkerId, WorkerStanding> = known.collect();
    for worker in workers {
        match known.remove(&worker.worker) {
            Some(before) => events.extend(differences(&before, &worker)),
            None => events.push(joined(&worker)),
        }
        log.workers.push(worker);
    }
    for mut gone in known.into_values() {
        let since_ms = *gone.absent_since_ms.get_or_insert(at_ms);
        if at_ms - since_ms >= FORGET_AFTER_MS {
            events.push(ClusterEvent::WorkerForgotten { worker: gone.worker, state: gone.state });
        } else {
            log.workers.push(gone);
        }
    }
    log.workers.sort_by(|a, b| a.worker.cmp(&b.worker));
    events
}

fn joined(worker: &WorkerStanding) -> ClusterEvent {
    ClusterEvent::WorkerJoined { worker: worker.worker.clone(), address: worker.address.clone() }
}

fn differences(before: &WorkerStanding, after: &WorkerStanding) -> Vec<ClusterEvent> {
    let worker = || after.worker.clone();
    let mut events = Vec::new();
    if before.incarnation != after.incarnation {
        events.push(ClusterEvent::WorkerRestarted { worker: worker(), address: after.address.clone() });
    }
    let told =
        |standing: &WorkerStanding| (standing.state.clone(), standing.because.clone(), standing.until_ms);
    // A suspicion that is prolonged is no news; an order that is given again with other words is.
    let is_prolonged =
        before.state == after.state && before.because == after.because && after.state == "suspected";
    if told(before) != told(after) && !is_prolonged {
        events.push(ClusterEvent::WorkerChanged {
            worker: worker(),
            from: before.state.clone(),
            to: after.state.clone(),
            because: after.because.clone(),
            until_ms: after.until_ms,
        });
    }
    for disk in &after.disks {
        let former = before.disks.iter().find(|former| former.path == disk.path);
        if let Some(former) = former.filter(|former| former.state != disk.state) {
            events.push(ClusterEvent::DiskChanged {
                worker: worker(),
                disk: disk.path.clone(),
                class: disk.class.clone(),
                from: former.state.clone(),
                to: disk.state.clone(),
            });
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use penstock_protocol::{event::DiskStanding, ids::Incarnation};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn worker(name: &str, state: &str) -> WorkerStanding {
        WorkerStanding {
            worker: name.into(),
            incarnation: Incarnation(1),
            address: format!("{name}:1"),
            state: state.to_owned(),
            because: String::new(),
            until_ms: None,
            zone: String::new(),
            rack: String::new(),
            tags: Vec::new(),
            heard_at_ms: 0,
            jobs: 0,
            locations: 0,
            open_locations: 0,
            memory_used_bytes: 0,
            memory_limit_bytes: 0,
            paused: false,
            flush_us_per_mib: 0,
            fetch_us_per_mib: 0,
            disks: vec![DiskStanding {
                path: "/d".to_owned(),
                class: "ssd".to_owned(),
                state: "HEALTHY".to_owned(),
                used_bytes: 0,
                room_bytes: 9,
                errors: 0,
            }],
            absent_since_ms: None,
        }
    }

    fn with_disk(state: &str) -> WorkerStanding {
        let mut worker = worker("a", "serving");
        state.clone_into(&mut worker.disks[0].state);
        worker
    }

    fn shown(event: &ClusterEvent) -> String {
        match event {
            ClusterEvent::WorkerJoined { worker, .. } => format!("{worker} joined"),
            ClusterEvent::WorkerRestarted { worker, .. } => format!("{worker} restarted"),
            ClusterEvent::WorkerChanged { worker, from, to, because, .. } => {
                format!("{worker} {from} > {to} {because}").trim_end().to_owned()
            }
            ClusterEvent::WorkerForgotten { worker, state } => format!("{worker} forgotten, was {state}"),
            ClusterEvent::DiskChanged { worker, disk, from, to, .. } => {
                format!("{worker} {disk} {from} > {to}")
            }
            ClusterEvent::MastersSilent { reason } => format!("silent: {reason}"),
            ClusterEvent::MastersAnswered {} => "answered".to_owned(),
            ClusterEvent::Unknown => "unknown".to_owned(),
        }
    }

    /// What is told by looks at these times, one after the other.
    fn check(looks: Vec<(i64, Result<Vec<WorkerStanding>, String>)>, told: &[&str]) -> ClusterLog {
        let mut log = ClusterLog::default();
        for (at_ms, seen) in looks {
            let before = log.events.len();
            let has_news = take(&mut log, Timestamp::from_millis(at_ms), seen);
            assert_eq!(has_news, log.events.len() > before);
        }
        let events: Vec<_> = log.events.iter().map(|record| shown(&record.event)).collect();
        assert_eq!(events, told);
        log
    }

    #[test]
    fn each_change_of_a_worker_is_told_once() {
        let excluded =
            WorkerStanding { because: "slow disk".to_owned(), until_ms: Some(99), ..worker("a", "excluded") };
        let restarted = WorkerStanding { incarnation: Incarnation(2), ..worker("a", "serving") };
        let log = check(
            vec![
                (1, Ok(vec![worker("a", "serving")])),
                (2, Ok(vec![worker("a", "serving"), worker("b", "serving")])),
                (3, Ok(vec![excluded.clone(), worker("b", "draining")])),
                (4, Ok(vec![excluded, worker("b", "drained")])),
                (5, Ok(vec![worker("a", "silent"), worker("b", "drained")])),
                (6, Ok(vec![restarted, worker("b", "drained")])),
            ],
            &[
                "a joined",
                "b joined",
                "a serving > excluded slow disk",
                "b serving > draining",
                "b draining > drained",
                "a excluded > silent",
                "a restarted",
                "a silent > serving",
            ],
        );
        assert_eq!((log.looked_at_ms, log.workers.len()), (6, 2));
    }

    #[test]
    fn states_of_disks_are_told_with_their_worker() {
        check(
            vec![
                (1, Ok(vec![with_disk("HEALTHY")])),
                (2, Ok(vec![with_disk("HUNG")])),
                (3, Ok(vec![with_disk("HUNG")])),
                (4, Ok(vec![with_disk("HEALTHY")])),
            ],
            &["a joined", "a /d HEALTHY > HUNG", "a /d HUNG > HEALTHY"],
        );
    }

    #[test]
    fn a_suspicion_that_is_prolonged_is_no_news() {
        let suspected = |until_ms| WorkerStanding { until_ms: Some(until_ms), ..worker("a", "suspected") };
        check(vec![(1, Ok(vec![suspected(5)])), (2, Ok(vec![suspected(9)]))], &["a joined"]);
    }

    // A master that was just started knows nobody for a moment.
    #[test]
    fn only_a_worker_that_stays_away_is_forgotten() {
        let log = check(
            vec![
                (0, Ok(vec![worker("a", "serving"), worker("b", "silent")])),
                (MINUTE, Ok(vec![])),
                (MINUTE + 1_000, Ok(vec![worker("a", "serving")])),
                (3 * MINUTE, Ok(vec![worker("a", "serving")])),
            ],
            &["a joined", "b joined", "b forgotten, was silent"],
        );
        assert_eq!(log.workers.len(), 1);
        assert_eq!(log.workers[0].absent_since_ms, None);
    }

    #[test]
    fn masters_that_are_silent_change_nothing_that_is_known_of_workers() {
        let log = check(
            vec![
                (1, Ok(vec![worker("a", "serving")])),
                (2, Err("refused".to_owned())),
                (3, Err("refused".to_owned())),
                (4, Ok(vec![worker("a", "serving")])),
                (5, Err("again".to_owned())),
            ],
            &["a joined", "silent: refused", "answered", "silent: again"],
        );
        assert_eq!((log.looked_at_ms, log.workers.len()), (4, 1));
        assert_eq!(log.silent.expect("they are silent").since_ms, 5);
    }

    #[test]
    fn the_oldest_events_go() {
        let mut log = ClusterLog::default();
        for n in 0..i64::try_from(CLUSTER_EVENTS_MAX).expect("fits") + 5 {
            let state = if n % 2 == 0 { "serving" } else { "draining" };
            take(&mut log, Timestamp::from_millis(n), Ok(vec![worker("a", state)]));
        }
        assert_eq!((log.events.len(), log.events[0].at_ms), (CLUSTER_EVENTS_MAX, 5));
    }
}
