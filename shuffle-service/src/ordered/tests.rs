#![allow(clippy::unwrap_used)]

use penstock_protocol::pb;
use proptest::prelude::*;

use super::*;

type Orders = Latest<String, u8>;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn order(at_ms: i64, what: u8) -> Ordered<u8> {
    Ordered { at: at(at_ms), what }
}

fn of(orders: &[(&str, i64, u8)]) -> Orders {
    orders.iter().map(|(about, at_ms, what)| ((*about).to_owned(), order(*at_ms, *what))).collect()
}

#[test]
fn the_latest_order_counts_in_whichever_sequence_they_are_heard() {
    for sequence in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let mut known = Orders::default();
        for at_ms in sequence {
            known.take("a".into(), order(at_ms, 0));
        }
        assert_eq!(known, of(&[("a", 3, 0)]), "{sequence:?}");
    }
}

#[test]
fn of_orders_with_one_time_all_take_the_same_and_none_is_news_again() {
    let (mut one, mut other) = (of(&[("a", 5, 1)]), of(&[("a", 5, 2)]));
    assert!(one.merge(&other.clone()));
    assert!(!other.merge(&of(&[("a", 5, 1)])));
    assert_eq!((&one, &other), (&of(&[("a", 5, 2)]), &of(&[("a", 5, 2)])));
    assert!(!one.merge(&other));
    assert_eq!(one.unknown_to(&other), Orders::default());
}

#[test]
fn what_is_said_counts_over_what_is_known_even_if_another_clock_is_ahead() {
    let mut known = of(&[("a", 50, 1)]);
    known.say(at(10), "a".into(), 0);
    known.say(at(10), "b".into(), 7);
    assert_eq!(known, of(&[("a", 51, 0), ("b", 10, 7)]));
}

#[test]
fn an_exchange_takes_what_is_later_and_returns_what_is_later_still() {
    let mut known = Orders::default();
    let about = "a".to_owned();
    assert_eq!(known.exchange(&about, None), None);
    assert_eq!(known.exchange(&about, Some(order(2, 0))), None);
    assert_eq!(known.exchange(&about, Some(order(2, 0))), None);
    assert_eq!(known.exchange(&about, Some(order(1, 9))), Some(order(2, 0)));
    assert_eq!(known.exchange(&about, None), Some(order(2, 0)));
}

#[test]
fn the_oldest_are_forgotten_beyond_so_many_and_the_spared_are_not() {
    let mut known = of(&[("a", 4, 0), ("b", 1, 0), ("c", 3, 0), ("d", 2, 0)]);
    known.forget_oldest(4, |_| false);
    assert_eq!(known.iter().count(), 4);
    known.forget_oldest(2, |about| about == "b");
    assert_eq!(known, of(&[("a", 4, 0), ("b", 1, 0), ("c", 3, 0)]));
    known.forget_oldest(1, |_| false);
    assert_eq!(known, of(&[("a", 4, 0)]));
}

fn orders() -> impl Strategy<Value = Orders> {
    prop::collection::btree_map("[a-d]", (0..4i64, 0..3u8), 0..4).prop_map(|orders| {
        orders.into_iter().map(|(about, (at_ms, what))| (about, order(at_ms, what))).collect()
    })
}

proptest! {
    #[test]
    fn merging_comes_to_the_same_in_any_sequence(a in orders(), b in orders(), c in orders()) {
        let merged = |sequence: [&Orders; 4]| {
            let mut known = Orders::default();
            for heard in sequence {
                known.merge(heard);
            }
            known
        };
        let all = merged([&a, &b, &c, &a]);
        prop_assert_eq!(&all, &merged([&c, &b, &a, &b]));
        // What one does not know, told alone, is enough.
        let mut told = a.clone();
        told.merge(&all.unknown_to(&a));
        prop_assert_eq!(told, all);
    }
}

#[test]
fn orders_come_over_the_wire_as_they_were() {
    let exclusion = Exclusion { until: at(9), reason: "disk swap".into() };
    for what in [Some(exclusion), None] {
        let order = Ordered { at: at(5), what };
        assert_eq!(ExclusionOrder::from(pb::ExclusionOrder::from(order.clone())), order);
    }
    for order in [None, Some(true), Some(false)].map(|what| what.map(|what| Ordered { at: at(5), what })) {
        let (what, at_ms) = DrainOrder::encode(order);
        assert_eq!(DrainOrder::decode(what, at_ms), order);
    }
    let mut quotas = QuotaOrders::default();
    quotas.say(at(5), "ann".into(), Some(Limit { bytes: penstock_common::bytes::ByteSize(7), locations: 0 }));
    quotas.say(at(6), "eve".into(), None);
    assert_eq!(QuotaOrders::decode(quotas.encode()), quotas);
}
