//! The reading end of an exchange: a leaf of a stage's plan.

use std::{collections::VecDeque, fmt, sync::Arc, time::Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::{
    common::{Statistics, tree_node::TreeNodeRecursion, utils::memory::get_record_batch_memory_size},
    error::{DataFusionError, Result},
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
        execution_plan::ReplaceChildrenOptions,
        metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time},
        statistics::StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream::BoxStream};
use penstock_batches::BatchIoError;
use penstock_protocol::{
    effort::FetchEffort,
    ids::ShuffleId,
    shuffle::{PartitionSource, Winner},
};

use super::{
    Declared,
    spread::{BatchSize, PlainBuffer},
    store::{BatchDecoder, ShuffleError, ShuffleStore},
};
use crate::{attempt::Progress, stage_graph::ReadMode};

/// Reads partitions of another stage's output. In a template it stands for all of them; [`Self::bind`] makes the leaf of
/// one task.
#[derive(Debug, Clone)]
pub struct ExchangeReadExec {
    /// Which of the stage's inputs.
    input: u32,
    mode: ReadMode,
    declared: Declared,
    properties: Arc<PlanProperties>,
    source: Option<Arc<ReadSource>>,
    /// What the planner expects to come; known where the plan was cut.
    expected: Option<Arc<Statistics>>,
    metrics: ExecutionPlanMetricsSet,
}

/// Where a bound leaf reads: its i-th partition is `partitions[i]`.
#[derive(Debug)]
pub(crate) struct ReadSource {
    pub store: Arc<dyn ShuffleStore>,
    pub shuffle: ShuffleId,
    pub winners: Arc<[Winner]>,
    pub partitions: Vec<PartitionSource>,
    pub progress: Arc<Progress>,
}

impl ExchangeReadExec {
    pub(crate) fn template(
        input: u32,
        mode: ReadMode,
        partitions: usize,
        declared: Declared,
    ) -> Result<Self> {
        let properties = declared.properties(partitions)?;
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { input, mode, declared, properties, source: None, expected: None, metrics })
    }

    pub(crate) fn expecting(self, expected: Option<Arc<Statistics>>) -> Self {
        Self { expected, ..self }
    }

    /// The leaf that one task runs.
    pub(crate) fn bind(&self, source: ReadSource) -> Result<Self> {
        let properties = self.declared.properties(source.partitions.len())?;
        let source = Some(Arc::new(source));
        Ok(Self { properties, source, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() })
    }

    pub fn input(&self) -> u32 {
        self.input
    }

    pub fn mode(&self) -> ReadMode {
        self.mode
    }

    pub fn partitions(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }

    pub(crate) fn declared(&self) -> &Declared {
        &self.declared
    }
}

impl DisplayAs for ExchangeReadExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            ReadMode::Partitioned => "partitioned",
            ReadMode::All => "all",
        };
        write!(f, "ExchangeReadExec: input={}, partitions={}, mode={mode}", self.input, self.partitions())
    }
}

impl ExecutionPlan for ExchangeReadExec {
    fn name(&self) -> &str {
        "ExchangeReadExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
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
        let Some(source) = self.source.clone() else {
            return Err(DataFusionError::Internal(
                "an exchange is read before it is bound to a task".to_owned(),
            ));
        };
        let reader = Reader::new(self, partition, source, &context);
        let batches = futures::stream::try_unfold(reader, Reader::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = || Arc::new(Statistics::new_unknown(&self.schema()));
        Ok(self.expected.clone().unwrap_or_else(unknown))
    }
}

/// Turns payloads into batches of a good size: many maps make many small payloads.
struct Reader {
    payloads: BoxStream<'static, Result<Bytes, ShuffleError>>,
    shuffle: ShuffleId,
    decoder: Box<dyn BatchDecoder>,
    /// Small batches that wait for others.
    small: PlainBuffer,
    ready: VecDeque<RecordBatch>,
    /// What waits here cannot be put anywhere else: it is counted, so that others spill.
    reservation: MemoryReservation,
    size: BatchSize,
    ended: bool,
    progress: Arc<Progress>,
    output_rows: Count,
    payload_bytes: Count,
    wait: Time,
    decode: Time,
    effort: Arc<FetchEffort>,
    metrics: ExecutionPlanMetricsSet,
    partition: usize,
}

impl Reader {
    fn new(
        exec: &ExchangeReadExec,
        partition: usize,
        source: Arc<ReadSource>,
        context: &TaskContext,
    ) -> Self {
        let rows_max = context.session_config().batch_size();
        let size = match exec.mode {
            ReadMode::All => BatchSize::merged(rows_max, exec.partitions()),
            ReadMode::Partitioned => BatchSize::usual(rows_max),
        };
        let consumer = MemoryConsumer::new(format!("ExchangeRead[{}]", exec.input));
        let effort: Arc<FetchEffort> = Arc::default();
        Self {
            payloads: source.store.read_counted(
                source.shuffle,
                source.winners.clone(),
                source.partitions[partition].clone(),
                effort.clone(),
            ),
            effort,
            metrics: exec.metrics.clone(),
            partition,
            shuffle: source.shuffle,
            decoder: source.store.decoder(exec.schema()),
            small: PlainBuffer::new(size),
            ready: VecDeque::new(),
            reservation: consumer.register(context.memory_pool()),
            size,
            ended: false,
            progress: source.progress.clone(),
            output_rows: MetricBuilder::new(&exec.metrics).output_rows(partition),
            payload_bytes: MetricBuilder::new(&exec.metrics).counter("shuffle_read_bytes", partition),
            wait: MetricBuilder::new(&exec.metrics).subset_time("shuffle_read_wait", partition),
            decode: MetricBuilder::new(&exec.metrics).elapsed_compute(partition),
        }
    }

    /// Bytes that are no batches of this exchange are as good as lost.
    fn damaged(&self, error: &BatchIoError) -> DataFusionError {
        DataFusionError::External(Box::new(ShuffleError::Lost {
            shuffle: self.shuffle,
            reason: error.to_string(),
        }))
    }

    fn note_effort(&self) {
        for (name, count) in self.effort.named().into_iter().filter(|(_, count)| *count > 0) {
            MetricBuilder::new(&self.metrics).counter(name, self.partition).add(count as usize);
        }
    }

    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.output_rows.add(batch.num_rows());
                self.progress.add_rows_in(batch.num_rows());
                return Ok(Some((batch, self)));
            }
            if self.ended {
                return Ok(None);
            }
            let asked = Instant::now();
            let payload = self.payloads.next().await;
            self.wait.add_elapsed(asked);
            if !matches!(payload, Some(Ok(_))) {
                self.note_effort();
            }
            self.take(payload)?;
        }
    }

    fn take(&mut self, payload: Option<Result<Bytes, ShuffleError>>) -> Result<()> {
        let time = self.decode.clone();
        let _timer = time.timer();
        match payload {
            None => {
                self.ended = true;
                self.ready.extend(self.small.take()?);
            }
            Some(payload) => {
                let payload = payload.map_err(|error| DataFusionError::External(Box::new(error)))?;
                self.payload_bytes.add(payload.len());
                let batches = self.decoder.decode(payload).map_err(|error| self.damaged(&error))?;
                batches.into_iter().try_for_each(|batch| self.sort_in(batch))?;
            }
        }
        let ready: usize = self.ready.iter().map(get_record_batch_memory_size).sum();
        self.reservation.resize(ready + self.small.bytes());
        Ok(())
    }

    /// Rows keep their order: a large batch goes after the small ones before it.
    fn sort_in(&mut self, batch: RecordBatch) -> Result<()> {
        let is_large = batch.num_rows() >= self.size.rows_max / 2
            || get_record_batch_memory_size(&batch) >= self.size.bytes_target / 2;
        if !is_large {
            self.small.push(batch.clone());
        }
        if is_large || self.small.is_full() {
            self.ready.extend(self.small.take()?);
        }
        if is_large {
            self.ready.push_back(batch);
        }
        Ok(())
    }
}
