//! A cluster in miniature for `.slt` files: plans like a coordinator, runs all stages in this process, publishes sinks.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    execution::runtime_env::RuntimeEnv,
    prelude::{SessionConfig, SessionContext},
};
use penstock_engine::{
    catalog::{Catalog, CatalogChange, TableDefinition, TableName},
    local::LocalRunner,
    parameters::Parameters,
    session::runtime_env,
    settings::Settings,
    sink::{SinkMode, SinkTarget},
    sql::{PlanContext, Script, SqlError, StatementKind, plan_statement, validate},
};
use penstock_protocol::{
    ids::JobId,
    task::{Failure, WrittenFile},
};
use url::Url;

use super::fixtures;
use crate::support::{assert_rows, rows};

#[derive(Debug, Clone, Copy)]
pub enum Joins {
    Broadcast,
    Partitioned,
}

pub struct Database {
    folder: tempfile::TempDir,
    settings: Settings,
    catalog: Catalog,
    env: Arc<RuntimeEnv>,
    oracle: SessionContext,
    pub parameters: Parameters,
    /// Each statement is a job of its own.
    jobs: u128,
}

/// What is wrong with a statement.
#[derive(Debug)]
pub enum Wrong {
    Planning(SqlError),
    Running(Failure),
    /// The harness, or the oracle, does not agree.
    Other(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planning(error) => error.fmt(f),
            Self::Running(failure) => f.write_str(&failure.message),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Wrong {}

fn wrong(error: impl fmt::Display) -> Wrong {
    Wrong::Other(error.to_string())
}

impl Database {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn new(partitions: usize, joins: Joins) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fixtures::write(folder.path());
        let mut settings = BTreeMap::from([
            ("penstock.partitions".to_owned(), partitions.to_string()),
            // Small files are split too.
            ("datafusion.optimizer.repartition_file_min_size".to_owned(), "0".to_owned()),
        ]);
        if let Joins::Partitioned = joins {
            settings.insert("penstock.broadcast.bytes_max".to_owned(), "0".to_owned());
            settings.insert(
                "datafusion.optimizer.hash_join_single_partition_threshold_rows".to_owned(),
                "0".to_owned(),
            );
        }
        let env = runtime_env(None, None, 1 << 34).unwrap();
        let oracle = SessionContext::new_with_config_rt(
            SessionConfig::new().with_target_partitions(2),
            Arc::clone(&env),
        );
        let mut database = Self {
            folder,
            settings: Settings::new(settings).unwrap(),
            catalog: Catalog::new(),
            env,
            oracle,
            parameters: Parameters::new(),
            jobs: 0,
        };
        for statement in fixtures::STATEMENTS {
            database.execute(statement).await.unwrap();
        }
        database
    }

    pub fn context(&self) -> PlanContext {
        let base = Url::from_directory_path(self.folder.path()).unwrap();
        PlanContext {
            settings: self.settings.clone(),
            catalog: self.catalog.clone(),
            parameters: self.parameters.clone(),
            base_url: Some(base.to_string()),
            warehouse_url: base.join("warehouse/").unwrap().to_string(),
            env: Arc::clone(&self.env),
            job: JobId(uuid::Uuid::from_u128(self.jobs)),
        }
    }

    /// Runs a script; the rows are those of its last query.
    pub async fn execute(&mut self, sql: &str) -> Result<Option<Vec<Vec<String>>>, Wrong> {
        let script = Script::parse(sql).map_err(Wrong::Planning)?;
        validate(&script, &self.context()).await.map_err(Wrong::Planning)?;
        let mut last = None;
        for index in 0..script.len() {
            self.jobs += 1;
            last = self.execute_one(&script, index).await?;
        }
        Ok(last)
    }

    async fn execute_one(
        &mut self,
        script: &Script,
        index: usize,
    ) -> Result<Option<Vec<Vec<String>>>, Wrong> {
        let sql = script.statement_sql(index);
        let planned = plan_statement(script, index, &self.context()).await.map_err(Wrong::Planning)?;
        match planned.kind {
            StatementKind::Query { graph, .. } => {
                let got = self.runner(None).run(&graph).await.map_err(Wrong::Running)?;
                self.compare(sql, &got.batches).await?;
                Ok(Some(rows(&got.batches)))
            }
            StatementKind::Rows { batches, .. } => Ok(Some(rows(&batches))),
            StatementKind::Set { key, value } => {
                self.settings.set(&key, &value).map_err(Wrong::Planning)?;
                Ok(None)
            }
            StatementKind::Catalog(change) => {
                self.change(&change, sql).await?;
                Ok(None)
            }
            StatementKind::Sink { graph, sink, then } => {
                let runner = self.runner(Some(sink.staging_url.clone()));
                let outcome = runner.run(&graph).await;
                let published = match outcome {
                    Ok(outcome) => publish(&sink, &outcome.files),
                    Err(failure) => Err(Wrong::Running(failure)),
                };
                let _ = std::fs::remove_dir_all(path_of(&sink.staging_url));
                published?;
                match then {
                    Some(change) => self.change(&change, sql).await?,
                    None => self.tell_oracle_of_insert(sql).await,
                }
                Ok(None)
            }
        }
    }

    fn runner(&self, staging_url: Option<String>) -> LocalRunner {
        let settings = self.settings.as_map().clone();
        LocalRunner { staging_url, ..LocalRunner::new(settings, Arc::clone(&self.env)) }
    }

    /// Applies a change here, and tells the oracle in its own words.
    async fn change(&mut self, change: &CatalogChange, sql: &str) -> Result<(), Wrong> {
        change.apply(&mut self.catalog).map_err(wrong)?;
        // What is stored has to read back the same.
        let stored = serde_json::to_string(&self.catalog).unwrap();
        assert_eq!(serde_json::from_str::<Catalog>(&stored).unwrap(), self.catalog);
        let in_memory = |name: &TableName| match self.catalog.get(name) {
            Some(TableDefinition::External(table)) => table.managed,
            _ => true,
        };
        let statement = match change {
            CatalogChange::Create { name, definition: TableDefinition::External(table), .. }
                if !in_memory(name) =>
            {
                // Patterns in URLs are unknown to it.
                let absolute = table.locations.join("', '").replace("file://", "");
                absolute_locations(sql, &absolute)
            }
            _ => sql.to_owned(),
        };
        let told = async { self.oracle.sql(&statement).await?.collect().await }.await;
        told.map(drop).map_err(|error| wrong(format!("the oracle does not take `{statement}`: {error}")))
    }

    /// Rows for a table that the oracle keeps in memory; files it sees by itself.
    async fn tell_oracle_of_insert(&self, sql: &str) {
        let lower = sql.to_lowercase();
        let managed = self.catalog.iter().any(|(name, definition)| {
            matches!(definition, TableDefinition::External(table) if table.managed)
                && lower.starts_with(&format!("insert into {name}"))
        });
        if managed {
            self.oracle.sql(sql).await.unwrap().collect().await.unwrap();
        }
    }

    async fn compare(&self, sql: &str, got: &[RecordBatch]) -> Result<(), Wrong> {
        let expected = async { self.oracle.sql(sql).await?.collect().await }.await;
        let expected = expected.map_err(|error| wrong(format!("the oracle fails: {error}")))?;
        let (expected, got) = (rows(&expected), rows(got));
        assert_rows(sql, &expected, &got);
        if is_ordered(sql) {
            assert_eq!(expected, got, "{sql}");
        }
        Ok(())
    }
}

/// Whether the whole query ends in ORDER BY.
fn is_ordered(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    lower.rfind("order by").is_some_and(|at| !lower[at..].contains(')'))
}

/// Replaces the text of the LOCATION clause.
fn absolute_locations(sql: &str, locations: &str) -> String {
    let at = sql.to_lowercase().rfind("location").unwrap();
    let rest = &sql[at..];
    let after =
        match rest.trim_end().ends_with(')') && rest.contains('(') && rest.to_lowercase().contains("options")
        {
            true => &rest[rest.to_lowercase().find("options").unwrap()..],
            false => "",
        };
    format!("{} location '{locations}' {after}", &sql[..at])
}

fn path_of(url: &str) -> std::path::PathBuf {
    Url::parse(url).unwrap().to_file_path().unwrap()
}

/// What the coordinator does with the winners' files.
fn publish(sink: &SinkTarget, files: &[WrittenFile]) -> Result<(), Wrong> {
    let target = path_of(&sink.target_url);
    if sink.mode == SinkMode::Create && holds_files(&target) {
        return Err(wrong(format!("`{}` is not empty", sink.target_url)));
    }
    if sink.mode == SinkMode::Overwrite && target.exists() {
        std::fs::remove_dir_all(&target).unwrap();
    }
    for file in files {
        let to = target.join(&file.final_path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        assert_eq!(
            std::fs::metadata(path_of(&sink.staging_url).join(&file.staged_path)).unwrap().len(),
            file.bytes
        );
        std::fs::rename(path_of(&sink.staging_url).join(&file.staged_path), to).unwrap();
    }
    Ok(())
}

fn holds_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
