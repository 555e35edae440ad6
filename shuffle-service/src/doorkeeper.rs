//! Turns control calls away that do not show the cluster's secret: with a counter, and one line for each host that tries.

use std::{net::IpAddr, sync::Arc};

use penstock_common::grpc::PeerAddr;
use penstock_protocol::{credentials::Admission, token::ClusterSecret};
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

    fn note(&self, host: Option<IpAddr>, status: &Status) {
        metrics::denied_call();
        if self.turned_away.is_news(host) {
            tracing::warn!(?host, reason = status.message(), "a control call was turned away");
        }
    }
}

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let host = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
        self.admission.call(request).inspect_err(|status| self.note(host, status))
    }
}
