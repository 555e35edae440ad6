//! Rows with the results that belong to them: batches leave as soon as every expression has their results.

use std::collections::VecDeque;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::{concat, concat_batches},
    datatypes::SchemaRef,
};
use datafusion::error::Result;

use crate::compact::{array_bytes, compact_if_wasteful, data_bytes};

pub(super) struct Finished {
    rows: VecDeque<RecordBatch>,
    rows_bytes: usize,
    /// Of the last so many batches, the buffers may be shared with others.
    unsettled: usize,
    /// By expression, in the order of the rows.
    results: Vec<Results>,
    rows_max: usize,
}

#[derive(Default)]
struct Results {
    arrays: VecDeque<ArrayRef>,
    rows: usize,
    bytes: usize,
}

impl Finished {
    /// Batches leave with up to `rows_max` rows.
    pub fn new(exprs: usize, rows_max: usize) -> Self {
        let results = (0..exprs).map(|_| Results::default()).collect();
        Self { rows: VecDeque::new(), rows_bytes: 0, unsettled: 0, results, rows_max: rows_max.max(1) }
    }

    pub fn add_rows(&mut self, batch: RecordBatch) {
        self.rows_bytes += data_bytes(&batch);
        self.rows.push_back(batch);
        self.unsettled += 1;
    }

    pub fn add_results(&mut self, expr: usize, results: ArrayRef) {
        self.results[expr].push(results);
    }

    /// Bytes of the rows and results that wait.
    pub fn bytes(&self) -> usize {
        self.rows_bytes + self.results.iter().map(|results| results.bytes).sum::<usize>()
    }

    /// The next rows that have all their results.
    pub fn take(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        let ready = self.results.iter().map(|results| results.rows).min().unwrap_or(0).min(self.rows_max);
        let pieces = self.take_rows(ready);
        let rows = match pieces.as_slice() {
            [] => return Ok(None),
            [piece] => piece.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &pieces)?,
        };
        let mut columns = rows.columns().to_vec();
        for results in &mut self.results {
            columns.push(results.take(rows.num_rows())?);
        }
        Ok(Some(RecordBatch::try_new(schema.clone(), columns)?))
    }

    /// A batch as it came if it is not small; else some together.
    fn take_rows(&mut self, rows_max: usize) -> Vec<RecordBatch> {
        let (mut pieces, mut taken) = (vec![], 0);
        while let Some(front) = self.rows.front_mut() {
            let count = front.num_rows().min(rows_max - taken);
            if count == 0 || (taken > 0 && taken + count > self.rows_max / 2) {
                break;
            }
            let piece = front.slice(0, count);
            self.rows_bytes = self.rows_bytes.saturating_sub(data_bytes(&piece));
            taken += count;
            pieces.push(piece);
            if count == front.num_rows() {
                self.rows.pop_front();
            } else {
                *front = front.slice(count, front.num_rows() - count);
            }
        }
        self.unsettled = self.unsettled.min(self.rows.len());
        pieces
    }

    /// Rows that have to wait no longer share their buffers with rows that have left.
    pub fn settle(&mut self) -> Result<()> {
        for batch in self.rows.iter_mut().rev().take(std::mem::take(&mut self.unsettled)) {
            *batch = compact_if_wasteful(batch.clone())?;
        }
        Ok(())
    }
}

impl Results {
    fn push(&mut self, array: ArrayRef) {
        if !array.is_empty() {
            self.rows += array.len();
            self.bytes += array_bytes(&array);
            self.arrays.push_back(array);
        }
    }

    /// The first `count`, which are there.
    fn take(&mut self, count: usize) -> Result<ArrayRef> {
        let (mut pieces, mut wanted) = (vec![], count);
        while let Some(front) = self.arrays.front_mut() {
            let length = front.len().min(wanted);
            if length == 0 {
                break;
            }
            pieces.push(front.slice(0, length));
            wanted -= length;
            if length == front.len() {
                self.arrays.pop_front();
            } else {
                *front = front.slice(length, front.len() - length);
            }
        }
        self.rows -= count;
        self.bytes = self.bytes.saturating_sub(pieces.iter().map(array_bytes).sum());
        match pieces.as_slice() {
            [piece] => Ok(piece.clone()),
            pieces => Ok(concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<_>>())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, Int64Array},
        datatypes::{DataType, Field, Int64Type, Schema},
    };

    use super::*;

    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)])
            .expect("columns are equally long")
    }

    fn results(numbers: std::ops::Range<i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(numbers))
    }

    #[test]
    fn rows_leave_with_their_own_results_however_both_came() {
        let field = |name| Field::new(name, DataType::Int64, false);
        let schema = Arc::new(Schema::new(vec![field("n"), field("a"), field("b")]));
        let mut finished = Finished::new(2, 8);
        let mut left = vec![];
        let mut drain = |finished: &mut Finished| {
            while let Some(batch) = finished.take(&schema).expect("types fit") {
                assert!(batch.num_rows() <= 8);
                for column in 1..3 {
                    assert_eq!(batch.column(0).as_ref(), batch.column(column).as_ref());
                }
                left.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
            }
            finished.settle().expect("settles");
        };
        finished.add_rows(rows(0..20));
        finished.add_results(0, results(0..3));
        drain(&mut finished);
        finished.add_results(0, results(3..30));
        finished.add_results(1, results(0..1));
        drain(&mut finished);
        finished.add_rows(rows(20..21));
        finished.add_rows(rows(21..22));
        finished.add_rows(rows(22..30));
        finished.add_results(1, results(1..21));
        drain(&mut finished);
        finished.add_results(1, results(21..30));
        drain(&mut finished);
        assert_eq!(left, (0..30).collect::<Vec<_>>());
        assert_eq!(finished.bytes(), 0);
    }
}
