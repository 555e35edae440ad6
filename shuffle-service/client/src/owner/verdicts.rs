//! What a commit knows so far: whom it has to ask, and whether it has to ask again. Pure.
//!
//! Each copy ends with one verdict. A copy that gives no answer is asked again only while no other copy of its epoch has
//! been committed. What a worker said of a copy in an earlier commit holds when the worker, or its life, is gone
//! (invariants 5 and 17): it was said for good, and a next life serves what a former one kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use penstock_protocol::{
    ids::{Epoch, PartitionIndex},
    shuffle::{CommitVerdict, Location, WorkerAddress},
};

use super::by_worker;

pub(super) type Key = (PartitionIndex, Epoch);

/// What one worker said of the locations that it was asked for.
pub(super) type Answer = Result<BTreeMap<Key, CommitVerdict>, NoAnswer>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoAnswer {
    pub reason: String,
    /// Whether it may answer when it is asked again.
    pub may_come: bool,
}

/// Verdicts that promise something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Promised(BTreeMap<(Key, Arc<WorkerAddress>), CommitVerdict>);

#[derive(Debug)]
pub(super) struct Verdicts {
    copies: Vec<Location>,
    states: Vec<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nobody has answered; with the last reason.
    Open(String),
    Said(CommitVerdict),
}

impl Verdicts {
    pub fn new(copies: Vec<Location>) -> Self {
        let states = vec![State::Open("nobody answers for it".to_owned()); copies.len()];
        Self { copies, states }
    }

    pub fn copies(&self) -> &[Location] {
        &self.copies
    }

    /// Who is asked first: everybody.
    pub fn all(&self) -> Vec<(Arc<WorkerAddress>, Vec<usize>)> {
        by_worker(&self.copies)
    }

    /// Who has to be asked again, because nobody has answered for an epoch.
    pub fn needed(&self, promised: &Promised) -> Vec<(Arc<WorkerAddress>, Vec<usize>)> {
        let covered: BTreeSet<Key> = (0..self.copies.len())
            .filter(|index| {
                let has_said = matches!(&self.states[*index], State::Said(verdict) if verdict.is_promise());
                has_said || promised.of(&self.copies[*index]).is_some()
            })
            .map(|index| key(&self.copies[index]))
            .collect();
        let is_needed = |index: &usize| {
            matches!(self.states[*index], State::Open(_)) && !covered.contains(&key(&self.copies[*index]))
        };
        let mut groups = self.all();
        groups.iter_mut().for_each(|(_, indices)| indices.retain(is_needed));
        groups.retain(|(_, indices)| !indices.is_empty());
        groups
    }

    pub fn take(&mut self, worker: &WorkerAddress, indices: &[usize], answer: &Answer) {
        let because = |reason: &str| format!("worker {}: {reason}", worker.worker);
        for index in indices {
            self.states[*index] = match answer {
                Ok(verdicts) => State::Said(match verdicts.get(&key(&self.copies[*index])) {
                    Some(CommitVerdict::Failed { reason }) => failed(because(reason)),
                    Some(verdict) => verdict.clone(),
                    None => failed(because("its answer leaves this location out")),
                }),
                Err(NoAnswer { reason, may_come: true }) => State::Open(because(reason)),
                Err(NoAnswer { reason, may_come: false }) => State::Said(failed(because(reason))),
            };
        }
    }

    /// One for each copy (invariant 4).
    pub fn end(self, promised: &Promised) -> Vec<(Location, CommitVerdict)> {
        let verdict = |(copy, state): (Location, State)| {
            let said = match state {
                State::Open(reason) => CommitVerdict::Unanswered { reason },
                State::Said(verdict) => verdict,
            };
            let verdict = match promised.of(&copy) {
                Some(promise) if !said.is_promise() => promise.clone(),
                _ => said,
            };
            (copy, verdict)
        };
        self.copies.into_iter().zip(self.states).map(verdict).collect()
    }
}

impl Promised {
    pub fn keep(&mut self, verdicts: &[(Location, CommitVerdict)]) {
        let promises = verdicts.iter().filter(|(_, verdict)| verdict.is_promise());
        self.0
            .extend(promises.map(|(copy, verdict)| ((key(copy), Arc::clone(&copy.worker)), verdict.clone())));
    }

    fn of(&self, copy: &Location) -> Option<&CommitVerdict> {
        self.0.get(&(key(copy), Arc::clone(&copy.worker)))
    }
}

fn key(copy: &Location) -> Key {
    (copy.partition, copy.epoch)
}

fn failed(reason: String) -> CommitVerdict {
    CommitVerdict::Failed { reason }
}

#[cfg(test)]
mod tests {
    use penstock_protocol::ids::Incarnation;

    use super::*;

    const KEY: Key = (PartitionIndex(0), Epoch(0));
    const COMMITTED: CommitVerdict = CommitVerdict::Committed { stored_bytes: 7 };

    fn worker(name: &str) -> Arc<WorkerAddress> {
        let (control, data) = (String::new(), String::new());
        Arc::new(WorkerAddress { worker: name.into(), incarnation: Incarnation(1), control, data })
    }

    /// One epoch on two workers.
    fn on_two() -> Verdicts {
        let location = Location { replica: Some(worker("b")), ..Location::on(KEY.0, KEY.1, worker("a")) };
        Verdicts::new(location.copies().collect())
    }

    fn no_answer(may_come: bool) -> Answer {
        Err(NoAnswer { reason: "no sign of life".to_owned(), may_come })
    }

    fn said(verdict: CommitVerdict) -> Answer {
        Ok(BTreeMap::from([(KEY, verdict)]))
    }

    fn asked(groups: &[(Arc<WorkerAddress>, Vec<usize>)]) -> Vec<&str> {
        groups.iter().map(|(worker, _)| worker.worker.as_str()).collect()
    }

    // Invariant 4: what nobody speaks for is no promise, also where an answer leaves a location out.
    #[test]
    fn what_a_worker_does_not_speak_of_is_no_promise() {
        let silent = [Ok(BTreeMap::new()), no_answer(false), no_answer(true)];
        for answer in silent {
            let mut verdicts = on_two();
            verdicts.take(&worker("a"), &[0], &answer);
            verdicts.take(&worker("b"), &[1], &said(CommitVerdict::Empty));
            let ended = verdicts.end(&Promised::default());
            assert!(!ended[0].1.is_promise(), "{answer:?}: {ended:?}");
            assert_eq!(ended[1].1, CommitVerdict::Empty);
        }
    }

    // Invariant 4: it is no promise, but readers may look there when nothing else is left.
    #[test]
    fn a_copy_that_is_silent_is_not_waited_for_when_the_other_one_is_committed() {
        let mut verdicts = on_two();
        let none = Promised::default();
        assert_eq!(asked(&verdicts.all()), ["a", "b"]);
        verdicts.take(&worker("a"), &[0], &no_answer(true));
        assert_eq!(asked(&verdicts.needed(&none)), ["a", "b"]);
        verdicts.take(&worker("b"), &[1], &said(COMMITTED));
        assert_eq!(asked(&verdicts.needed(&none)), [""; 0]);
        let ended = verdicts.end(&none);
        assert!(matches!(ended[0].1, CommitVerdict::Unanswered { .. }));
        assert_eq!(ended[1].1, COMMITTED);
    }

    #[test]
    fn it_is_asked_again_when_the_other_one_has_failed() {
        let mut verdicts = on_two();
        verdicts.take(&worker("a"), &[0], &no_answer(true));
        verdicts.take(&worker("b"), &[1], &no_answer(false));
        assert_eq!(asked(&verdicts.needed(&Promised::default())), ["a"]);
        verdicts.take(&worker("a"), &[0], &said(CommitVerdict::Empty));
        assert_eq!(asked(&verdicts.needed(&Promised::default())), [""; 0]);
    }

    // Invariants 4, 5, 16 and 17: a life that is over does not answer any more, and what it said still holds.
    #[test]
    fn what_an_early_commit_was_told_holds_when_that_life_is_over() {
        let mut promised = Promised::default();
        let mut early = on_two();
        early.take(&worker("a"), &[0], &said(COMMITTED));
        early.take(&worker("b"), &[1], &no_answer(true));
        promised.keep(&early.end(&Promised::default()));

        let mut last = on_two();
        last.take(&worker("a"), &[0], &no_answer(false));
        last.take(&worker("b"), &[1], &no_answer(true));
        assert_eq!(asked(&last.needed(&promised)), [""; 0]);
        let ended = last.end(&promised);
        assert_eq!(ended[0].1, COMMITTED);
        assert!(matches!(ended[1].1, CommitVerdict::Unanswered { .. }), "it never said anything");
    }
}
