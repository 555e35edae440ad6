//! The five kinds of process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use penstock_common::{clock::Clock, lifecycle::Tasks, net::Network};

use super::{Addresses, Drain, Reload, Role, Started};

/// How long a role waits for those that it reports to before it says that it is ready.
const SETTLE: Duration = Duration::from_secs(5);

pub struct Coordinator;
pub struct Executor;
pub struct ShuffleMaster;
pub struct ShuffleWorker;
pub struct HistoryServer;

impl Role for Coordinator {
    const SECTION: &'static str = "coordinator";
    type Config = penstock_coordinator::Config;

    async fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> anyhow::Result<Started<Self::Config>> {
        let handle = penstock_coordinator::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("rest", handle.rest), ("grpc", handle.grpc)]).into())
    }
}

impl Role for Executor {
    const SECTION: &'static str = "executor";
    type Config = penstock_executor::Config;

    async fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> anyhow::Result<Started<Self::Config>> {
        let handle = penstock_executor::start(config, network, clock, tasks).await?;
        let connected = handle.reached(penstock_executor::Status::Connected);
        tokio::time::timeout(SETTLE, connected).await.ok();
        Ok(Addresses::from([("http", handle.http)]).into())
    }
}

impl Role for ShuffleMaster {
    const SECTION: &'static str = "shuffle-master";
    type Config = penstock_shuffle_service::master::Config;

    async fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> anyhow::Result<Started<Self::Config>> {
        let handle = penstock_shuffle_service::master::start(config, network, clock, tasks).await?;
        let addresses = with_admin([("control", handle.control)], handle.admin);
        let reload: Reload<Self::Config> = Box::new(move |config| Ok(handle.reload(config)?));
        Ok(Started { reload: Some(reload), ..addresses.into() })
    }
}

impl Role for ShuffleWorker {
    const SECTION: &'static str = "shuffle-worker";
    type Config = penstock_shuffle_service::worker::Config;

    async fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> anyhow::Result<Started<Self::Config>> {
        let handle = penstock_shuffle_service::worker::start(config, network, clock, tasks).await?;
        // Once a master knows it, jobs find room. A master that comes later is no reason to wait here.
        tokio::time::timeout(SETTLE, handle.registered()).await.ok();
        let addresses = with_admin([("control", handle.control), ("data", handle.data)], handle.admin);
        let reloaded = handle.clone();
        let reload: Reload<Self::Config> = Box::new(move |config| Ok(reloaded.reload(config)?));
        let drain: Drain = Box::pin(async move { handle.drain().await });
        Ok(Started { reload: Some(reload), drain: Some(drain), ..addresses.into() })
    }
}

impl Role for HistoryServer {
    const SECTION: &'static str = "history-server";
    type Config = penstock_history_server::Config;

    async fn start(
        config: Self::Config,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> anyhow::Result<Started<Self::Config>> {
        let handle = penstock_history_server::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("http", handle.http_addr)]).into())
    }
}

fn with_admin<const N: usize>(
    addresses: [(&'static str, SocketAddr); N],
    admin: Option<SocketAddr>,
) -> Addresses {
    addresses.into_iter().chain(admin.map(|admin| ("admin", admin))).collect()
}
