//! What is compared: DataFusion in one process, and Penstock in several layouts.
//!
//! Each engine takes a query and counts its rows; the time is the caller's to measure.

mod clusters;
mod datafusion;
mod penstock;

use std::{fmt, time::Instant};

use anyhow::Context;
use clap::ValueEnum;
use penstock_cli::tpch::data::Table;
use penstock_common::bytes::ByteSize;
use penstock_shuffle_bench::usage;
use serde::{Deserialize, Serialize};

use self::{clusters::Cluster, datafusion::DataFusion, penstock::Penstock};
use crate::host::Exchanges;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One DataFusion process
    #[value(name = "datafusion")]
    DataFusion,
    /// All roles in one process, the shuffle service too
    Embedded,
    /// Each role as a process
    Processes,
    /// Coordinator and executors in one process, where exchanges hand over batches as they are
    Memory,
    /// The same, but batches are encoded and decoded as if they left it
    Encoded,
    /// The same, with the shuffle service as real processes
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.to_possible_value();
        f.pad(shown.as_ref().map_or("?", |value| value.get_name()))
    }
}

/// How large the clusters are. What is not set is as in `penstock cluster up`.
#[derive(Debug, Clone, clap::Args)]
pub struct Sizes {
    /// Partitions of each exchange, and target partitions of DataFusion [default: the processors]
    #[arg(long)]
    pub partitions: Option<u32>,
    /// Memory of each executor
    #[arg(long)]
    pub memory: Option<ByteSize>,
    /// Memory of each shuffle worker of `service`
    #[arg(long)]
    pub shuffle_memory: Option<ByteSize>,
    /// How `service` compresses: auto, none, lz4 or zstd
    #[arg(long)]
    pub codec: Option<String>,
}

/// One run of a query.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub rows: u64,
    pub seconds: f64,
    /// Of all processes of the engine.
    pub cpu_seconds: f64,
    /// Payloads that went through exchanges.
    pub shuffled_bytes: u64,
}

/// An engine with the tables.
pub struct Engine {
    pub kind: Kind,
    runs: Runs,
    processes: Vec<u32>,
}

enum Runs {
    DataFusion(DataFusion),
    Penstock(Penstock, Cluster),
}

impl Engine {
    pub async fn start(kind: Kind, sizes: &Sizes, tables: &[Table]) -> anyhow::Result<Self> {
        let cluster = match kind {
            Kind::DataFusion => {
                let runs = Runs::DataFusion(DataFusion::new(tables, sizes.partitions()).await?);
                return Ok(Self { kind, runs, processes: vec![std::process::id()] });
            }
            Kind::Embedded => Cluster::embedded(sizes).await,
            Kind::Processes => Cluster::processes(sizes),
            Kind::Memory => Cluster::host(Exchanges::Batches, sizes),
            Kind::Encoded => Cluster::host(Exchanges::Payloads, sizes),
            Kind::Service => Cluster::host(Exchanges::Service, sizes),
        };
        let cluster = cluster.with_context(|| format!("starting the cluster of `{kind}`"))?;
        let penstock = Penstock::new(&cluster.url(), tables, sizes.partitions()).await?;
        let processes = cluster.process_ids();
        Ok(Self { kind, runs: Runs::Penstock(penstock, cluster), processes })
    }

    pub async fn run(&self, sql: &str) -> anyhow::Result<Run> {
        let (cpu_before, started) = (self.cpu_seconds()?, Instant::now());
        let ran = match &self.runs {
            Runs::DataFusion(datafusion) => datafusion.rows(sql).await.map(|rows| (rows, 0)),
            Runs::Penstock(penstock, _) => penstock.run(sql).await,
        };
        let (rows, shuffled_bytes) = ran.with_context(|| format!("{}: {sql}", self.kind))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Run { rows, seconds, cpu_seconds: self.cpu_seconds()? - cpu_before, shuffled_bytes })
    }

    pub async fn stop(self) {
        if let Runs::Penstock(_, cluster) = self.runs {
            cluster.stop().await;
        }
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(|process| usage::cpu_seconds(*process)).sum()
    }
}

impl Sizes {
    pub fn partitions(&self) -> u32 {
        self.partitions.unwrap_or_else(penstock_cli::embedded::processors)
    }

    pub fn executor_memory(&self) -> ByteSize {
        self.memory.unwrap_or_else(penstock_cli::embedded::default_executor_memory)
    }
}
