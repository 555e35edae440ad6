//! Workers that get nothing new for a while, although they report. Pure: the caller brings the time.
//!
//! Two kinds: an operator's word, which is kept to the letter, and a suspicion after several placements failed, which
//! makes a worker the last choice. Both end by themselves. Workers carry the word of operators to all masters, where the
//! latest counts: so none has to hear it itself, and one that starts again learns it. A suspicion is forgotten then.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::{Epoch, ShuffleId, WorkerId};

use crate::ordered::{Exclusion, ExclusionOrder, Latest, ORDERS_MAX};

/// A worker that goes on failing is suspected for up to so many times the first suspicion.
const DOUBLINGS_MAX: u32 = 4;
/// Failures that are remembered of one worker.
const FAILURES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Different placements that have to fail on a worker.
    pub failures: usize,
    /// Within so long.
    pub window: Duration,
    /// For how long it is suspected then; twice as long when it happens again right after.
    pub suspicion: Duration,
}

#[derive(Debug)]
pub(super) struct Exclusions {
    rules: Rules,
    /// One that is over or was taken back is kept, too: an earlier one may still be about.
    ordered: Latest<WorkerId, Option<Exclusion>>,
    failing: BTreeMap<WorkerId, Failing>,
}

#[derive(Debug, Default)]
struct Failing {
    recent: VecDeque<(Timestamp, (ShuffleId, Epoch))>,
    suspected_until: Option<Timestamp>,
    doublings: u32,
}

impl Exclusions {
    pub fn new(rules: Rules) -> Self {
        Self { rules, ordered: Latest::default(), failing: BTreeMap::new() }
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// An operator's word.
    pub fn exclude(&mut self, now: Timestamp, worker: WorkerId, exclusion: Exclusion) {
        self.ordered.say(now, worker, Some(exclusion));
    }

    /// Takes the last word that a worker heard. Returns a later one if there is one, which the worker is to hear.
    pub fn hear(&mut self, worker: &WorkerId, heard: Option<ExclusionOrder>) -> Option<ExclusionOrder> {
        self.ordered.exchange(worker, heard)
    }

    /// Ends whatever speaks against a worker; false if nothing did.
    pub fn lift(&mut self, now: Timestamp, worker: &WorkerId) -> bool {
        let spoke = self.ordered(now, worker).is_some() || self.suspected(now, worker).is_some();
        // Also if none is known: the worker may carry one that this master has not heard yet.
        self.ordered.say(now, worker.clone(), None);
        self.failing.remove(worker);
        spoke
    }

    /// A placement failed on a worker. The same placement counts once, however often it is told; true if the worker is
    /// suspected from now on.
    pub fn failed(&mut self, now: Timestamp, worker: &WorkerId, shuffle: ShuffleId, epoch: Epoch) -> bool {
        let rules = self.rules;
        let failing = self.failing.entry(worker.clone()).or_default();
        failing.recent.retain(|(at, _)| now - *at < rules.window);
        let placement = (shuffle, epoch);
        if failing.recent.len() < FAILURES_MAX && !failing.recent.iter().any(|(_, known)| *known == placement)
        {
            failing.recent.push_back((now, placement));
        }
        let is_suspected = failing.suspected_until.is_some_and(|until| now < until);
        if is_suspected || failing.recent.len() < rules.failures {
            return false;
        }
        let again = failing.suspected_until.is_some_and(|until| now - until < rules.window);
        failing.doublings = if again { (failing.doublings + 1).min(DOUBLINGS_MAX) } else { 0 };
        failing.suspected_until = Some(now + rules.suspicion * 2u32.pow(failing.doublings));
        failing.recent.clear();
        true
    }

    pub fn ordered(&self, now: Timestamp, worker: &WorkerId) -> Option<&Exclusion> {
        self.ordered.get(worker)?.what.as_ref().filter(|exclusion| now < exclusion.until)
    }

    pub fn suspected(&self, now: Timestamp, worker: &WorkerId) -> Option<Timestamp> {
        self.failing.get(worker)?.suspected_until.filter(|until| now < *until)
    }

    /// Forgets workers that nobody knows any more; of what operators said of such only what is too much.
    pub fn prune(&mut self, known: impl Fn(&WorkerId) -> bool) {
        self.ordered.forget_oldest(ORDERS_MAX, &known);
        self.failing.retain(|worker, _| known(worker));
    }
}

#[cfg(test)]
mod tests {
    use penstock_protocol::ids::{JobId, StageId};
    use uuid::Uuid;

    use super::*;
    use crate::ordered::Ordered;

    const RULES: Rules =
        Rules { failures: 3, window: Duration::from_secs(60), suspicion: Duration::from_secs(100) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Placements by number fail on worker `w` at a second each; returns until when it is suspected after the last one.
    fn suspected_until(exclusions: &mut Exclusions, failures: &[(i64, u32)]) -> Option<i64> {
        let worker = WorkerId::from("w");
        for (second, placement) in failures {
            let shuffle = ShuffleId { job: JobId(Uuid::nil()), exchange: StageId(*placement), run: 0 };
            exclusions.failed(at(*second), &worker, shuffle, Epoch(0));
        }
        let now = at(failures.last().map_or(0, |(second, _)| *second));
        exclusions.suspected(now, &worker).map(|until| until.as_millis() / 1000)
    }

    #[test]
    fn a_worker_is_suspected_after_different_placements_failed_within_the_window() {
        let check = |failures: &[(i64, u32)], expected| {
            assert_eq!(suspected_until(&mut Exclusions::new(RULES), failures), expected, "{failures:?}");
        };
        check(&[(0, 1), (1, 2), (2, 3)], Some(102));
        check(&[(0, 1), (1, 2)], None);
        check(&[(0, 1), (1, 1), (2, 1), (3, 1)], None);
        check(&[(0, 1), (30, 2), (61, 3)], None);
    }

    #[test]
    fn a_suspicion_ends_and_lasts_longer_when_it_comes_right_again() {
        let mut exclusions = Exclusions::new(RULES);
        assert_eq!(suspected_until(&mut exclusions, &[(0, 1), (0, 2), (0, 3)]), Some(100));
        assert_eq!(exclusions.suspected(at(100), &"w".into()), None);
        assert_eq!(suspected_until(&mut exclusions, &[(101, 4), (101, 5), (101, 6)]), Some(301));
        assert_eq!(suspected_until(&mut exclusions, &[(900, 7), (900, 8), (900, 9)]), Some(1000));
    }

    #[test]
    fn an_order_ends_by_itself_or_when_it_is_lifted() {
        let mut exclusions = Exclusions::new(RULES);
        let worker = WorkerId::from("w");
        let order = Exclusion { until: at(10), reason: "disk swap".into() };
        exclusions.exclude(at(0), worker.clone(), order.clone());
        assert_eq!(exclusions.ordered(at(9), &worker), Some(&order));
        assert_eq!(exclusions.ordered(at(10), &worker), None);
        assert!(exclusions.lift(at(9), &worker));
        assert_eq!(exclusions.ordered(at(9), &worker), None);
        assert!(!exclusions.lift(at(9), &worker));
    }

    #[test]
    fn the_latest_word_counts_wherever_it_was_said() {
        let (mut one, mut other) = (Exclusions::new(RULES), Exclusions::new(RULES));
        let worker = WorkerId::from("w");
        let order = Exclusion { until: at(60), reason: "disk swap".into() };
        assert_eq!(one.hear(&worker, None), None);
        one.exclude(at(1), worker.clone(), order.clone());
        // By way of the worker.
        let carried = one.hear(&worker, None);
        assert_eq!(carried, Some(Ordered { at: at(1), what: Some(order.clone()) }));
        assert_eq!(one.hear(&worker, carried.clone()), None, "it has heard it");
        assert_eq!(other.hear(&worker, carried.clone()), None);
        assert_eq!(other.ordered(at(2), &worker), Some(&order));

        assert!(other.lift(at(3), &worker));
        let taken_back = other.hear(&worker, carried.clone());
        assert_eq!(taken_back, Some(Ordered { at: at(3), what: None }));
        assert_eq!(one.hear(&worker, taken_back), None);
        assert_eq!(one.ordered(at(4), &worker), None);
        // On a master whose clock is behind, and on one that knows of no word yet.
        other.exclude(at(9), worker.clone(), order.clone());
        assert_eq!(one.hear(&worker, other.hear(&worker, None)), None);
        assert!(one.lift(at(5), &worker));
        assert_eq!(other.hear(&worker, one.hear(&worker, None)), None);
        assert_eq!((one.ordered(at(6), &worker), other.ordered(at(6), &worker)), (None, None));
        let mut new = Exclusions::new(RULES);
        assert!(!new.lift(at(7), &worker));
        assert!(new.hear(&worker, carried.clone()).is_some());
        assert_eq!(new.ordered(at(8), &worker), None);
        // A worker that starts again, and a master that has not heard the last word.
        assert!(one.hear(&worker, carried).is_some());
        assert_eq!(one.ordered(at(4), &worker), None);
    }
}
