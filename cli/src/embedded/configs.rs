//! The configuration of each role of an embedded cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use penstock_common::bytes::ByteSize;

use super::{EXECUTORS, default_executor_memory};

const ANY_PORT: &str = "127.0.0.1:0";

pub struct Options {
    /// Where catalog and store are kept; in the temporary folder if none.
    pub state: Option<PathBuf>,
    /// Tasks that run at the same time, over all executors.
    pub slots: u32,
    /// Memory of all executors together.
    pub memory: Option<ByteSize>,
    pub event_log: PathBuf,
    /// Port of the history server, if there is to be one.
    pub history: Option<u16>,
}

pub fn shuffle_master() -> penstock_shuffle_service::master::Config {
    penstock_shuffle_service::master::Config {
        control_listen: ANY_PORT.to_owned(),
        admin_listen: String::new(),
        ..Default::default()
    }
}

pub fn shuffle_worker(
    number: u32,
    master: SocketAddr,
    scratch: &Path,
) -> penstock_shuffle_service::worker::Config {
    penstock_shuffle_service::worker::Config {
        name: format!("worker-{number}"),
        masters: vec![master.to_string()],
        control_listen: ANY_PORT.to_owned(),
        data_listen: ANY_PORT.to_owned(),
        admin_listen: String::new(),
        data_dirs: vec![scratch.join("shuffle")],
        // The folder goes with this process.
        keep_data: false,
        ..Default::default()
    }
}

pub fn coordinator(
    options: &Options,
    master: SocketAddr,
    history: Option<SocketAddr>,
    scratch: &Path,
) -> penstock_coordinator::Config {
    let state_dir = options.state.clone().unwrap_or_else(|| scratch.to_owned()).join("coordinator");
    penstock_coordinator::Config {
        rest_addr: ANY_PORT.to_owned(),
        grpc_addr: ANY_PORT.to_owned(),
        history_url: history.map(|addr| format!("http://{addr}")).unwrap_or_default(),
        event_log: options.event_log.display().to_string(),
        shuffle_masters: vec![master.to_string()],
        state_dir,
        ..Default::default()
    }
}

pub fn executor(
    options: &Options,
    number: u32,
    coordinator: SocketAddr,
    scratch: &Path,
) -> penstock_executor::Config {
    let memory = options.memory.map(|memory| ByteSize(memory.0 / u64::from(EXECUTORS)));
    penstock_executor::Config {
        name: format!("executor-{number}"),
        coordinator_addr: coordinator.to_string(),
        http_addr: ANY_PORT.to_owned(),
        slots: share(options.slots, number),
        cpu_threads: share(options.slots, number) as usize,
        memory: memory.unwrap_or_else(default_executor_memory),
        scratch_dir: scratch.join("executors"),
        drain_seconds: 2,
        ..Default::default()
    }
}

/// Splits the slots evenly; each executor gets one at least.
fn share(slots: u32, number: u32) -> u32 {
    let extra = u32::from(number <= slots % EXECUTORS);
    (slots / EXECUTORS + extra).max(1)
}

pub fn history_server(options: &Options, port: u16) -> penstock_history_server::Config {
    penstock_history_server::Config {
        listen: format!("127.0.0.1:{port}"),
        event_log: options.event_log.display().to_string(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_executor_has_a_slot_and_together_they_have_those_asked_for() {
        let shares = |slots| [share(slots, 1), share(slots, 2)];
        assert_eq!([shares(1), shares(2), shares(5)], [[1, 1], [1, 1], [3, 2]]);
    }
}
