//! Which attempts run, and whether there is room for one more. Pure bookkeeping.

use std::{collections::BTreeMap, sync::Arc};

use penstock_protocol::{
    ids::{AttemptId, JobId},
    wire::executor::AttemptProgress,
};
use tokio_util::sync::CancellationToken;

use crate::runner::Progress;

/// One running attempt as others see it.
#[derive(Debug, Clone, Default)]
pub struct Running {
    pub cancel: CancellationToken,
    pub progress: Arc<Progress>,
}

/// The room of the executor, and what fills it.
#[derive(Debug)]
pub struct Slots {
    total: u32,
    running: BTreeMap<AttemptId, Running>,
}

/// What became of a wish to run an attempt.
#[derive(Debug)]
pub enum Admission {
    Admitted(Running),
    /// It runs already: the message came twice.
    Repeated,
    Full,
}

impl Slots {
    pub fn new(total: u32) -> Self {
        Self { total, running: BTreeMap::new() }
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    pub fn busy(&self) -> usize {
        self.running.len()
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    pub fn admit(&mut self, attempt: AttemptId) -> Admission {
        if self.running.contains_key(&attempt) {
            return Admission::Repeated;
        }
        if self.running.len() >= self.total as usize {
            return Admission::Full;
        }
        let running = Running::default();
        self.running.insert(attempt, running.clone());
        Admission::Admitted(running)
    }

    /// The attempt is gone; its slot is free.
    pub fn release(&mut self, attempt: AttemptId) {
        self.running.remove(&attempt);
    }

    /// Tells an attempt to end; unknown ones have ended already.
    pub fn cancel(&self, attempt: AttemptId) {
        if let Some(running) = self.running.get(&attempt) {
            running.cancel.cancel();
        }
    }

    pub fn cancel_job(&self, job: JobId) {
        self.cancel_where(|attempt| attempt.task.job == job);
    }

    pub fn cancel_all(&self) {
        self.cancel_where(|_| true);
    }

    fn cancel_where(&self, chosen: impl Fn(&AttemptId) -> bool) {
        self.running
            .iter()
            .filter(|(attempt, _)| chosen(attempt))
            .for_each(|(_, running)| running.cancel.cancel());
    }

    pub fn attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.running.keys().copied()
    }

    pub fn progress(&self) -> Vec<AttemptProgress> {
        let progress = |(attempt, running): (&AttemptId, &Running)| AttemptProgress {
            attempt: *attempt,
            rows_in: running.progress.rows_in(),
            rows_out: running.progress.rows_out(),
        };
        self.running.iter().map(progress).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::tests::attempt;

    #[test]
    fn there_is_room_for_as_many_attempts_as_slots() {
        let mut slots = Slots::new(2);
        assert!(matches!(slots.admit(attempt(0, 0)), Admission::Admitted(_)));
        assert!(matches!(slots.admit(attempt(1, 0)), Admission::Admitted(_)));
        assert!(matches!(slots.admit(attempt(2, 0)), Admission::Full));
        slots.release(attempt(0, 0));
        assert!(matches!(slots.admit(attempt(2, 0)), Admission::Admitted(_)));
    }

    #[test]
    fn an_attempt_that_is_sent_twice_runs_once() {
        let mut slots = Slots::new(1);
        assert!(matches!(slots.admit(attempt(0, 0)), Admission::Admitted(_)));
        assert!(matches!(slots.admit(attempt(0, 0)), Admission::Repeated));
        assert_eq!(slots.busy(), 1);
    }

    #[test]
    fn cancelling_an_attempt_leaves_the_others_alone() {
        let mut slots = Slots::new(2);
        let tokens: Vec<_> = (0..2)
            .map(|index| match slots.admit(attempt(index, 0)) {
                Admission::Admitted(running) => running.cancel,
                other => panic!("{other:?}"),
            })
            .collect();
        slots.cancel(attempt(0, 0));
        slots.cancel(attempt(7, 0));
        assert!(tokens[0].is_cancelled());
        assert!(!tokens[1].is_cancelled());
    }
}
