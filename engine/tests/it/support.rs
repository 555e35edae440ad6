//! Runs one query in one DataFusion process and in stages, and compares.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{
    execution::runtime_env::RuntimeEnv,
    physical_plan::{ExecutionPlan, collect},
    prelude::{ParquetReadOptions, SessionContext},
};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use penstock_engine::{
    fragment::{RootOutput, cut},
    local::{LocalOutcome, LocalRunner},
    session::{runtime_env, session},
    settings::Settings,
    stage_graph::StageGraph,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

pub const PARTITIONS: [usize; 3] = [1, 2, 7];

/// A cluster's session next to the tables of a test.
pub struct Cluster {
    pub context: SessionContext,
    pub env: Arc<RuntimeEnv>,
    pub settings: BTreeMap<String, String>,
}

impl Cluster {
    pub fn new(partitions: usize) -> Self {
        Self::with(partitions, &[])
    }

    pub fn with(partitions: usize, settings: &[(&str, &str)]) -> Self {
        Self::limited(partitions, settings, None)
    }

    pub fn limited(partitions: usize, settings: &[(&str, &str)], memory_bytes: Option<u64>) -> Self {
        let mut all = BTreeMap::from([
            ("penstock.partitions".to_owned(), partitions.to_string()),
            // Small files are split too.
            ("datafusion.optimizer.repartition_file_min_size".to_owned(), "0".to_owned()),
        ]);
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let env = runtime_env(memory_bytes, None, 1 << 34).unwrap();
        let context = session(&Settings::new(all.clone()).unwrap(), &env).unwrap();
        Self { context, env, settings: all }
    }

    pub async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        self.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
    }

    pub async fn graph(&self, sql: &str) -> StageGraph {
        cut(self.plan(sql).await, RootOutput::Result).unwrap()
    }

    pub fn runner(&self) -> LocalRunner {
        LocalRunner::new(self.settings.clone(), self.env.clone())
    }

    pub async fn run(&self, sql: &str) -> LocalOutcome {
        let graph = self.graph(sql).await;
        match self.runner().run(&graph).await {
            Ok(outcome) => outcome,
            Err(failure) => panic!("{sql}\n{failure:#?}\n{}", describe(&graph)),
        }
    }

    /// One process of plain DataFusion on the same session's tables.
    pub async fn oracle(&self, sql: &str) -> Vec<RecordBatch> {
        let plain = SessionContext::new_with_config_rt(
            datafusion::prelude::SessionConfig::new().with_target_partitions(2),
            runtime_env(None, None, 1 << 34).unwrap(),
        );
        for name in self.context.catalog("penstock").unwrap().schema("public").unwrap().table_names() {
            let table = self.context.table_provider(format!("penstock.public.{name}")).await.unwrap();
            plain.register_table(&name, table).unwrap();
        }
        let plan = plain.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        collect(plan, plain.task_ctx()).await.unwrap()
    }

    /// Fails unless stages give the oracle's rows, up to order and float rounding.
    pub async fn check(&self, sql: &str) -> LocalOutcome {
        let expected = rows(&self.oracle(sql).await);
        let outcome = self.run(sql).await;
        assert_rows(sql, &expected, &rows(&outcome.batches));
        outcome
    }
}

pub async fn register(context: &SessionContext, name: &str, path: &Path) {
    context.register_parquet(name, path.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
}

pub fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = vec![];
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        rows.extend(
            (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()),
        );
    }
    rows
}

pub fn assert_rows(sql: &str, expected: &[Vec<String>], got: &[Vec<String>]) {
    let sorted = |rows: &[Vec<String>]| {
        let mut rows = rows.to_vec();
        rows.sort_by_cached_key(|row| row.iter().map(|cell| rounded(cell)).collect::<Vec<_>>());
        rows
    };
    let (expected, got) = (sorted(expected), sorted(got));
    let same = expected.len() == got.len()
        && expected
            .iter()
            .zip(&got)
            .all(|(e, g)| e.len() == g.len() && e.iter().zip(g).all(|(e, g)| same_cell(e, g)));
    assert!(
        same,
        "{sql}\nexpected {} rows, got {}\nexpected {:?}\ngot {:?}",
        expected.len(),
        got.len(),
        &expected[..expected.len().min(20)],
        &got[..got.len().min(20)]
    );
}

fn rounded(cell: &str) -> String {
    match cell.parse::<f64>() {
        Ok(number) if cell.contains('.') => format!("{number:.3}"),
        _ => cell.to_owned(),
    }
}

fn same_cell(expected: &str, got: &str) -> bool {
    if expected == got {
        return true;
    }
    match (expected.parse::<f64>(), got.parse::<f64>()) {
        (Ok(e), Ok(g)) => (e - g).abs() <= 1e-9 * e.abs().max(g.abs()).max(1.0),
        _ => false,
    }
}

/// The graph as text, for snapshots and messages.
pub fn describe(graph: &StageGraph) -> String {
    let mut text = String::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        let inputs: Vec<String> =
            stage.inputs.iter().map(|input| format!("{} {input} {:?}", input.stage, input.owners)).collect();
        text += &format!(
            "stage {index} {}: tasks={} output={} partitions={} inputs=[{}]\n",
            stage.name,
            stage.tasks,
            stage.output,
            stage.output_partitions,
            inputs.join(", ")
        );
        for line in
            datafusion::physical_plan::displayable(stage.plan.as_ref()).indent(false).to_string().lines()
        {
            text += &format!("  {line}\n");
        }
    }
    text
}

/// TPC-H tables as Parquet at scale 0.01, made once per build of the generator.
pub fn tpch() -> PathBuf {
    static MADE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        let folder = std::env::temp_dir().join("penstock-test-tpch-0.01-v1");
        if !folder.exists() {
            let fresh = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
            write_tpch(fresh.path());
            // Another process may have been faster; its tables are the same.
            let _ = std::fs::rename(fresh.path(), &folder);
        }
        folder
    })
    .clone()
}

pub const TPCH_TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

fn write_tpch(folder: &Path) {
    const SCALE: f64 = 0.01;
    use tpchgen_arrow::{
        CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
        SupplierArrow,
    };
    let path = |table: &str| folder.join(format!("{table}.parquet"));
    write_parquet(
        &path("customer"),
        CustomerArrow::new(CustomerGenerator::new(SCALE, 1, 1)).map(Result::unwrap),
    );
    write_parquet(
        &path("lineitem"),
        LineItemArrow::new(LineItemGenerator::new(SCALE, 1, 1)).map(Result::unwrap),
    );
    write_parquet(&path("nation"), NationArrow::new(NationGenerator::new(SCALE, 1, 1)).map(Result::unwrap));
    write_parquet(&path("orders"), OrderArrow::new(OrderGenerator::new(SCALE, 1, 1)).map(Result::unwrap));
    write_parquet(&path("part"), PartArrow::new(PartGenerator::new(SCALE, 1, 1)).map(Result::unwrap));
    write_parquet(
        &path("partsupp"),
        PartSuppArrow::new(PartSuppGenerator::new(SCALE, 1, 1)).map(Result::unwrap),
    );
    write_parquet(&path("region"), RegionArrow::new(RegionGenerator::new(SCALE, 1, 1)).map(Result::unwrap));
    write_parquet(
        &path("supplier"),
        SupplierArrow::new(SupplierGenerator::new(SCALE, 1, 1)).map(Result::unwrap),
    );
}

pub fn write_parquet(path: &Path, batches: impl IntoIterator<Item = RecordBatch>) {
    let mut batches = batches.into_iter().peekable();
    let schema = batches.peek().unwrap().schema();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5_000)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    batches.for_each(|batch| writer.write(&batch).unwrap());
    writer.close().unwrap();
}
