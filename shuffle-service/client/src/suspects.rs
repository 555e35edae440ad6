//! Workers that did not show a sign of life lately: whoever has a choice turns to another one first.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_protocol::{
    ids::{Incarnation, WorkerId},
    shuffle::WorkerAddress,
};
use tokio::time::Instant;

/// How long a worker stays under suspicion: after that it costs somebody one more silence, if it still hangs.
const SUSPECTED_FOR: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<(WorkerId, Incarnation), Instant>>);

impl Suspects {
    /// This life of the worker was silent although it owed an answer.
    pub fn add(&self, worker: &WorkerAddress) {
        let now = Instant::now();
        let mut until = self.until();
        until.retain(|_, until| now < *until);
        until.insert((worker.worker.clone(), worker.incarnation), now + SUSPECTED_FOR);
    }

    /// It has answered.
    pub fn remove(&self, worker: &WorkerAddress) {
        let mut until = self.until();
        if !until.is_empty() {
            until.remove(&(worker.worker.clone(), worker.incarnation));
        }
    }

    pub fn has(&self, worker: &WorkerAddress) -> bool {
        let until = self.until();
        !until.is_empty()
            && until
                .get(&(worker.worker.clone(), worker.incarnation))
                .is_some_and(|until| Instant::now() < *until)
    }

    /// All of them.
    pub fn names(&self) -> Vec<WorkerId> {
        let now = Instant::now();
        let until = self.until();
        until.iter().filter(|(_, until)| now < **until).map(|((worker, _), _)| worker.clone()).collect()
    }

    fn until(&self) -> MutexGuard<'_, BTreeMap<(WorkerId, Incarnation), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(life: u64) -> WorkerAddress {
        let (control, data) = (String::new(), String::new());
        WorkerAddress { worker: "w".into(), incarnation: Incarnation(life), control, data }
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_that_was_silent_is_under_suspicion_for_a_while() {
        let suspects = Suspects::default();
        suspects.add(&worker(1));
        assert!(suspects.has(&worker(1)) && !suspects.has(&worker(2)), "another life is another worker");
        assert_eq!(suspects.names(), ["w".into()]);
        tokio::time::advance(SUSPECTED_FOR).await;
        assert!(!suspects.has(&worker(1)));
        suspects.add(&worker(1));
        suspects.remove(&worker(1));
        assert_eq!(suspects.names(), []);
    }
}
