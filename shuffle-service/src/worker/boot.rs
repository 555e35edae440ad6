//! Steps of a worker's boot: what it is called, where others reach it, and what it serves.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use penstock_common::{
    clock::Clock,
    grpc, http,
    lifecycle::{OnFailure, Tasks},
    net::{Listener, Network},
    telemetry,
};
use penstock_protocol::{
    ids::{Incarnation, WorkerId},
    pb::shuffle_worker_server::ShuffleWorkerServer,
    shuffle::WorkerAddress,
    token::ClusterSecret,
};
use tokio::sync::oneshot;
use tonic::service::{Routes, interceptor::InterceptedService};

use super::{
    StartError,
    config::Config,
    control::Control,
    disks::Monitor,
    heartbeat::{Heartbeat, Reporter},
    recovery::Recovery,
    store::Store,
};
use crate::doorkeeper::Doorkeeper;

/// Reports to each master, on a task of its own.
pub(super) fn report(config: &Config, reporter: Reporter, network: &Arc<dyn Network>, tasks: &Tasks) {
    let reporter = Arc::new(reporter);
    for master in config.masters.iter().cloned().enumerate() {
        let interval = Duration::from_millis(config.heartbeat_interval_ms);
        let heartbeat = Heartbeat { reporter: Arc::clone(&reporter), master, interval };
        tasks.spawn("heartbeat", OnFailure::StopAll, heartbeat.run(Arc::clone(network), tasks.stop_token()));
    }
}

pub(super) fn name(config: &Config, data: &dyn Listener) -> io::Result<WorkerId> {
    let name = match config.name.as_str() {
        "" => format!("worker-{}", data.local_addr()?.port()),
        name => name.to_owned(),
    };
    Ok(WorkerId::new(name))
}

/// Later than every former life of which anything is left, even if the clock was set back.
pub(super) fn next_life(clock: &dyn Clock, recovery: &Recovery) -> Incarnation {
    let now = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    Incarnation(now.max(recovery.last_life.map_or(0, |last| last.0 + 1)))
}

pub(super) fn address(
    config: &Config,
    worker: WorkerId,
    incarnation: Incarnation,
    control: &dyn Listener,
    data: &dyn Listener,
) -> io::Result<WorkerAddress> {
    let (control, data) = (control.local_addr()?, data.local_addr()?);
    Ok(WorkerAddress { worker, incarnation, control: reach(config, control), data: reach(config, data) })
}

/// Where others reach what listens on `address`.
pub(super) fn reach(config: &Config, address: SocketAddr) -> String {
    match config.advertise_host.as_str() {
        "" => address.to_string(),
        host => format!("{host}:{}", address.port()),
    }
}

/// Watches each disk, and returns when the room on each one is known that answers.
pub(super) async fn watch_disks(store: &Arc<Store>, tasks: &Tasks) {
    let first_looks = (0..store.disks.volumes.len()).map(|disk| {
        let (looked, first_look) = oneshot::channel();
        let monitor = Monitor { store: Arc::clone(store), disk };
        tasks.spawn("disk-monitor", OnFailure::StopAll, monitor.run(looked, tasks.stop_token()));
        tokio::time::timeout(store.disks.hang(), first_look)
    });
    futures::future::join_all(first_looks).await;
}

pub(super) fn serve_control(
    listener: Box<dyn Listener>,
    control: Control,
    secret: Option<ClusterSecret>,
    tasks: &Tasks,
) {
    let server = ShuffleWorkerServer::new(control)
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let server = InterceptedService::new(server, Doorkeeper::new(secret));
    let serve = grpc::serve(listener, Routes::new(server), tasks.stop_token());
    tasks.spawn("control", OnFailure::StopAll, serve);
}

pub(super) async fn serve_admin(
    config: &Config,
    network: &dyn Network,
    routes: Router,
    tasks: &Tasks,
) -> Result<Option<SocketAddr>, StartError> {
    if config.admin_listen.is_empty() {
        return Ok(None);
    }
    let listener = network.bind(&config.admin_listen).await.map_err(StartError::Bind)?;
    let address = listener.local_addr().map_err(StartError::Bind)?;
    telemetry::prometheus();
    tasks.spawn("admin", OnFailure::StopAll, http::serve(listener, routes, tasks.stop_token()));
    Ok(Some(address))
}
