//! Window functions in bounded memory.
//!
//! DataFusion plans them and its expressions compute them. Its operators, though, keep more than they need and ask
//! nobody: one holds all rows of its input, the other every text buffer of a partition for as long as the partition
//! lasts. Where a task is bound, this operator takes their place. Rows come sorted by the partition keys, so that one
//! partition is open at a time; what is held is reserved, so that others spill or the task fails by the operator's name.

mod finished;
mod partition;

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{
        tree_node::TreeNodeRecursion,
        utils::{evaluate_partition_ranges, get_row_at_idx},
    },
    error::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::{PhysicalExpr, PhysicalSortExpr, window::WindowExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, InputOrderMode, PlanProperties,
        SendableRecordBatchStream,
        execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};
use futures::StreamExt;

use self::{finished::Finished, partition::Partition};
use crate::compact::compact_if_wasteful;

/// A window operator of a bound plan.
#[derive(Debug)]
struct SortedWindowExec {
    /// What it stands for; plans show and encode that.
    planned: Arc<dyn ExecutionPlan>,
    input: Arc<dyn ExecutionPlan>,
    exprs: Vec<Arc<dyn WindowExpr>>,
    evaluation: Evaluation,
    metrics: ExecutionPlanMetricsSet,
}

/// What the expressions have to see before they give results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evaluation {
    /// Some rows before and after.
    Running,
    /// All rows of the partition.
    Whole,
}

/// The same operator in bounded memory; other operators as they are.
pub(crate) fn bounded(planned: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let (exprs, evaluation) = if let Some(window) = planned.downcast_ref::<BoundedWindowAggExec>() {
        // Other modes are for inputs without end.
        if window.input_order_mode != InputOrderMode::Sorted {
            return planned;
        }
        (window.window_expr().to_vec(), Evaluation::Running)
    } else if let Some(window) = planned.downcast_ref::<WindowAggExec>() {
        (window.window_expr().to_vec(), Evaluation::Whole)
    } else {
        return planned;
    };
    let input = Arc::clone(planned.children()[0]);
    Arc::new(SortedWindowExec { planned, input, exprs, evaluation, metrics: ExecutionPlanMetricsSet::new() })
}

impl DisplayAs for SortedWindowExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.planned.fmt_as(kind, f)
    }
}

impl ExecutionPlan for SortedWindowExec {
    fn name(&self) -> &str {
        self.planned.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.planned.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.planned.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Arc::clone(&self.planned).replace_children(children, options).map(bounded)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let windows = Windows::new(self, partition, input, &context);
        let batches = futures::stream::try_unfold(windows, Windows::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One run of the operator.
struct Windows {
    input: SendableRecordBatchStream,
    input_schema: SchemaRef,
    schema: SchemaRef,
    exprs: Vec<Arc<dyn WindowExpr>>,
    evaluation: Evaluation,
    open: Option<Partition>,
    finished: Finished,
    reservation: MemoryReservation,
    ended: bool,
    baseline: BaselineMetrics,
    peak: Gauge,
}

impl Windows {
    fn new(
        exec: &SortedWindowExec,
        partition: usize,
        input: SendableRecordBatchStream,
        context: &TaskContext,
    ) -> Self {
        let names: Vec<&str> = exec.exprs.iter().map(|expr| expr.name()).collect();
        let consumer = MemoryConsumer::new(format!("{}[{}]", exec.name(), names.join(", ")));
        let rows_max = context.session_config().batch_size();
        Self {
            input_schema: input.schema(),
            input,
            schema: exec.schema(),
            exprs: exec.exprs.clone(),
            evaluation: exec.evaluation,
            open: None,
            finished: Finished::new(exec.exprs.len(), rows_max),
            reservation: consumer.register(context.memory_pool()),
            ended: false,
            baseline: BaselineMetrics::new(&exec.metrics, partition),
            peak: MetricBuilder::new(&exec.metrics).gauge("peak_mem_used", partition),
        }
    }

    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let time = self.baseline.elapsed_compute().clone();
        loop {
            {
                let _timer = time.timer();
                if let Some(batch) = self.finished.take(&self.schema)? {
                    self.baseline.record_output(batch.num_rows());
                    return Ok(Some((batch, self)));
                }
                self.finished.settle()?;
                self.reserve(0)?;
            }
            if self.ended {
                return Ok(None);
            }
            let rows = self.input.next().await.transpose()?;
            let _timer = time.timer();
            match rows {
                Some(batch) if batch.num_rows() > 0 => self.add(batch)?,
                Some(_) => {}
                None => {
                    // What the input holds is free before the last partition is computed.
                    self.input = Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.input_schema)));
                    self.ended = true;
                    self.close()?;
                }
            }
        }
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = match self.evaluation {
            // Will wait for long.
            Evaluation::Whole => compact_if_wasteful(batch)?,
            Evaluation::Running => batch,
        };
        let keys: Vec<PhysicalSortExpr> =
            self.exprs[0].partition_by().iter().cloned().map(PhysicalSortExpr::new_default).collect();
        let keys = keys.iter().map(|key| key.evaluate_to_sort_column(&batch)).collect::<Result<Vec<_>>>()?;
        let ranges = evaluate_partition_ranges(batch.num_rows(), &keys)?;
        let keys: Vec<_> = keys.into_iter().map(|key| key.values).collect();
        for range in ranges {
            let key = get_row_at_idx(&keys, range.start)?;
            if self.open.as_ref().is_none_or(|open| open.key() != &key) {
                self.close()?;
                self.open = Some(Partition::new(key, self.evaluation, self.exprs.len()));
            }
            if let Some(open) = &mut self.open {
                open.add(batch.slice(range.start, range.len()), &self.input_schema)?;
            }
        }
        self.finished.add_rows(batch);
        match &mut self.open {
            Some(open) => open.advance(&self.exprs, &mut self.finished),
            None => Ok(()),
        }
    }

    /// Ends the open partition: all its rows have come.
    fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        self.reserve(open.closing_bytes())?;
        open.close(&self.exprs, &self.input_schema, &mut self.finished)
    }

    fn reserve(&mut self, more: usize) -> Result<()> {
        let open = self.open.as_ref().map_or(0, Partition::bytes);
        let bytes = self.finished.bytes() + open + more;
        self.peak.set_max(bytes);
        self.reservation.try_resize(bytes)
    }
}

#[cfg(test)]
mod tests;
