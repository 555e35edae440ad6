//! The layouts of a cluster: inside this process, as one process for each role, or around a [`Host`].

use std::process::Command;

use anyhow::Context;
use penstock_cli::embedded::{self, Options, processors};
use penstock_common::bytes::ByteSize;
use tempfile::TempDir;

use super::Sizes;
use crate::host::{Exchanges, Host, program};

pub enum Cluster {
    /// With the folder of its event log.
    Embedded(embedded::Cluster, TempDir),
    Processes(Processes),
    Host(Host),
}

impl Cluster {
    pub async fn embedded(sizes: &Sizes) -> anyhow::Result<Self> {
        let events = tempfile::tempdir()?;
        let options = Options {
            state: None,
            slots: processors().max(2),
            memory: Some(ByteSize(sizes.executor_memory().0 * u64::from(embedded::EXECUTORS))),
            event_log: events.path().to_owned(),
            history: None,
        };
        Ok(Self::Embedded(embedded::Cluster::start(options).await?, events))
    }

    pub fn processes(sizes: &Sizes) -> anyhow::Result<Self> {
        Processes::up(sizes).map(Self::Processes)
    }

    pub fn host(exchanges: Exchanges, sizes: &Sizes) -> anyhow::Result<Self> {
        Host::up(exchanges, sizes).map(Self::Host)
    }

    pub fn url(&self) -> String {
        match self {
            Self::Embedded(cluster, _) => cluster.url(),
            Self::Processes(processes) => processes.url.clone(),
            Self::Host(host) => host.url.clone(),
        }
    }

    pub fn process_ids(&self) -> Vec<u32> {
        match self {
            Self::Embedded(..) => vec![std::process::id()],
            Self::Processes(processes) => processes.ids.clone(),
            Self::Host(host) => host.process_ids(),
        }
    }

    pub async fn stop(self) {
        if let Self::Embedded(cluster, events) = self {
            cluster.stop().await;
            drop(events);
        }
    }
}

/// A cluster of real processes, from the program beside this one; gone when dropped.
pub struct Processes {
    state: TempDir,
    url: String,
    ids: Vec<u32>,
}

impl Processes {
    fn up(sizes: &Sizes) -> anyhow::Result<Self> {
        let state = tempfile::Builder::new().prefix("penstock-bench-").tempdir()?;
        let memory = sizes.executor_memory().0.to_string();
        let output = Command::new(program()?)
            .args(["cluster", "up", "--port", "0", "--json", "--memory", &memory, "--state"])
            .arg(state.path())
            .output()
            .context("starting a cluster of processes")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let cluster: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let url = cluster["url"].as_str().context("the cluster has no url")?.to_owned();
        let processes = cluster["processes"].as_array().context("the cluster has no processes")?;
        let id = |process: &serde_json::Value| process["pid"].as_u64()?.try_into().ok();
        let ids = processes.iter().filter_map(id).collect();
        Ok(Self { state, url, ids })
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let down = program().map(|program| {
            Command::new(program)
                .args(["cluster", "down", "--quiet", "--state"])
                .arg(self.state.path())
                .status()
        });
        if !matches!(down, Ok(Ok(status)) if status.success()) {
            eprintln!("the cluster in {} was not stopped", self.state.path().display());
        }
    }
}
