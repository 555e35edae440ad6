//! Batches whose second copy is on its way.

use std::sync::Arc;

use penstock_protocol::frame::Refusal;

use super::Location;

/// A batch that is stored here and whose second copy is on its way: its location does not close before this is dropped.
#[derive(Debug)]
pub(in crate::worker) struct Pending(Arc<Location>);

impl Pending {
    /// To be called once for each batch that a location with a second copy took.
    pub fn of(location: Arc<Location>) -> Self {
        Self(location)
    }

    /// The second copy was not stored: both end here.
    pub fn refused(&self, refusal: Refusal) {
        self.0.split(refusal);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.state().gate.answered();
        self.0.ended.notify_waiters();
    }
}
