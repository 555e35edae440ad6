//! Whether a location takes batches, and what its end has to wait for. Pure: the location's lock guards it.
//!
//! A batch is either taken before the location closes, and then covered by the verdict, or refused (invariant 2). One
//! whose second copy is on its way is pending until its answer is decided; a location that closes waits for those.
//! Refusals are final: once a batch was refused, everything after it is, so that the batches of one map lie in their order
//! in every epoch. A write error of a location that is not committed breaks it for good (invariant 3).

use penstock_protocol::frame::Refusal;

#[derive(Debug)]
pub(in crate::worker) struct Gate {
    phase: Phase,
    /// Takes nothing more, although it is not closed.
    split: Option<Refusal>,
    /// Batches that were taken and not answered.
    pending: u32,
    writing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum Phase {
    Open,
    /// Takes nothing more and waits for writes and pending batches.
    Closing,
    Committed,
    /// Never commits.
    Broken {
        refusal: Refusal,
        reason: String,
    },
    Released,
}

/// How far a close has come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker) enum Close {
    Waits,
    Committed,
    Failed(String),
}

impl Gate {
    pub fn new() -> Self {
        Self { phase: Phase::Open, split: None, pending: 0, writing: false }
    }

    /// Of a location that an earlier life committed.
    pub fn committed() -> Self {
        Self { phase: Phase::Committed, ..Self::new() }
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Lets a batch in, or says why not. `pending`: it is answered later, with [`Self::answered`].
    pub fn admit(&mut self, pending: bool) -> Result<(), Refusal> {
        match (&self.phase, self.split) {
            (Phase::Open, None) => {}
            (Phase::Open, Some(refusal)) => return Err(refusal),
            (Phase::Closing | Phase::Committed, _) => return Err(Refusal::Closed),
            (Phase::Broken { refusal, .. }, _) => return Err(*refusal),
            (Phase::Released, _) => return Err(Refusal::Expired),
        }
        self.pending += u32::from(pending);
        Ok(())
    }

    /// Refuses everything from now on. The first reason stays.
    pub fn split(&mut self, refusal: Refusal) {
        self.split.get_or_insert(refusal);
    }

    /// A pending batch is answered, or never will be.
    pub fn answered(&mut self) {
        assert!(self.pending > 0, "every answer belongs to a batch that was let in");
        self.pending -= 1;
    }

    #[cfg(test)]
    pub fn pending(&self) -> u32 {
        self.pending
    }

    pub fn may_write(&self) -> bool {
        !self.writing && matches!(self.phase, Phase::Open | Phase::Closing | Phase::Committed)
    }

    pub fn begin_write(&mut self) {
        assert!(self.may_write(), "one write at a time");
        self.writing = true;
    }

    /// Whether the location lives on with what it has. What is committed was promised and stays; anything else that could
    /// not be written is broken.
    pub fn end_write(&mut self, failure: Option<(Refusal, String)>) -> bool {
        self.writing = false;
        match (&self.phase, failure) {
            (Phase::Open | Phase::Closing, Some((refusal, reason))) => {
                self.phase = Phase::Broken { refusal, reason };
                false
            }
            (Phase::Broken { .. } | Phase::Released, _) => false,
            _ => true,
        }
    }

    /// Closes, as far as that is possible now. Closed once, it says the same for ever (invariant 5).
    pub fn close(&mut self) -> Close {
        match &self.phase {
            Phase::Open | Phase::Closing if self.writing || self.pending > 0 => {
                self.phase = Phase::Closing;
                Close::Waits
            }
            Phase::Open | Phase::Closing => {
                self.phase = Phase::Committed;
                Close::Committed
            }
            Phase::Committed => Close::Committed,
            Phase::Broken { reason, .. } => Close::Failed(reason.clone()),
            Phase::Released => Close::Failed("it was released".to_owned()),
        }
    }

    /// Takes nothing more from now on. Nothing is promised yet.
    pub fn shut(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// What a close still waits for.
    pub fn waits_for(&self) -> &'static str {
        if self.writing {
            "a write did not end in time"
        } else {
            "batches on their way to the second copy did not end in time"
        }
    }

    /// Makes a location that is not committed yet fail; whether it does.
    pub fn fail(&mut self, reason: &str) -> bool {
        let fails = matches!(self.phase, Phase::Open | Phase::Closing);
        if fails {
            self.phase = Phase::Broken { refusal: Refusal::Broken, reason: reason.to_owned() };
        }
        fails
    }

    pub fn release(&mut self) {
        self.phase = Phase::Released;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Invariant 2: a close waits for what was let in, and lets nothing in meanwhile.
    #[test]
    fn a_close_waits_for_every_pending_batch() {
        let mut gate = Gate::new();
        assert_eq!(gate.admit(true), Ok(()));
        assert_eq!(gate.admit(true), Ok(()));
        gate.answered();
        assert_eq!(gate.close(), Close::Waits);
        assert_eq!(gate.admit(true), Err(Refusal::Closed));
        gate.answered();
        assert_eq!(gate.close(), Close::Committed);
        assert_eq!(gate.close(), Close::Committed);
    }

    // Invariant 2.
    #[test]
    fn what_did_not_drain_in_time_has_failed_for_ever() {
        let mut gate = Gate::new();
        gate.admit(true).expect("it is open");
        assert_eq!(gate.close(), Close::Waits);
        assert!(gate.fail("late"));
        gate.answered();
        assert_eq!(gate.close(), Close::Failed("late".to_owned()));
    }

    // Invariant 6: after the first refusal nothing is taken any more, so that batches keep their order.
    #[test]
    fn a_split_is_final_and_keeps_its_first_reason() {
        let mut gate = Gate::new();
        gate.split(Refusal::Full);
        gate.split(Refusal::NoRoom);
        assert_eq!(gate.admit(false), Err(Refusal::Full));
        assert_eq!(gate.close(), Close::Committed);
        assert_eq!(gate.admit(false), Err(Refusal::Closed));
    }
}
