//! The roles inside the process of a host.

use std::sync::Arc;

use penstock_cli::embedded::EXECUTORS;
use penstock_common::{
    clock::{Clock, SystemClock},
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_coordinator as coordinator;
use penstock_engine::{exchange::store::ShuffleStore, settings::SHUFFLE_CODEC};
use penstock_executor as executor;

use super::{Exchanges, Settings, in_memory::InMemory};

const ANY_PORT: &str = "127.0.0.1:0";
/// There is nobody: nothing asks for it.
const NO_MASTER: &str = "127.0.0.1:1";

/// Gives the coordinator's URL when all executors have connected.
pub async fn start(settings: &Settings) -> anyhow::Result<String> {
    let tasks = Tasks::new("host");
    let shuffle = match settings.exchanges {
        Exchanges::Batches => Some(InMemory::of_batches()),
        Exchanges::Payloads => Some(InMemory::of_payloads()),
        Exchanges::Service => None,
    };
    let parts = coordinator::Parts {
        shuffles: shuffle.clone().map(|shuffle| Arc::new(shuffle) as _),
        ..coordinator::Parts::default()
    };
    let (network, clock) = outside();
    let started = coordinator::start_with(
        coordinator_config(settings),
        network,
        clock,
        tasks.child("coordinator"),
        parts,
    );
    let coordinator = started.await?;
    for number in 1..=EXECUTORS {
        let store = shuffle.clone().map(|shuffle| Arc::new(shuffle) as Arc<dyn ShuffleStore>);
        let parts = executor::Parts { store, ..executor::Parts::default() };
        let config = executor_config(settings, number, coordinator.grpc.to_string());
        let (network, clock) = outside();
        let tasks = tasks.child(format!("executor-{number}"));
        let executor = executor::start_with(config, network, clock, tasks, parts).await?;
        executor.reached(executor::Status::Connected).await;
    }
    Ok(format!("http://{}", coordinator.rest))
}

fn outside() -> (Arc<dyn Network>, Arc<dyn Clock>) {
    (Arc::new(Tcp), Arc::new(SystemClock))
}

fn coordinator_config(settings: &Settings) -> coordinator::Config {
    let codec = settings.codec.clone().map(|codec| (SHUFFLE_CODEC.to_owned(), codec));
    coordinator::Config {
        rest_addr: ANY_PORT.to_owned(),
        grpc_addr: ANY_PORT.to_owned(),
        state_dir: settings.folder.join("coordinator"),
        shuffle_masters: vec![settings.master.clone().unwrap_or_else(|| NO_MASTER.to_owned())],
        settings: codec.into_iter().collect(),
        ..coordinator::Config::default()
    }
}

fn executor_config(settings: &Settings, number: u32, coordinator: String) -> executor::Config {
    executor::Config {
        name: format!("executor-{number}"),
        coordinator_addr: coordinator,
        http_addr: ANY_PORT.to_owned(),
        slots: settings.slots_per_executor,
        cpu_threads: settings.slots_per_executor as usize,
        memory: settings.memory,
        scratch_dir: settings.folder.join("scratch"),
        ..executor::Config::default()
    }
}
