//! Collects the rows of a stage and gives them back as batches, one partition each.
//!
//! A batch is reordered by partition when it comes in, and its pieces are put together with those of other batches when
//! they are encoded: two plain copies are cheaper than one that looks up every value in two places. Hashes are those
//! of DataFusion's own repartitioning.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use datafusion::{
    common::{hash_utils::create_hashes, utils::memory::get_record_batch_memory_size},
    error::Result,
    physical_expr::PhysicalExpr,
    physical_expr_common::utils::evaluate_expressions_to_arrays,
    physical_plan::repartition::REPARTITION_RANDOM_STATE,
};

use crate::compact::{compact, data_bytes};

/// Payloads of about this many plain bytes keep both overhead and memory small.
const PAYLOAD_BYTES_TARGET: usize = 1 << 20;
/// Where one task merges the outputs of many, it holds a batch of each, counted about three times: those have at most so
/// much of the usual number of rows,
const MERGED_PIECES: usize = 8;
/// and so many bytes all together, as long as none gets so small that its overhead counts more.
const MERGED_BYTES_TARGET: usize = 16 << 20;
const MERGED_BYTES_MIN: usize = 16 << 10;

/// How large the batches of an exchange become.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    pub rows_max: usize,
    pub bytes_target: usize,
}

impl BatchSize {
    pub fn usual(rows_max: usize) -> Self {
        Self { rows_max, bytes_target: PAYLOAD_BYTES_TARGET }
    }

    /// Of each of `inputs` that one task merges.
    pub fn merged(rows_max: usize, inputs: usize) -> Self {
        if inputs < 2 {
            return Self::usual(rows_max);
        }
        Self {
            rows_max: (rows_max / MERGED_PIECES).max(1),
            bytes_target: (MERGED_BYTES_TARGET / inputs).clamp(MERGED_BYTES_MIN, PAYLOAD_BYTES_TARGET),
        }
    }

    /// Twice the target: a batch of the usual number of rows is not cut for being a little wide.
    fn rows(self, bytes: usize, rows: usize) -> usize {
        let row_bytes = (bytes / rows.max(1)).max(1);
        (2 * self.bytes_target / row_bytes).clamp(1, self.rows_max.max(1))
    }
}

/// Rows by partition of the hash of some expressions.
#[derive(Debug)]
pub(super) struct HashBuffer {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    partitions: usize,
    hashes: Vec<u64>,
    assigned: Vec<u32>,
    batches: Vec<Spread>,
    size: BatchSize,
    rows: usize,
    bytes: usize,
}

/// A batch in order of its rows' partitions: partition `p` has the rows `starts[p]..starts[p + 1]`.
#[derive(Debug)]
struct Spread {
    batch: RecordBatch,
    starts: Vec<u32>,
}

impl Spread {
    fn rows_of(&self, partition: usize) -> Range<usize> {
        self.starts[partition] as usize..self.starts[partition + 1] as usize
    }
}

impl HashBuffer {
    pub fn new(exprs: Vec<Arc<dyn PhysicalExpr>>, partitions: usize, size: BatchSize) -> Self {
        Self { exprs, partitions, hashes: vec![], assigned: vec![], batches: vec![], size, rows: 0, bytes: 0 }
    }

    /// What buffering `batch` costs.
    pub fn cost(&self, batch: &RecordBatch) -> usize {
        get_record_batch_memory_size(batch)
            + batch.num_rows() * size_of::<u32>()
            + self.partitions * size_of::<u32>()
    }

    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let arrays = evaluate_expressions_to_arrays(&self.exprs, &batch)?;
        self.hashes.clear();
        self.hashes.resize(batch.num_rows(), 0);
        create_hashes(&arrays, REPARTITION_RANDOM_STATE.random_state(), &mut self.hashes)?;
        let (order, starts) = self.sort_rows();
        self.rows += batch.num_rows();
        self.bytes += data_bytes(&batch);
        let batch = take_record_batch(&batch, &order)?;
        self.batches.push(Spread { batch, starts });
        Ok(())
    }

    /// Counting sort of the row numbers by partition.
    fn sort_rows(&mut self) -> (UInt32Array, Vec<u32>) {
        let mut starts = vec![0_u32; self.partitions + 1];
        let partitions = self.partitions as u64;
        self.assigned.clear();
        if partitions.is_power_of_two() {
            let mask = partitions - 1;
            self.assigned.extend(self.hashes.iter().map(|hash| (hash & mask) as u32));
        } else {
            self.assigned.extend(self.hashes.iter().map(|hash| (hash % partitions) as u32));
        }
        self.assigned.iter().for_each(|partition| starts[*partition as usize + 1] += 1);
        for partition in 0..self.partitions {
            starts[partition + 1] += starts[partition];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; self.assigned.len()];
        for (row, partition) in self.assigned.iter().enumerate() {
            let at = &mut next[*partition as usize];
            order[*at as usize] = row as u32;
            *at += 1;
        }
        (order.into(), starts)
    }

    /// Empties the buffer; the result gives each partition's batches.
    pub fn take(&mut self) -> Filled {
        let rows_max = self.size.rows(self.bytes, self.rows);
        (self.rows, self.bytes) = (0, 0);
        Filled { batches: std::mem::take(&mut self.batches), rows_max }
    }
}

/// A buffer's content on its way out.
#[derive(Debug)]
pub(super) struct Filled {
    batches: Vec<Spread>,
    rows_max: usize,
}

impl Filled {
    /// How many batches of one partition there are.
    pub fn chunks(&self, partition: usize) -> usize {
        let rows: usize = self.batches.iter().map(|spread| spread.rows_of(partition).len()).sum();
        rows.div_ceil(self.rows_max)
    }

    /// The `chunk`-th batch of a partition in pieces: its rows in the order in which they came.
    pub fn chunk(&self, partition: usize, chunk: usize) -> Vec<RecordBatch> {
        let (mut skip, mut want) = (chunk * self.rows_max, self.rows_max);
        let mut pieces = vec![];
        for spread in &self.batches {
            let rows = spread.rows_of(partition);
            let skipped = skip.min(rows.len());
            let taken = want.min(rows.len() - skipped);
            if taken > 0 {
                pieces.push(spread.batch.slice(rows.start + skipped, taken));
            }
            (skip, want) = (skip - skipped, want - taken);
            if want == 0 {
                break;
            }
        }
        pieces
    }
}

/// One batch of the rows of all pieces, of which there is at least one, without what they share with others.
pub fn whole(pieces: &[RecordBatch]) -> Result<RecordBatch> {
    match pieces {
        [piece] => compact(piece),
        pieces => compact(&concat_batches(pieces[0].schema_ref(), pieces)?),
    }
}

/// Rows that all go to one partition: large batches pass through, small ones are put together.
#[derive(Debug)]
pub(super) struct PlainBuffer {
    batches: Vec<RecordBatch>,
    size: BatchSize,
    rows: usize,
    bytes: usize,
}

impl PlainBuffer {
    pub fn new(size: BatchSize) -> Self {
        Self { batches: vec![], size, rows: 0, bytes: 0 }
    }

    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += data_bytes(&batch);
        self.batches.push(batch);
    }

    /// Bytes of the rows that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_full(&self) -> bool {
        self.rows >= self.size.rows_max || self.bytes >= self.size.bytes_target
    }

    /// Batches of a good size, without what they share with others.
    pub fn take(&mut self) -> Result<Vec<RecordBatch>> {
        self.take_shared()?.iter().map(compact).collect()
    }

    /// Batches of a good size, which may share buffers.
    pub fn take_shared(&mut self) -> Result<Vec<RecordBatch>> {
        let batches = std::mem::take(&mut self.batches);
        let rows_max = self.size.rows(self.bytes, self.rows);
        (self.rows, self.bytes) = (0, 0);
        let whole = match batches.as_slice() {
            [] => return Ok(vec![]),
            [batch] => batch.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &batches)?,
        };
        Ok(slices(whole.num_rows(), rows_max).map(|rows| whole.slice(rows.start, rows.len())).collect())
    }
}

fn slices(rows: usize, rows_max: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(rows_max).map(move |from| from..rows.min(from + rows_max))
}
