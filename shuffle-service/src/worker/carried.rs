//! What operators said to masters that means nothing to this worker: it carries it from one to the other. Pure.

use crate::ordered::{ExclusionOrder, ORDERS_MAX, QuotaOrders};

#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    /// Of this worker.
    pub exclusion: Option<ExclusionOrder>,
    pub quotas: QuotaOrders,
}

impl Carried {
    /// Takes what a master said. Another one may have said something later meanwhile.
    pub fn take(&mut self, exclusion: Option<ExclusionOrder>, quotas: &QuotaOrders) {
        self.exclusion = self.exclusion.take().max(exclusion);
        self.quotas.merge(quotas);
        self.quotas.forget_oldest(ORDERS_MAX, |_| false);
    }
}

#[cfg(test)]
mod tests {
    use penstock_common::clock::Timestamp;

    use super::*;
    use crate::ordered::Ordered;

    fn order<T>(millis: i64, what: T) -> Ordered<T> {
        Ordered { at: Timestamp::from_millis(millis), what }
    }

    #[test]
    fn the_latest_is_carried_whichever_master_said_it() {
        let mut carried = Carried::default();
        let quotas = |millis| QuotaOrders::from_iter([("ann".to_owned(), order(millis, None))]);
        carried.take(Some(order(2, None)), &quotas(2));
        carried.take(Some(order(1, None)), &quotas(1));
        carried.take(None, &QuotaOrders::default());
        assert_eq!((carried.exclusion, carried.quotas), (Some(order(2, None)), quotas(2)));
    }

    #[test]
    fn only_so_many_quotas_are_carried_and_the_oldest_is_dropped() {
        let mut carried = Carried::default();
        let quotas = |from: usize| (from..=ORDERS_MAX).map(|n| (format!("u{n}"), order(n as i64, None)));
        carried.take(None, &quotas(0).collect());
        assert_eq!(carried.quotas, quotas(1).collect());
    }
}
