//! What was released lately. The oldest is "unknown" from then on.

use penstock_common::lately::Lately;
use penstock_protocol::ids::{JobId, ShuffleId};

const ENTRIES_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Released {
    jobs: Lately<JobId>,
    shuffles: Lately<ShuffleId>,
}

impl Default for Released {
    fn default() -> Self {
        Self { jobs: Lately::new(ENTRIES_MAX), shuffles: Lately::new(ENTRIES_MAX) }
    }
}

impl Released {
    pub fn job(&mut self, job: JobId) {
        self.jobs.add(job);
    }

    pub fn shuffle(&mut self, shuffle: ShuffleId) {
        self.shuffles.add(shuffle);
    }

    pub fn covers(&self, shuffle: ShuffleId) -> bool {
        self.jobs.contains(&shuffle.job) || self.shuffles.contains(&shuffle)
    }
}
