//! How the orders that workers carry look on the wire.

use penstock_common::{bytes::ByteSize, clock::Timestamp};
use penstock_protocol::pb;

use super::{DrainOrder, Exclusion, ExclusionOrder, Ordered, QuotaOrders};
use crate::master::Limit;

impl From<pb::ExclusionOrder> for ExclusionOrder {
    fn from(order: pb::ExclusionOrder) -> Self {
        let until = (order.until_ms > 0).then(|| Timestamp::from_millis(order.until_ms));
        let what = until.map(|until| Exclusion { until, reason: order.reason });
        Self { at: Timestamp::from_millis(order.at_ms), what }
    }
}

impl From<ExclusionOrder> for pb::ExclusionOrder {
    fn from(order: ExclusionOrder) -> Self {
        let (until_ms, reason) =
            order.what.map_or_else(Default::default, |what| (what.until.as_millis(), what.reason));
        Self { at_ms: order.at.as_millis(), until_ms, reason }
    }
}

impl DrainOrder {
    /// From the two fields of a message.
    pub fn decode(what: i32, at_ms: i64) -> Option<Self> {
        let what = match pb::DrainOrder::try_from(what) {
            Ok(pb::DrainOrder::Drain) => true,
            Ok(pb::DrainOrder::Serve) => false,
            Ok(pb::DrainOrder::None) | Err(_) => return None,
        };
        Some(Self { at: Timestamp::from_millis(at_ms), what })
    }

    pub fn encode(order: Option<Self>) -> (i32, i64) {
        let what = match order.map(|order| order.what) {
            None => pb::DrainOrder::None,
            Some(true) => pb::DrainOrder::Drain,
            Some(false) => pb::DrainOrder::Serve,
        };
        (what.into(), order.map_or(0, |order| order.at.as_millis()))
    }
}

impl QuotaOrders {
    pub fn decode(orders: Vec<pb::QuotaOrder>) -> Self {
        let orders = orders.into_iter().map(|order| {
            let limit =
                |limit: pb::QuotaLimit| Limit { bytes: ByteSize(limit.bytes), locations: limit.locations };
            let (at, what) = (Timestamp::from_millis(order.at_ms), order.limit.map(limit));
            (order.user, Ordered { at, what })
        });
        orders.collect()
    }

    pub fn encode(&self) -> Vec<pb::QuotaOrder> {
        let orders = self.iter().map(|(user, order)| {
            let limit =
                |limit: Limit| pb::QuotaLimit { bytes: limit.bytes.as_u64(), locations: limit.locations };
            pb::QuotaOrder { at_ms: order.at.as_millis(), user: user.clone(), limit: order.what.map(limit) }
        });
        orders.collect()
    }
}
