//! Turns for the reads that wait for a device, so that one that hangs does not take the threads of all others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

/// Above the requests that an NVMe device works on at once with profit, and a small part of the process's threads.
const READS_AT_ONCE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<u64, Arc<Semaphore>>>);

impl Turns {
    /// Those of one device, by its number.
    pub fn on(&self, device: u64) -> Arc<Semaphore> {
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(devices.entry(device).or_insert_with(|| Arc::new(Semaphore::new(READS_AT_ONCE))))
    }
}
