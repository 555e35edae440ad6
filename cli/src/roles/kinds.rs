//! The five kinds of process.

use std::sync::Arc;

use penstock_common::{clock::Clock, lifecycle::Tasks, net::Network};

use super::{Addresses, Role};

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
    ) -> anyhow::Result<Addresses> {
        let handle = penstock_coordinator::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("rest", handle.rest), ("grpc", handle.grpc)]))
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
    ) -> anyhow::Result<Addresses> {
        penstock_executor::start(config, network, clock, tasks).await?;
        Ok(Addresses::new())
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
    ) -> anyhow::Result<Addresses> {
        let handle = penstock_shuffle_service::master::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("grpc", handle.grpc)]))
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
    ) -> anyhow::Result<Addresses> {
        let handle = penstock_shuffle_service::worker::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("control", handle.control), ("data", handle.data)]))
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
    ) -> anyhow::Result<Addresses> {
        let handle = penstock_history_server::start(config, network, clock, tasks).await?;
        Ok(Addresses::from([("http", handle.http_addr)]))
    }
}
