//! Splits batches by the values of hive partition columns.

use std::collections::HashMap;

use arrow::{
    array::{Array, RecordBatch, StringArray, UInt32Array, cast::AsArray},
    compute::{cast, take_record_batch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::{exec_err, internal_datafusion_err},
    error::Result,
};
use object_store::path::PathPart;

/// Where rows go: one path segment `column=value` per partition column, encoded for paths. Empty without any.
pub type Folder = Vec<String>;

/// Which columns are partition columns, and which are written.
#[derive(Debug, Clone)]
pub struct HiveSplit {
    partition: Vec<(String, usize)>,
    written: Vec<usize>,
    pub written_schema: SchemaRef,
}

impl HiveSplit {
    pub fn new(schema: &SchemaRef, columns: &[String], keep: bool) -> Result<Self> {
        let index = |column: &String| {
            schema
                .index_of(column)
                .map_err(|_| internal_datafusion_err!("partition column {column} is missing"))
        };
        let partition: Vec<(String, usize)> =
            columns.iter().map(|column| Ok((column.clone(), index(column)?))).collect::<Result<_>>()?;
        let is_written = |column: &usize| keep || partition.iter().all(|(_, index)| index != column);
        let written: Vec<usize> = (0..schema.fields().len()).filter(is_written).collect();
        let written_schema = std::sync::Arc::new(schema.project(&written)?);
        Ok(Self { partition, written, written_schema })
    }

    pub fn is_partitioned(&self) -> bool {
        !self.partition.is_empty()
    }

    /// The batch's rows by folder, without the partition columns.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(Folder, RecordBatch)>> {
        let rows = batch.project(&self.written)?;
        if !self.is_partitioned() {
            return Ok(vec![(Folder::new(), rows)]);
        }
        let groups = self.groups(batch)?;
        if groups.len() == 1 {
            return Ok(groups.into_keys().map(|folder| (folder, rows.clone())).collect());
        }
        let part = |(folder, indices): (Folder, Vec<u32>)| {
            Ok((folder, take_record_batch(&rows, &UInt32Array::from(indices))?))
        };
        groups.into_iter().map(part).collect()
    }

    fn groups(&self, batch: &RecordBatch) -> Result<HashMap<Folder, Vec<u32>>> {
        let values = self
            .partition
            .iter()
            .map(|(name, index)| text(batch, name, *index))
            .collect::<Result<Vec<_>>>()?;
        let mut groups: HashMap<Vec<&str>, Vec<u32>> = HashMap::new();
        let mut key = Vec::with_capacity(values.len());
        for row in 0..batch.num_rows() {
            key.clear();
            key.extend(values.iter().map(|column| column.value(row)));
            let row = row as u32;
            match groups.get_mut(&key) {
                Some(rows) => rows.push(row),
                None => {
                    groups.insert(key.clone(), vec![row]);
                }
            }
        }
        Ok(groups.into_iter().map(|(values, rows)| (self.folder(&values), rows)).collect())
    }

    fn folder(&self, values: &[&str]) -> Folder {
        let segment = |((column, _), value): (&(String, usize), &&str)| {
            PathPart::from(format!("{column}={value}")).as_ref().to_owned()
        };
        self.partition.iter().zip(values).map(segment).collect()
    }
}

/// A partition column as text. A NULL could not be told from a text when it is read back.
fn text(batch: &RecordBatch, name: &str, index: usize) -> Result<StringArray> {
    let column = cast(batch.column(index), &DataType::Utf8)?;
    if column.null_count() > 0 {
        return exec_err!(
            "partition column `{name}` has a NULL, which cannot be a folder's name; use coalesce({name}, …)"
        );
    }
    Ok(column.as_string::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::{
        array::{ArrayRef, Int64Array},
        util::pretty::pretty_format_batches,
    };
    use std::sync::Arc;

    fn batch(days: Vec<Option<&str>>) -> RecordBatch {
        let ids: Vec<i64> = (0..days.len() as i64).collect();
        let days: ArrayRef = Arc::new(StringArray::from(days));
        RecordBatch::try_from_iter([("day", days), ("id", Arc::new(Int64Array::from(ids)) as ArrayRef)])
            .expect("columns fit")
    }

    #[test]
    fn rows_go_to_the_folder_of_their_values() {
        let batch = batch(vec![Some("a"), Some("b/c"), Some("a")]);
        let split = HiveSplit::new(&batch.schema(), &["day".to_owned()], false).expect("column exists");
        let mut parts = split.split(&batch).expect("splits");
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        let folders: Vec<_> = parts.iter().map(|(folder, _)| folder.join("/")).collect();
        assert_eq!(folders, ["day=a", "day=b%2Fc"]);
        let first = pretty_format_batches(&[parts[0].1.clone()]).expect("prints").to_string();
        assert_eq!(first, "+----+\n| id |\n+----+\n| 0  |\n| 2  |\n+----+");
    }

    #[test]
    fn a_null_is_refused_by_name() {
        let batch = batch(vec![Some("a"), None]);
        let split = HiveSplit::new(&batch.schema(), &["day".to_owned()], false).expect("column exists");
        let error = split.split(&batch).expect_err("has a null").to_string();
        assert!(error.contains("`day` has a NULL"), "{error}");
    }
}
