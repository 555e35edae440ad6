//! One DataFusion process: this one.

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use penstock_cli::tpch::data::Table;

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
