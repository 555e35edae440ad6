//! The writing end of an exchange: the root of a stage's plan.

use std::{fmt, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
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
    },
};
use futures::StreamExt;
use penstock_batches::Codec;
use penstock_protocol::{
    effort::PushEffort,
    ids::{PartitionIndex, TaskIndex},
};

use super::{
    PayloadSink,
    spread::{BatchSize, HashBuffer, PlainBuffer},
    store::BatchEncoder,
};
use crate::attempt::Progress;

/// How rows are spread over the partitions of an exchange.
#[derive(Debug, Clone)]
pub enum WritePartitioning {
    Hash(Vec<Arc<dyn PhysicalExpr>>, usize),
    /// Payloads are dealt out in turn.
    RoundRobin(usize),
    /// All rows into partition 0.
    Gather,
    /// All rows, in order, into the partition with the number of the task. One reader merges so many of these.
    ByTask {
        merged: usize,
    },
}

/// Hands its input's rows to the shuffle. It is driven by [`Self::write`], not by `execute`: an exchange has no rows for
/// anyone in its own process.
#[derive(Debug, Clone)]
pub struct ExchangeWriteExec {
    input: Arc<dyn ExecutionPlan>,
    partitioning: WritePartitioning,
    metrics: ExecutionPlanMetricsSet,
}

impl ExchangeWriteExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, partitioning: WritePartitioning) -> Self {
        Self { input, partitioning, metrics: ExecutionPlanMetricsSet::new() }
    }

    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub fn partitioning(&self) -> &WritePartitioning {
        &self.partitioning
    }

    /// Runs the input, which has one partition, to its end.
    pub(crate) async fn write(
        &self,
        task: TaskIndex,
        context: Arc<TaskContext>,
        codec: Codec,
        sink: &mut PayloadSink,
        progress: &Progress,
    ) -> Result<()> {
        let mut rows = self.input.execute(0, context.clone())?;
        let mut writer = Writer::new(self, task, &context, codec, sink)?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            progress.add_rows_out(batch.num_rows());
            writer.add(batch).await?;
        }
        writer.flush().await
    }

    /// What the pushes took.
    pub(crate) fn note_effort(&self, effort: &PushEffort) {
        for (name, count) in effort.named() {
            MetricBuilder::new(&self.metrics).counter(name, 0).add(count as usize);
        }
    }

    /// Time that the shuffle made the attempt wait.
    pub(crate) fn wait_time(&self) -> Time {
        MetricBuilder::new(&self.metrics).subset_time("shuffle_write_wait", 0)
    }
}

impl DisplayAs for ExchangeWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeWriteExec: {}", self.partitioning)
    }
}

impl fmt::Display for WritePartitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(exprs, partitions) => {
                let keys: Vec<String> = exprs.iter().map(ToString::to_string).collect();
                write!(f, "hash({}), partitions={partitions}", keys.join(", "))
            }
            Self::RoundRobin(partitions) => write!(f, "round robin, partitions={partitions}"),
            Self::Gather => f.write_str("gather"),
            Self::ByTask { .. } => f.write_str("by task"),
        }
    }
}

impl ExecutionPlan for ExchangeWriteExec {
    fn name(&self) -> &str {
        "ExchangeWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.partitioning {
            WritePartitioning::Hash(exprs, _) => {
                datafusion::physical_plan::execution_plan::apply_expression_roots(exprs, f)
            }
            _ => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.partitioning.clone())))
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.partitioning.clone())))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("an exchange is written, not executed".to_owned()))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A full buffer gives each partition a payload of a good size, within these limits.
const BUFFER_BYTES_PER_PARTITION: usize = 512 << 10;
const BUFFER_BYTES_MIN: usize = 8 << 20;
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// Buffers, encodes and pushes the rows of one attempt.
struct Writer<'a> {
    buffer: Buffer,
    reservation: MemoryReservation,
    buffer_bytes_max: usize,
    encoder: Box<dyn BatchEncoder>,
    sink: &'a mut PayloadSink,
    output_rows: Count,
    payload_bytes: Count,
    payloads: Count,
    spread_time: Time,
    encode_time: Time,
    wait: Time,
}

enum Buffer {
    Hash(HashBuffer, usize),
    Plain(PlainBuffer, Deal),
}

/// The partition of the next payload.
#[derive(Clone, Copy)]
enum Deal {
    Always(PartitionIndex),
    Next { partition: u32, partitions: u32 },
}

impl<'a> Writer<'a> {
    fn new(
        exec: &ExchangeWriteExec,
        task: TaskIndex,
        context: &TaskContext,
        codec: Codec,
        sink: &'a mut PayloadSink,
    ) -> Result<Self> {
        let rows_max = context.session_config().batch_size();
        let metrics = &exec.metrics;
        let consumer = MemoryConsumer::new(format!("ExchangeWrite[{task}]")).with_can_spill(true);
        let partitions = exec.partitioning.partitions();
        Ok(Self {
            buffer: Buffer::new(&exec.partitioning, task, rows_max),
            reservation: consumer.register(context.memory_pool()),
            buffer_bytes_max: (partitions * BUFFER_BYTES_PER_PARTITION)
                .clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX),
            encoder: sink.encoder(codec).map_err(|error| DataFusionError::External(Box::new(error)))?,
            sink,
            output_rows: MetricBuilder::new(metrics).output_rows(0),
            payload_bytes: MetricBuilder::new(metrics).counter("shuffle_written_bytes", 0),
            payloads: MetricBuilder::new(metrics).counter("payloads", 0),
            spread_time: MetricBuilder::new(metrics).subset_time("spread_time", 0),
            encode_time: MetricBuilder::new(metrics).subset_time("encode_time", 0),
            wait: exec.wait_time(),
        })
    }

    async fn add(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.output_rows.add(batch.num_rows());
        let cost = self.buffer.cost(&batch);
        if self.reservation.size() + cost > self.buffer_bytes_max || self.reservation.try_grow(cost).is_err()
        {
            // Memory is short or the buffer is full: what is buffered goes out now, and the new batch may wait for
            // others only if there is room for it.
            self.flush().await?;
            if self.reservation.try_grow(cost).is_err() {
                self.buffer_one(batch)?;
                return self.flush().await;
            }
        }
        self.buffer_one(batch)?;
        if self.buffer.is_full() { self.flush().await } else { Ok(()) }
    }

    fn buffer_one(&mut self, batch: RecordBatch) -> Result<()> {
        let _timer = self.spread_time.timer();
        match &mut self.buffer {
            Buffer::Hash(rows, _) => rows.push(batch),
            Buffer::Plain(rows, _) => {
                rows.push(batch);
                Ok(())
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        match &mut self.buffer {
            Buffer::Hash(rows, partitions) => {
                let (filled, partitions) = (rows.take(), *partitions);
                for partition in 0..partitions {
                    for chunk in 0..filled.chunks(partition) {
                        let pieces = {
                            let _timer = self.spread_time.timer();
                            filled.chunk(partition, chunk)
                        };
                        self.push(PartitionIndex(partition as u32), pieces).await?;
                    }
                }
            }
            Buffer::Plain(rows, deal) => {
                let mut dealt = *deal;
                for batch in rows.take_shared()? {
                    self.push(dealt.next(), vec![batch]).await?;
                }
                if let Buffer::Plain(_, deal) = &mut self.buffer {
                    *deal = dealt;
                }
            }
        }
        self.reservation.free();
        Ok(())
    }

    /// Pushes the rows of all pieces as one payload.
    async fn push(&mut self, partition: PartitionIndex, pieces: Vec<RecordBatch>) -> Result<()> {
        let external = |error| DataFusionError::External(error);
        let payload = {
            let _timer = self.encode_time.timer();
            self.encoder.encode(&pieces).map_err(|error| external(Box::new(error)))?
        };
        self.payload_bytes.add(payload.len());
        self.payloads.add(1);
        let rows = pieces.iter().map(RecordBatch::num_rows).sum::<usize>() as u32;
        drop(pieces);
        self.sink.push(partition, rows, payload, &self.wait).await.map_err(|error| external(Box::new(error)))
    }
}

impl Buffer {
    fn new(partitioning: &WritePartitioning, task: TaskIndex, rows_max: usize) -> Self {
        let size = BatchSize::usual(rows_max);
        let plain = |deal| Self::Plain(PlainBuffer::new(size), deal);
        match partitioning {
            WritePartitioning::Hash(_, 1) | WritePartitioning::Gather => {
                plain(Deal::Always(PartitionIndex(0)))
            }
            WritePartitioning::ByTask { merged } => Self::Plain(
                PlainBuffer::new(BatchSize::merged(rows_max, *merged)),
                Deal::Always(PartitionIndex(task.0)),
            ),
            WritePartitioning::RoundRobin(partitions) => {
                let partitions = *partitions as u32;
                plain(Deal::Next { partition: task.0 % partitions, partitions })
            }
            WritePartitioning::Hash(exprs, partitions) => {
                Self::Hash(HashBuffer::new(exprs.clone(), *partitions, size), *partitions)
            }
        }
    }

    fn cost(&self, batch: &RecordBatch) -> usize {
        match self {
            Self::Hash(rows, _) => rows.cost(batch),
            Self::Plain(..) => datafusion::common::utils::memory::get_record_batch_memory_size(batch),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            // Bounded by its reservation.
            Self::Hash(..) => false,
            Self::Plain(rows, _) => rows.is_full(),
        }
    }
}

impl Deal {
    fn next(&mut self) -> PartitionIndex {
        match self {
            Self::Always(partition) => *partition,
            Self::Next { partition, partitions } => {
                let dealt = PartitionIndex(*partition);
                *partition = (*partition + 1) % *partitions;
                dealt
            }
        }
    }
}

impl WritePartitioning {
    /// Partitions that one task may write to.
    fn partitions(&self) -> usize {
        match self {
            Self::Hash(_, partitions) | Self::RoundRobin(partitions) => *partitions,
            Self::Gather | Self::ByTask { .. } => 1,
        }
    }
}
