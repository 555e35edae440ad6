//! What is compared: DataFusion in one process, and Penstock embedded and as real processes.
//!
//! Each engine takes a query and gives all its rows; the time is the caller's to measure.

use std::{path::Path, process::Command};

use anyhow::Context;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use penstock_cli::{
    client::{Client, Submission},
    embedded::{Cluster, Options, default_executor_memory, processors},
    job,
    progress::Progress,
    tpch::data::Table,
};

/// One DataFusion process: this one.
pub struct DataFusion {
    context: SessionContext,
}

impl DataFusion {
    pub async fn new(tables: &[Table], partitions: u32) -> anyhow::Result<Self> {
        let config = SessionConfig::new().with_target_partitions(partitions as usize);
        let context = SessionContext::new_with_config(config);
        for table in tables {
            let path = table.path.display().to_string();
            context.register_parquet(table.name, path, ParquetReadOptions::default()).await?;
        }
        Ok(Self { context })
    }

    pub async fn rows(&self, sql: &str) -> anyhow::Result<u64> {
        let batches = self.context.sql(sql).await?.collect().await?;
        Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
    }
}

/// A Penstock cluster, wherever it runs, through the REST path that every client takes.
pub struct Penstock {
    client: Client,
    partitions: u32,
}

impl Penstock {
    pub async fn new(url: &str, tables: &[Table], partitions: u32) -> anyhow::Result<Self> {
        let penstock = Self { client: Client::new(url)?, partitions };
        let statements: Vec<_> = tables.iter().map(Table::create_statement).collect();
        penstock.rows(&statements.join(";\n")).await.context("creating the tables")?;
        Ok(penstock)
    }

    /// Rows of the last result of the script.
    pub async fn rows(&self, sql: &str) -> anyhow::Result<u64> {
        let submission = Submission {
            sql: sql.to_owned(),
            name: Some("bench".to_owned()),
            settings: [("penstock.partitions".to_owned(), self.partitions.to_string())].into(),
            client: "cli".to_owned(),
            base_url: "file:///".to_owned(),
            ..Submission::default()
        };
        let submitted = self.client.submit(&submission).await?;
        let job = job::follow(&self.client, &submitted.job_id, &mut Progress::new(true)).await?;
        job::require_success(&job)?;
        let Some(statement) = job.statements.iter().rev().find(|statement| statement.has_result) else {
            return Ok(0);
        };
        let mut batches = self.client.results(&job.job_id, statement.index, None).await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await? {
            rows += batch.num_rows() as u64;
        }
        Ok(rows)
    }
}

/// A cluster inside this process.
pub async fn embedded(event_log: &Path) -> anyhow::Result<Cluster> {
    let options = Options {
        state: None,
        slots: processors().max(2),
        memory: None,
        event_log: event_log.to_owned(),
        history: None,
    };
    Cluster::start(options).await
}

/// A cluster of real processes, from the program beside this one; gone when dropped.
pub struct Processes {
    state: tempfile::TempDir,
    pub url: String,
}

impl Processes {
    pub fn up() -> anyhow::Result<Self> {
        let state = tempfile::Builder::new().prefix("penstock-bench-").tempdir()?;
        let memory = default_executor_memory().0.to_string();
        let output = Command::new(program()?)
            .args(["cluster", "up", "--port", "0", "--json", "--memory", &memory, "--state"])
            .arg(state.path())
            .output()
            .context("starting a cluster of processes")?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let cluster: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let url = cluster["url"].as_str().context("the cluster has no url")?.to_owned();
        Ok(Self { state, url })
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

fn program() -> anyhow::Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.parent().context("this program has a folder")?.join("penstock");
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: build it with the same profile first",
        program.display()
    );
    Ok(program)
}
