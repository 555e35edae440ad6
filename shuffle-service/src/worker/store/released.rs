//! What was released lately. Bounded: the oldest are forgotten first and are "unknown" from then on.

use std::collections::{BTreeSet, VecDeque};

use penstock_protocol::ids::{JobId, ShuffleId};

const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Released {
    jobs: Lately<JobId>,
    shuffles: Lately<ShuffleId>,
}

impl Released {
    pub fn job(&mut self, job: JobId) {
        self.jobs.add(job);
    }

    pub fn shuffle(&mut self, shuffle: ShuffleId) {
        self.shuffles.add(shuffle);
    }

    pub fn covers(&self, shuffle: ShuffleId) -> bool {
        self.jobs.known.contains(&shuffle.job) || self.shuffles.known.contains(&shuffle)
    }
}

#[derive(Debug)]
struct Lately<T> {
    known: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), order: VecDeque::new() }
    }
}

impl<T: Ord + Copy> Lately<T> {
    fn add(&mut self, entry: T) {
        if !self.known.insert(entry) {
            return;
        }
        self.order.push_back(entry);
        if self.order.len() > ENTRIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
