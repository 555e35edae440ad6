//! Which limits are in force: those of the configuration, and over them what operators said of users at run time. Pure.

use penstock_common::clock::Timestamp;

use super::quotas::{Limit, Limits};
use crate::ordered::{ORDERS_MAX, QuotaOrders};

#[derive(Debug)]
pub(super) struct InForce {
    configured: Limits,
    /// In force until they are taken back, whatever the configuration says meanwhile.
    orders: QuotaOrders,
    limits: Limits,
}

impl InForce {
    pub fn new(configured: Limits) -> Self {
        Self { limits: configured.clone(), configured, orders: QuotaOrders::default() }
    }

    pub fn configure(&mut self, configured: Limits) {
        self.configured = configured;
        self.overlay();
    }

    /// An operator's order; none: what is configured counts again.
    pub fn order(&mut self, now: Timestamp, user: String, limit: Option<Limit>) {
        self.orders.say(now, user, limit);
        self.overlay();
    }

    /// Takes what a worker heard of, and returns what it did not.
    pub fn hear(&mut self, heard: &QuotaOrders) -> QuotaOrders {
        if self.orders.merge(heard) {
            self.overlay();
        }
        self.orders.unknown_to(heard)
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the limit of a user was set, if it was at run time.
    pub fn ordered_at(&self, user: &String) -> Option<Timestamp> {
        self.orders.get(user).filter(|order| order.what.is_some()).map(|order| order.at)
    }

    fn overlay(&mut self) {
        self.orders.forget_oldest(ORDERS_MAX, |_| false);
        self.limits = self.configured.clone();
        let ordered = self.orders.iter().filter_map(|(user, order)| Some((user.clone(), order.what?)));
        self.limits.users.extend(ordered);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use penstock_common::bytes::ByteSize;

    use super::*;
    use crate::ordered::Ordered;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn limit(bytes: u64) -> Limit {
        Limit { bytes: ByteSize(bytes), locations: 0 }
    }

    fn configured(eve: u64) -> Limits {
        let users = BTreeMap::from([("eve".to_owned(), limit(eve))]);
        Limits { job: limit(1), user: limit(10), users }
    }

    #[test]
    fn an_order_counts_over_the_configuration_until_it_is_taken_back() {
        let mut quotas = InForce::new(configured(20));
        quotas.order(at(1), "eve".into(), Some(limit(30)));
        quotas.order(at(1), "ann".into(), Some(limit(40)));
        quotas.configure(configured(25));
        assert_eq!((quotas.limits().of("eve"), quotas.limits().of("ann")), (limit(30), limit(40)));
        assert_eq!(quotas.ordered_at(&"eve".into()), Some(at(1)));
        quotas.order(at(2), "eve".into(), None);
        quotas.order(at(2), "ann".into(), None);
        assert_eq!((quotas.limits().of("eve"), quotas.limits().of("ann")), (limit(25), limit(10)));
        assert_eq!(quotas.ordered_at(&"eve".into()), None);
    }

    #[test]
    fn masters_between_which_a_worker_carries_orders_come_to_the_same_limits() {
        let (mut one, mut other) = (InForce::new(configured(20)), InForce::new(configured(20)));
        let mut carried = QuotaOrders::default();
        one.order(at(1), "eve".into(), Some(limit(30)));
        other.order(at(1), "ann".into(), Some(limit(40)));
        other.order(at(2), "eve".into(), Some(limit(50)));
        for _ in 0..2 {
            for master in [&mut one, &mut other] {
                carried.merge(&master.hear(&carried));
            }
        }
        assert_eq!(one.limits(), other.limits());
        assert_eq!((one.limits().of("eve"), one.limits().of("ann")), (limit(50), limit(40)));
        assert_eq!(one.hear(&carried), QuotaOrders::default(), "it has heard all");
        let mut empty = InForce::new(configured(20));
        empty.hear(&carried);
        assert_eq!(empty.limits(), one.limits());
        one.order(at(3), "eve".into(), None);
        carried.merge(&one.hear(&carried));
        empty.hear(&carried);
        assert_eq!(empty.limits().of("eve"), limit(20));
    }

    #[test]
    fn only_so_many_orders_are_in_force() {
        let mut quotas = InForce::new(configured(20));
        let carried = (0..=ORDERS_MAX).map(|n| (format!("u{n}"), n as i64));
        let carried = carried.map(|(user, millis)| (user, Ordered { at: at(millis), what: Some(limit(1)) }));
        quotas.hear(&carried.collect());
        assert_eq!(quotas.limits().of("u0"), limit(10), "the oldest one is forgotten");
        assert_eq!(quotas.limits().of("u1"), limit(1));
        assert_eq!(quotas.limits().users.len(), ORDERS_MAX + 1, "and the configured one");
    }
}
