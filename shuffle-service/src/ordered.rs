//! What operators said, each with its time: the latest counts, wherever it was said. Pure: the caller brings the time.
//!
//! Workers carry these orders from master to master. Merging comes to the same in any order, so those who heard the same
//! do the same: of two that were said at one time, the greater counts for everybody.

mod wire;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use penstock_common::clock::Timestamp;

use crate::master::Limit;

/// Orders of one kind that anybody remembers, those about the workers at hand aside.
pub(crate) const ORDERS_MAX: usize = 1000;

/// One order. The greater one is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ordered<T> {
    pub at: Timestamp,
    pub what: T,
}

/// A worker gets nothing new for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exclusion {
    pub until: Timestamp,
    pub reason: String,
}

/// Whether a worker is excluded; none: an earlier exclusion is taken back.
pub(crate) type ExclusionOrder = Ordered<Option<Exclusion>>;
/// `true`: to drain, `false`: to serve.
pub(crate) type DrainOrder = Ordered<bool>;
/// What users may hold, by their names; none: what is configured.
pub(crate) type QuotaOrders = Latest<String, Option<Limit>>;

/// The last order about each of several things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latest<K, T>(BTreeMap<K, Ordered<T>>);

impl<T> Ordered<T> {
    /// What is said now: later than what is known, even if the clock of whoever said that is ahead.
    pub fn after(known: Option<&Self>, now: Timestamp, what: T) -> Self {
        let at = known.map_or(now, |known| now.max(known.at + Duration::from_millis(1)));
        Self { at, what }
    }
}

impl<K, T> Default for Latest<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone + Display, T: Ord + Clone> Latest<K, T> {
    pub fn get(&self, about: &K) -> Option<&Ordered<T>> {
        self.0.get(about)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Ordered<T>)> {
        self.0.iter()
    }

    /// An order that is given here and now.
    pub fn say(&mut self, now: Timestamp, about: K, what: T) {
        let order = Ordered::after(self.get(&about), now, what);
        self.0.insert(about, order);
    }

    /// Takes an order that was given somewhere; true if it is later than what is known.
    pub fn take(&mut self, about: K, order: Ordered<T>) -> bool {
        let is_later = self.get(&about) < Some(&order);
        if is_later {
            self.0.insert(about, order);
        }
        is_later
    }

    /// Takes the order that somebody knows, and returns a later one, which they do not know.
    pub fn exchange(&mut self, about: &K, heard: Option<Ordered<T>>) -> Option<Ordered<T>> {
        if let Some(heard) = heard.clone() {
            self.take(about.clone(), heard);
        }
        self.get(about).filter(|known| Some(*known) > heard.as_ref()).cloned()
    }

    /// Takes all orders that somebody knows; true if one was news.
    pub fn merge(&mut self, heard: &Self) -> bool {
        let news = heard.unknown_to(self);
        let is_news = !news.0.is_empty();
        self.0.extend(news.0);
        is_news
    }

    /// Those of which somebody knows none, or only earlier ones.
    pub fn unknown_to(&self, others: &Self) -> Self {
        let unknown = self.iter().filter(|(about, order)| others.get(about) < Some(*order));
        Self(unknown.map(|(about, order)| (about.clone(), order.clone())).collect())
    }

    /// Forgets the oldest ones beyond so many. Those about what is `spared` stay and do not count.
    pub fn forget_oldest(&mut self, orders_max: usize, spared: impl Fn(&K) -> bool) {
        if self.0.len() <= orders_max {
            return;
        }
        let others = self.0.iter().filter(|(about, _)| !spared(about));
        let mut others: Vec<_> = others.map(|(about, order)| (order.at, about.clone())).collect();
        others.sort_unstable();
        let excess = others.len().saturating_sub(orders_max);
        for (at, about) in others.into_iter().take(excess) {
            tracing::warn!(%about, %at, "forgetting an order of an operator: there are too many later ones");
            self.0.remove(&about);
        }
    }
}

impl<K: Ord, T> FromIterator<(K, Ordered<T>)> for Latest<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, Ordered<T>)>>(orders: I) -> Self {
        Self(orders.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
