//! The rows of one partition of a window, as far as the expressions still need them.

use arrow::{
    array::{RecordBatch, RecordBatchOptions, new_empty_array},
    compute::concat_batches,
    datatypes::SchemaRef,
};
use datafusion::{
    error::Result,
    logical_expr::window_state::PartitionBatchState,
    physical_expr::window::{
        PartitionBatches, PartitionKey, PartitionWindowAggStates, WindowEvalContext, WindowExpr,
    },
};
use std::sync::Arc;

use super::{Evaluation, finished::Finished};
use crate::compact::{compact_if_wasteful, data_bytes};

pub(super) struct Partition {
    key: PartitionKey,
    kept: Kept,
    /// Bytes of the rows that are kept apart from those that wait to leave.
    bytes: usize,
}

enum Kept {
    /// Some rows, and a state for each expression. The maps hold this partition alone.
    Running { batches: PartitionBatches, states: Vec<PartitionWindowAggStates> },
    /// All rows: the same memory as those that wait to leave.
    Whole(Vec<RecordBatch>),
}

impl Partition {
    pub fn new(key: PartitionKey, evaluation: Evaluation, exprs: usize) -> Self {
        let kept = match evaluation {
            Evaluation::Running => Kept::Running {
                batches: PartitionBatches::default(),
                states: (0..exprs).map(|_| PartitionWindowAggStates::default()).collect(),
            },
            Evaluation::Whole => Kept::Whole(vec![]),
        };
        Self { key, kept, bytes: 0 }
    }

    pub fn key(&self) -> &PartitionKey {
        &self.key
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What closing takes more than what is held.
    pub fn closing_bytes(&self) -> usize {
        match &self.kept {
            Kept::Whole(rows) if rows.len() > 1 => self.bytes + rows.iter().map(data_bytes).sum::<usize>(),
            _ => self.bytes,
        }
    }

    pub fn add(&mut self, rows: RecordBatch, schema: &SchemaRef) -> Result<()> {
        match &mut self.kept {
            Kept::Whole(kept) => kept.push(rows),
            Kept::Running { batches, .. } => match batches.get_mut(&self.key) {
                Some(kept) if kept.record_batch.num_rows() > 0 => kept.extend(&rows)?,
                Some(kept) => kept.record_batch = of_schema(rows, schema)?,
                None => {
                    let first = PartitionBatchState::new_with_batch(of_schema(rows, schema)?);
                    batches.insert(self.key.clone(), first);
                }
            },
        }
        Ok(())
    }

    /// Computes what can be computed before more rows come, and forgets what is not needed for the others.
    pub fn advance(&mut self, exprs: &[Arc<dyn WindowExpr>], finished: &mut Finished) -> Result<()> {
        let Kept::Running { batches, states } = &mut self.kept else { return Ok(()) };
        evaluate(exprs, batches, states, finished)?;
        self.bytes = forget(&self.key, batches, states)?;
        Ok(())
    }

    /// Computes the rest: all rows have come.
    pub fn close(
        &mut self,
        exprs: &[Arc<dyn WindowExpr>],
        schema: &SchemaRef,
        finished: &mut Finished,
    ) -> Result<()> {
        match &mut self.kept {
            Kept::Running { batches, states } => {
                batches.values_mut().for_each(|kept| kept.is_end = true);
                evaluate(exprs, batches, states, finished)
            }
            Kept::Whole(rows) => {
                let rows = std::mem::take(rows);
                let whole = match rows.as_slice() {
                    [rows] => rows.clone(),
                    rows => concat_batches(schema, rows)?,
                };
                for (index, expr) in exprs.iter().enumerate() {
                    finished.add_results(index, expr.evaluate(&whole)?);
                }
                Ok(())
            }
        }
    }
}

/// Rows may come with a schema that says less of them than the plan's.
fn of_schema(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &options)?)
}

fn evaluate(
    exprs: &[Arc<dyn WindowExpr>],
    batches: &PartitionBatches,
    states: &mut [PartitionWindowAggStates],
    finished: &mut Finished,
) -> Result<()> {
    let context = WindowEvalContext::default();
    for (index, (expr, states)) in exprs.iter().zip(states).enumerate() {
        expr.evaluate_stateful(batches, states, &context)?;
        for window in states.values_mut() {
            let none = new_empty_array(window.state.out_col.data_type());
            finished.add_results(index, std::mem::replace(&mut window.state.out_col, none));
        }
    }
    Ok(())
}

/// Drops the rows before the first one that any expression may look at again; gives the bytes of the others.
fn forget(
    key: &PartitionKey,
    batches: &mut PartitionBatches,
    states: &mut [PartitionWindowAggStates],
) -> Result<usize> {
    let Some(kept) = batches.get_mut(key) else { return Ok(0) };
    let passed = |states: &PartitionWindowAggStates| {
        states
            .get(key)
            .map_or(0, |window| window.state.window_frame_range.start.min(window.state.last_calculated_index))
    };
    let count = states.iter().map(passed).min().unwrap_or(0);
    if count > 0 {
        let rows = &kept.record_batch;
        kept.record_batch = rows.slice(count, rows.num_rows() - count);
        states.iter_mut().filter_map(|states| states.get_mut(key)).for_each(|window| {
            window.state.prune_state(count);
        });
    }
    // Putting batches together keeps all their text buffers, those of forgotten rows too.
    kept.record_batch = compact_if_wasteful(kept.record_batch.clone())?;
    Ok(data_bytes(&kept.record_batch))
}
