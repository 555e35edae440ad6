//! Whether a shuffle's manifest is up to date.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

#[derive(Debug, Default)]
pub(in crate::worker) struct Record {
    due: AtomicBool,
    /// Held while a manifest is written or its folder is deleted, so that neither undoes the other.
    pub writing: Mutex<Written>,
}

#[derive(Debug, Default)]
pub(in crate::worker) struct Written {
    /// Manifests that this life wrote.
    pub manifests: u64,
    /// Nothing is written any more.
    pub released: bool,
}

impl Record {
    pub fn set_due(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    /// Whether something happened since this was asked last.
    pub fn is_due(&self) -> bool {
        self.due.swap(false, Ordering::Relaxed)
    }
}
