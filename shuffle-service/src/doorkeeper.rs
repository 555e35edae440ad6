//! Turns away who does not show that they belong to the cluster: with a counter, and one line for each host that tries.

use std::{net::IpAddr, sync::Arc};

use penstock_common::net::PeerAddr;
use penstock_protocol::{
    credentials::{Admission, NotAdmitted},
    token::{ClusterSecret, Purpose},
};
use tonic::{Request, Status, service::Interceptor};

use crate::{metrics, told::Told};

#[derive(Debug, Clone)]
pub(crate) struct Doorkeeper {
    admission: Admission,
    turned_away: Arc<Told<Option<IpAddr>>>,
}

impl Doorkeeper {
    pub fn new(secret: Option<ClusterSecret>) -> Self {
        Self { admission: Admission(secret), turned_away: Arc::default() }
    }

    /// Whether somebody on `host` who shows this token, or none, may give orders.
    pub fn admits_order(&self, host: Option<IpAddr>, shown: Option<&[u8]>) -> Result<(), NotAdmitted> {
        let admitted = self.admission.check(Purpose::Order, shown);
        admitted.inspect_err(|refused| {
            if self.is_news(host) {
                tracing::warn!(?host, shown = refused.shown(), "an order was turned away");
            }
        })
    }

    /// Counts somebody who is turned away; whether their host is to be told of.
    fn is_news(&self, host: Option<IpAddr>) -> bool {
        metrics::denied_call();
        self.turned_away.is_news(host)
    }
}

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let host = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
        self.admission.call(request).inspect_err(|status| {
            if self.is_news(host) {
                tracing::warn!(?host, reason = status.message(), "a control call was turned away");
            }
        })
    }
}
