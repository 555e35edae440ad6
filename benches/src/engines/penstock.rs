//! A Penstock cluster, wherever it runs, through the REST path that every client takes.

use anyhow::Context;
use penstock_cli::{
    client::{Client, Submission},
    job,
    progress::Progress,
    tpch::data::Table,
};

pub struct Penstock {
    client: Client,
    partitions: u32,
}

impl Penstock {
    pub async fn new(url: &str, tables: &[Table], partitions: u32) -> anyhow::Result<Self> {
        let penstock = Self { client: Client::new(url)?, partitions };
        let statements: Vec<_> = tables.iter().map(Table::create_statement).collect();
        penstock.run(&statements.join(";\n")).await.context("creating the tables")?;
        Ok(penstock)
    }

    /// Rows of the last result of the script, and bytes that its exchanges moved.
    pub async fn run(&self, sql: &str) -> anyhow::Result<(u64, u64)> {
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
        let shuffled_bytes = job.totals.shuffled_bytes;
        let Some(statement) = job.statements.iter().rev().find(|statement| statement.has_result) else {
            return Ok((0, shuffled_bytes));
        };
        let mut batches = self.client.results(&job.job_id, statement.index, None).await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await? {
            rows += batch.num_rows() as u64;
        }
        Ok((rows, shuffled_bytes))
    }
}
