//! The root of a sink's plan: each task writes its partition to files under the staging folder.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{internal_datafusion_err, tree_node::TreeNodeRecursion},
    error::Result,
    execution::{SendableRecordBatchStream, SessionState, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
    prelude::SessionContext,
};
use futures::{TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{file_writer::Encoding, hive::HiveSplit, run::SinkRun, task_writer::TaskWriter};
use crate::{catalog::FileFormat, error::SqlError, tables};

/// What to write; equal for all tasks. Travels with the plan as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteSpec {
    pub format: FileFormat,
    /// `format.*` options as DataFusion spells them.
    pub options: BTreeMap<String, String>,
    /// Hive partition columns: each row goes to the folder of its values.
    pub partition_columns: Vec<String>,
    /// Whether partition columns are written to the files too.
    pub keep_partition_columns: bool,
    /// Start of every file's name, unique per statement of a job.
    pub file_prefix: String,
    /// The name of the only file, if there may be just one.
    pub single_file: Option<String>,
}

/// Whether the spec's options are understood.
pub(crate) fn check_spec(spec: &WriteSpec, state: &SessionState) -> Result<(), SqlError> {
    let format = tables::file_format(spec.format, &spec.options, state)?;
    let encoding = Encoding::new(format.as_ref(), &Arc::new(Schema::empty()), state.config_options());
    encoding.map(drop).map_err(|error| {
        SqlError::sql(format!(
            "{} files cannot be written so: {}",
            spec.format.name(),
            error.strip_backtrace()
        ))
    })
}

/// Writes each partition of its input to files; yields one row `count` per partition. Runs in a session that holds a
/// [`SinkRun`].
#[derive(Debug)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: WriteSpec,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WriteExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: WriteSpec) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(count_schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, spec, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub fn spec(&self) -> &WriteSpec {
        &self.spec
    }
}

fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]))
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteExec: format={}", self.spec.format.name())?;
        if !self.spec.partition_columns.is_empty() {
            write!(f, ", partitioned_by=[{}]", self.spec.partition_columns.join(", "))?;
        }
        match &self.spec.single_file {
            Some(name) => write!(f, ", file={name}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &str {
        "WriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.spec.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let spec = self.spec.clone();
        let rows_written = MetricBuilder::new(&self.metrics).output_rows(partition);
        let count = async move {
            let rows = write(input, spec, context).await?;
            rows_written.add(usize::try_from(rows).unwrap_or(usize::MAX));
            let count: ArrayRef = Arc::new(UInt64Array::from(vec![rows]));
            Ok(RecordBatch::try_new(count_schema(), vec![count])?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(count_schema(), stream::once(count))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Writes all rows; they are in finished files when it returns.
async fn write(
    mut input: SendableRecordBatchStream,
    spec: WriteSpec,
    context: Arc<TaskContext>,
) -> Result<u64> {
    let run = context
        .session_config()
        .get_extension::<SinkRun>()
        .ok_or_else(|| internal_datafusion_err!("a sink runs without a place to write to"))?;
    let split = HiveSplit::new(&input.schema(), &spec.partition_columns, spec.keep_partition_columns)?;
    let encoding = encoding(&spec, &split.written_schema, &context)?;
    let place = format!("writing below `{}`", run.staging_url);
    let mut writer = TaskWriter::new(spec, split, encoding, run, &context)?;
    while let Some(batch) = input.try_next().await? {
        writer.write(&batch).await.map_err(|error| error.context(place.clone()))?;
    }
    writer.finish().await.map_err(|error| error.context(place))
}

fn encoding(spec: &WriteSpec, schema: &SchemaRef, context: &Arc<TaskContext>) -> Result<Encoding> {
    // Formats are made by factories that ask a session for its defaults; a task's context is not one.
    let session = SessionContext::new_with_config_rt(context.session_config().clone(), context.runtime_env());
    let format = tables::file_format(spec.format, &spec.options, &session.state())
        .map_err(|error| datafusion::error::DataFusionError::Configuration(error.message))?;
    Encoding::new(format.as_ref(), schema, context.session_config().options())
}
