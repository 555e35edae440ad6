//! What was told already, so that somebody who goes on trying does not fill the log.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Beyond it everything is forgotten, and told once more.
const TOLD_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Told<K>(Mutex<BTreeSet<K>>);

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Told<K> {
    /// Whether this is to be told; from now on it is told.
    pub fn is_news(&self, what: K) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_and_memory_is_bounded() {
        let told = Told::default();
        assert!(told.is_news(0));
        assert!(!told.is_news(0));
        (1..=TOLD_MAX).for_each(|what| assert!(told.is_news(what)));
        assert!(told.is_news(0), "forgotten with all others");
    }
}
