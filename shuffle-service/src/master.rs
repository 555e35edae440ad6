//! The master role: membership, placement, quotas and expiry, served over gRPC, and an admin view over HTTP.
//!
//! [`state`] decides, without I/O or clock; [`service`] and [`admin`] decode, call and encode.
//!
//! It keeps nothing on disk: a new master learns everything from the workers' next reports, and ends no job's data until
//! it knows positively that the job has ended (invariant 26).

mod admin;
mod asking;
mod config;
mod exclusions;
mod leases;
mod limits;
mod locations;
mod members;
mod placement;
mod quotas;
mod service;
mod state;

use std::{io, net::SocketAddr, sync::Arc};

use axum::Router;
use penstock_common::{
    clock::Clock,
    config::Reloaded,
    grpc, http,
    lifecycle::{OnFailure, Tasks},
    net::{
        Network,
        tls::{self, TlsError},
    },
    telemetry,
};
use penstock_protocol::{
    credentials::Credentials,
    pb::shuffle_master_server::ShuffleMasterServer,
    token::{ClusterSecret, SecretError},
};
use tonic::service::{Routes, interceptor::InterceptedService};

use self::{asking::Asking, service::Service};
pub use self::{
    config::{Config, InvalidConfig},
    placement::Policy,
    quotas::Limit,
};
use crate::{doorkeeper::Doorkeeper, order_guard};

/// Why a master did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(io::Error),
}

/// A running master. It runs until the `tasks` that it was started with stop.
#[derive(Debug, Clone)]
pub struct Handle {
    pub control: SocketAddr,
    pub admin: Option<SocketAddr>,
    service: Arc<Service>,
}

impl Handle {
    /// Takes new settings, as far as they can change at run time; says which did and which would need a restart.
    pub fn reload(&self, config: Config) -> Result<Reloaded, InvalidConfig> {
        self.service.reload(config)
    }
}

pub async fn start(
    config: Config,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<Handle, StartError> {
    config.validate()?;
    if !config.log_filter.is_empty() {
        telemetry::filter_logs(&config.log_filter);
    }
    let secret = ClusterSecret::load(&config.cluster_secret_file)?;
    // Metrics and the admin view are read by tools: they stay plain.
    let admin_network = Arc::clone(&network);
    let network = tls::wrap(network, &config.tls, &tasks)?;
    let listener = network.bind(&config.control_listen).await.map_err(StartError::Bind)?;
    let control = listener.local_addr().map_err(StartError::Bind)?;
    let tasks = tasks.child("shuffle-master");
    let service = Arc::new(Service::new(config.clone(), clock));
    let asking = Asking { network, credentials: Credentials::new(secret.as_ref()) };
    let routes = order_guard::guarded(admin::routes(Arc::clone(&service), asking), secret.clone());
    let admin = serve_admin(&config, admin_network.as_ref(), routes, &tasks).await?;
    let server = ShuffleMasterServer::from_arc(Arc::clone(&service))
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let server = InterceptedService::new(server, Doorkeeper::new(secret));
    tasks.spawn(
        "control",
        OnFailure::StopAll,
        grpc::serve(listener, Routes::new(server), tasks.stop_token()),
    );
    tracing::info!(%control, "shuffle master started");
    Ok(Handle { control, admin, service })
}

async fn serve_admin(
    config: &Config,
    admin_network: &dyn Network,
    routes: Router,
    tasks: &Tasks,
) -> Result<Option<SocketAddr>, StartError> {
    if config.admin_listen.is_empty() {
        return Ok(None);
    }
    let listener = admin_network.bind(&config.admin_listen).await.map_err(StartError::Bind)?;
    let address = listener.local_addr().map_err(StartError::Bind)?;
    telemetry::prometheus();
    tasks.spawn("admin", OnFailure::StopAll, http::serve(listener, routes, tasks.stop_token()));
    Ok(Some(address))
}
