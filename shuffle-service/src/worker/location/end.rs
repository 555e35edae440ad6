//! How a location ends: with one verdict, or by its release.

use std::time::Duration;

use penstock_protocol::shuffle::CommitVerdict;

use super::{Location, State, gate::Close};

impl Location {
    /// Takes nothing more from now on. Nothing is promised yet.
    pub fn close(&self) {
        self.state().gate.shut();
    }

    /// Closes the location and gives its verdict. Asked again it gives the same one (invariant 5). Writes and pending
    /// batches that do not end in time make it fail (invariants 2 and 4).
    pub async fn commit(&self, patience: Duration) -> CommitVerdict {
        match tokio::time::timeout(patience, self.decided()).await {
            Ok(verdict) => verdict,
            Err(_) => self.out_of_patience(),
        }
    }

    pub(super) async fn decided(&self) -> CommitVerdict {
        self.until(State::try_commit).await
    }

    pub(super) fn out_of_patience(&self) -> CommitVerdict {
        let reason = self.state().gate.waits_for();
        self.fail_commit(reason)
    }

    /// Makes a location that is not committed yet fail.
    pub fn fail_commit(&self, reason: &str) -> CommitVerdict {
        let mut state = self.state();
        if state.gate.fail(reason) {
            state.forget_data();
        }
        state.try_commit().unwrap_or_else(|| CommitVerdict::Failed { reason: reason.to_owned() })
    }

    /// Ends the location: from now on nothing is read of it, and no write or move begins.
    pub fn begin_release(&self) {
        let mut state = self.state();
        state.gate.release();
        state.forget_data();
    }

    /// The same; returns when no write or move is left that could bring its data back, with the objects in which the data is.
    pub async fn release(&self) -> Vec<String> {
        self.begin_release();
        self.until(|state| (state.writing == 0 && !state.moving).then_some(())).await;
        self.object_keys()
    }
}

impl State {
    pub(super) fn try_commit(&mut self) -> Option<CommitVerdict> {
        match (self.gate.close(), self.end) {
            (Close::Waits, _) => None,
            (Close::Committed, 0) => Some(CommitVerdict::Empty),
            (Close::Committed, stored_bytes) => Some(CommitVerdict::Committed { stored_bytes }),
            (Close::Failed(reason), _) => Some(CommitVerdict::Failed { reason }),
        }
    }
}
