//! What happened lately: bounded, the oldest is forgotten first.

use std::collections::{BTreeSet, VecDeque};

/// The entries that were added last.
#[derive(Debug)]
pub struct Lately<T> {
    entries_max: usize,
    known: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T: Ord + Copy> Lately<T> {
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max, known: BTreeSet::new(), order: VecDeque::new() }
    }

    /// One that is known stays as old as it is.
    pub fn add(&mut self, entry: T) {
        if !self.known.insert(entry) {
            return;
        }
        self.order.push_back(entry);
        if self.order.len() > self.entries_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn contains(&self, entry: &T) -> bool {
        self.known.contains(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut lately = Lately::new(2);
        for entry in [1, 2, 1, 3] {
            lately.add(entry);
        }
        assert_eq!([1, 2, 3].map(|entry| lately.contains(&entry)), [false, true, true]);
    }
}
