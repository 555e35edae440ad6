//! Which copy of an epoch is read when, and how much is done for it. Pure: the caller brings the time.
//!
//! With two copies, each is left soon in the first round, later in the next one, and in the last one only if nothing helps:
//! a machine that is slow for a while loses nothing. A worker that cannot be reached even then may be starting again, and an
//! object store may answer again: the copies that are away have their turns until nothing was read for too long, so that the
//! one that comes back first is read.

use std::{collections::VecDeque, time::Duration};

use penstock_common::retry::Backoff;
use penstock_protocol::shuffle::Location;

use super::location::waits;
use crate::options::ClientOptions;

/// A copy, and how much is done to read it.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub copy: Location,
    /// How long is waited before.
    pub wait: Duration,
    pub persistence: Persistence,
    /// Whether it comes again while its copy is away, within the limits.
    is_last: bool,
}

/// For so long nothing new is read before a copy is given up.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// While its worker is away, after all turns.
    absence: Duration,
    /// While the worker's object store is, whatever turns are left: each takes as long as the worker tries.
    outage: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Persistence {
    /// Tries to reach the worker in a row.
    pub tries: u32,
    /// How long it may say nothing at all.
    pub patience: Duration,
}

/// How a turn ended that was of no use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failed {
    /// What is lost is not asked again.
    Lost,
    /// The worker does not send it now.
    Refused,
    /// What it needs is away, and nothing was read from any copy for so long.
    Away(Who, Duration),
}

/// Who is needed to read a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Worker,
    /// The object store in which the worker has it.
    Store,
}

pub(super) struct Turns {
    current: Turn,
    next: VecDeque<Turn>,
    limits: Limits,
    waits: Backoff,
}

impl Turns {
    /// `unanswered` is a copy of which nobody knows whether it is committed.
    pub fn new(copies: Vec<Location>, unanswered: Option<&Location>, options: &ClientOptions) -> Self {
        let mut next = order(copies, unanswered, options);
        let current = next.pop_front().expect("a location has a copy");
        let limits = Limits { absence: options.absence(), outage: options.outage() };
        Self { waits: waits(&current.copy), current, next, limits }
    }

    pub fn current(&self) -> &Turn {
        &self.current
    }

    /// Goes on after a turn that failed; false if nothing is left to try.
    pub fn go_on(&mut self, failed: Failed) -> bool {
        match failed {
            Failed::Lost => self.give_up(),
            Failed::Away(Who::Store, lasts) if lasts >= self.limits.outage => self.give_up(),
            Failed::Away(who, lasts) if self.current.is_last && lasts < self.limits.of(who) => {
                let persistence = Persistence { tries: 1, ..self.current.persistence };
                let wait = self.waits.one_more();
                self.next.push_back(Turn { wait, persistence, ..self.current.clone() });
            }
            Failed::Refused | Failed::Away(..) => {}
        }
        match self.next.pop_front() {
            Some(turn) => self.current = turn,
            None => return false,
        }
        true
    }

    fn give_up(&mut self) {
        self.next.retain(|turn| turn.copy != self.current.copy);
    }
}

impl Limits {
    fn of(self, who: Who) -> Duration {
        match who {
            Who::Worker => self.absence,
            Who::Store => self.outage,
        }
    }
}

/// The turns that every copy has. One of which nobody knows whether it is committed is tried once and in a hurry, since the
/// stage can run again.
fn order(copies: Vec<Location>, unanswered: Option<&Location>, options: &ClientOptions) -> VecDeque<Turn> {
    let turn = |copy: &Location, persistence, is_last| Turn {
        copy: copy.clone(),
        wait: Duration::ZERO,
        persistence,
        is_last,
    };
    let patient = Persistence { tries: options.connect_tries, patience: options.answer_timeout() };
    let last = copies.iter().map(|copy| turn(copy, patient, true));
    let tries = options.revive_after_tries.min(options.connect_tries);
    let hurried = |round| Persistence { tries, patience: options.silence(round) };
    if let Some(unanswered) = unanswered {
        let once = copies.iter().chain([unanswered]).map(|copy| turn(copy, hurried(0), false));
        return once.chain(last).collect();
    }
    let rounds = if copies.len() > 1 { 0..32 } else { 0..0 };
    let rounds = rounds.map(hurried).take_while(|hurried| hurried.patience < patient.patience);
    let first = rounds.flat_map(|hurried| copies.iter().map(move |copy| turn(copy, hurried, false)));
    first.chain(last).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_protocol::{
        ids::{Epoch, Incarnation, PartitionIndex},
        shuffle::WorkerAddress,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn copy(worker: &str) -> Location {
        let (control, data) = (String::new(), String::new());
        let address = WorkerAddress { worker: worker.into(), incarnation: Incarnation(1), control, data };
        Location::on(PartitionIndex(0), Epoch(0), Arc::new(address))
    }

    fn turns(copies: Vec<Location>, unanswered: Option<&Location>) -> Turns {
        let options =
            ClientOptions { silence_ms: 1_000, answer_timeout_ms: 3_000, ..ClientOptions::default() };
        Turns::new(copies, unanswered, &options)
    }

    /// All turns, each of which fails as is said for its worker.
    fn shown(mut turns: Turns, mut failed: impl FnMut(&str) -> Failed) -> Vec<String> {
        let mut shown = Vec::new();
        loop {
            let Turn { copy, persistence: Persistence { tries, patience }, .. } = turns.current().clone();
            let worker = copy.worker.worker.as_str();
            shown.push(format!("{worker}: {tries} tries, {patience:?}"));
            if !turns.go_on(failed(worker)) {
                return shown;
            }
        }
    }

    /// The first turns fail, and after them so many do before it is too late.
    fn absent(turns: Turns, failures: usize) -> Vec<String> {
        let mut left = failures;
        shown(turns, |_| {
            let lasts = if left > 0 { 9 * SECOND } else { 10 * SECOND };
            left = left.saturating_sub(1);
            Failed::Away(Who::Worker, lasts)
        })
    }

    const TWO: [&str; 6] = [
        "a: 2 tries, 1s",
        "b: 2 tries, 1s",
        "a: 2 tries, 2s",
        "b: 2 tries, 2s",
        "a: 6 tries, 3s",
        "b: 6 tries, 3s",
    ];

    #[test]
    fn two_copies_are_tried_in_turn_with_growing_patience() {
        assert_eq!(shown(turns(vec![copy("a"), copy("b")], None), |_| Failed::Refused), TWO);
    }

    #[test]
    fn copies_that_are_absent_share_the_time_for_which_they_may_be() {
        let again = ["a: 1 tries, 3s", "b: 1 tries, 3s", "a: 1 tries, 3s"];
        let shown = absent(turns(vec![copy("a"), copy("b")], None), TWO.len() + 1);
        assert_eq!(shown, [&TWO[..], &again[..]].concat());
    }

    #[test]
    fn a_copy_that_is_lost_or_refused_does_not_come_again() {
        let told =
            |b| move |worker: &str| if worker == "b" { b } else { Failed::Away(Who::Worker, 9 * SECOND) };
        let first = |failed| {
            let mut turns = turns(vec![copy("a"), copy("b")], None);
            let failed = told(failed);
            let mut workers = Vec::new();
            for _ in 0..10 {
                let worker = turns.current().copy.worker.worker.to_string();
                assert!(turns.go_on(failed(&worker)));
                workers.push(worker);
            }
            workers.concat()
        };
        assert_eq!(first(Failed::Lost), "abaaaaaaaa");
        assert_eq!(first(Failed::Refused), "abababaaaa");
    }

    #[test]
    fn an_object_store_may_be_away_for_longer_than_a_worker() {
        let mut lasts = [9, 119, 120].map(|seconds| Failed::Away(Who::Store, seconds * SECOND)).into_iter();
        let one = shown(turns(vec![copy("a")], None), |_| lasts.next().expect("a turn too many"));
        assert_eq!(one.len(), 3);
        // However many turns there are.
        let two = shown(turns(vec![copy("a"), copy("b")], None), |_| Failed::Away(Who::Store, 120 * SECOND));
        assert_eq!(two, TWO[..2]);
    }

    #[test]
    fn a_single_copy_is_tried_with_all_patience_at_once() {
        assert_eq!(absent(turns(vec![copy("a")], None), 0), ["a: 6 tries, 3s"]);
        assert_eq!(absent(turns(vec![copy("a")], None), 1), ["a: 6 tries, 3s", "a: 1 tries, 3s"]);
    }

    #[test]
    fn a_copy_without_an_answer_is_tried_once() {
        let expected = ["a: 2 tries, 1s", "b: 2 tries, 1s", "a: 6 tries, 3s", "a: 1 tries, 3s"];
        assert_eq!(absent(turns(vec![copy("a")], Some(&copy("b"))), 3), expected);
    }
}
