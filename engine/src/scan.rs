//! A file scan of a stage: without files in the template, with one task's files when it is bound.
//!
//! DataFusion's encoding of a scan carries every file with its statistics and forgets some of the file's identity and of
//! the format's options; here files travel with the tasks, and what would be forgotten travels beside the scan.

mod files;
mod named;

use std::{fmt, sync::Arc};

use datafusion::{
    common::{Statistics, tree_node::TreeNodeRecursion},
    datasource::{
        file_format::file_compression_type::FileCompressionType,
        listing::PartitionedFile,
        physical_plan::{
            CsvSource, FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, JsonSource,
        },
        source::DataSourceExec,
    },
    error::{DataFusionError, Result},
    execution::{TaskContext, object_store::ObjectStoreUrl},
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
        execution_plan::ReplaceChildrenOptions, metrics::MetricsSet, statistics::StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;
use object_store::memory::InMemory;

pub use files::ChangedFile;
pub(crate) use files::{Found, partitioned_file, scan_file, verify};

use crate::{attempt::Progress, exchange::Declared};

/// A leaf that reads files.
#[derive(Debug, Clone)]
pub struct StageScanExec {
    /// Which of the stage's scans.
    scan: u32,
    /// The scan runs with all its groups within one task; each group has a number of its own, from `scan` on.
    whole: bool,
    source: Arc<DataSourceExec>,
    forgotten: Forgotten,
    declared: Declared,
    properties: Arc<PlanProperties>,
    progress: Option<Arc<Progress>>,
    /// What the planner expects to read; known where the plan was cut.
    expected: Option<Arc<Statistics>>,
    /// The table that was asked for; known where the plan was cut.
    table: Option<Arc<str>>,
}

/// What DataFusion's encoding of a scan leaves out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forgotten {
    pub compression: FileCompressionType,
    pub preserve_order: bool,
    pub csv_terminator: Option<u8>,
    /// The files are arrays of objects, not one object per line.
    pub json_array: bool,
}

impl StageScanExec {
    /// The template of `scan`, which reads files in `partitions` groups.
    pub(crate) fn template(
        index: u32,
        whole: bool,
        config: &FileScanConfig,
        partitions: usize,
        declared: Declared,
    ) -> Result<Self> {
        let forgotten = Forgotten::of(config);
        let source = DataSourceExec::from_data_source(without_files(config));
        let table = config.file_groups.iter().flat_map(FileGroup::iter).next();
        let table = table.and_then(|file| file.table_reference.as_ref()).map(|table| table.table().into());
        Ok(Self { table, ..Self::decoded(index, whole, source, forgotten, partitions, declared)? })
    }

    pub(crate) fn decoded(
        scan: u32,
        whole: bool,
        source: Arc<DataSourceExec>,
        forgotten: Forgotten,
        partitions: usize,
        declared: Declared,
    ) -> Result<Self> {
        let properties = declared.properties(partitions)?;
        let (progress, expected, table) = (None, None, None);
        Ok(Self { scan, whole, source, forgotten, declared, properties, progress, expected, table })
    }

    /// The leaf that one task runs: a partition for each group of files.
    pub(crate) fn bind(&self, groups: Vec<Vec<PartitionedFile>>, progress: Arc<Progress>) -> Result<Self> {
        let properties = self.declared.properties(groups.len())?;
        let groups = groups.into_iter().map(FileGroup::new).collect();
        let config = named::with_file_names(self.forgotten.restore(self.config()?.clone(), groups));
        let source = DataSourceExec::from_data_source(config);
        Ok(Self { source, properties, progress: Some(progress), ..self.clone() })
    }

    pub(crate) fn expecting(self, expected: Option<Arc<Statistics>>) -> Self {
        Self { expected, ..self }
    }

    pub fn scan(&self) -> u32 {
        self.scan
    }

    pub(crate) fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn source(&self) -> &Arc<DataSourceExec> {
        &self.source
    }

    pub(crate) fn forgotten(&self) -> &Forgotten {
        &self.forgotten
    }

    pub(crate) fn declared(&self) -> &Declared {
        &self.declared
    }

    /// The numbers of the scan's groups of files.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        let first = self.scan as usize;
        let groups = if self.whole { self.properties.output_partitioning().partition_count() } else { 1 };
        first..first + groups
    }

    pub(crate) fn store_url(&self) -> Result<ObjectStoreUrl> {
        Ok(self.config()?.object_store_url.clone())
    }

    fn config(&self) -> Result<&FileScanConfig> {
        self.source
            .data_source()
            .downcast_ref::<FileScanConfig>()
            .ok_or_else(|| DataFusionError::Internal("a stage's scan does not read files".to_owned()))
    }
}

impl Forgotten {
    fn of(config: &FileScanConfig) -> Self {
        Self {
            compression: config.file_compression_type,
            preserve_order: config.preserve_order,
            csv_terminator: csv(config).and_then(CsvSource::terminator),
            json_array: is_json_array(config),
        }
    }

    fn restore(&self, config: FileScanConfig, groups: Vec<FileGroup>) -> FileScanConfig {
        let source = self.source(config.file_source());
        FileScanConfigBuilder::from(config)
            .with_file_groups(groups)
            .with_file_compression_type(self.compression)
            .with_preserve_order(self.preserve_order)
            .with_source(source)
            .build()
    }

    fn source(&self, decoded: &Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        match (decoded.downcast_ref::<CsvSource>(), decoded.downcast_ref::<JsonSource>()) {
            (Some(csv), _) if self.csv_terminator.is_some() => {
                Arc::new(csv.with_terminator(self.csv_terminator))
            }
            (_, Some(json)) if self.json_array => Arc::new(json.clone().with_newline_delimited(false)),
            _ => decoded.clone(),
        }
    }
}

/// A JSON source does not tell its form, but one of arrays refuses byte ranges, before it reads anything.
pub(crate) fn is_json_array(config: &FileScanConfig) -> bool {
    if !config.file_source().is::<JsonSource>() {
        return false;
    }
    let source = config.file_source().with_batch_size(1);
    let opener = source.create_file_opener(Arc::new(InMemory::new()), config, 0);
    opener.and_then(|opener| opener.open(PartitionedFile::new_with_range(String::new(), 1, 0, 1))).is_err()
}

fn csv(config: &FileScanConfig) -> Option<&CsvSource> {
    config.file_source().downcast_ref()
}

/// Everything that tasks share. Statistics stay behind: executors do not optimise.
fn without_files(config: &FileScanConfig) -> FileScanConfig {
    let unknown =
        datafusion::common::Statistics::new_unknown(config.file_source().table_schema().table_schema());
    FileScanConfigBuilder::from(config.clone())
        .with_file_groups(vec![])
        .with_statistics(unknown)
        .with_output_partitioning(None)
        .build()
}

impl DisplayAs for StageScanExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Files travel with the tasks: only the number of their groups is known here.
        let groups = format!("file_groups={}", self.properties.output_partitioning().partition_count());
        let scan = fmt::from_fn(|f| self.source.fmt_as(kind, f)).to_string();
        f.write_str(&scan.replace("file_groups={0 groups: []}", &groups))
    }
}

impl ExecutionPlan for StageScanExec {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.source.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(progress) = self.progress.clone() else {
            return Err(DataFusionError::Internal("a scan is read before it is bound to a task".to_owned()));
        };
        let counted = self.source.execute(partition, context)?.inspect(move |batch| {
            if let Ok(batch) = batch {
                progress.add_rows_in(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.source.metrics()
    }

    fn fetch(&self) -> Option<usize> {
        self.source.fetch()
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(self.expected.clone().unwrap_or_else(unknown))
    }
}
