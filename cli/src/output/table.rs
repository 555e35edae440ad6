//! Tables for people, and how numbers look in them.

use std::io::Write;

use arrow::{array::RecordBatch, datatypes::SchemaRef, util::pretty::pretty_format_batches_with_schema};
use comfy_table::{CellAlignment, ContentArrangement, presets};
use penstock_common::bytes::ByteSize;
use serde::Serialize;

use super::Encoder;

/// A result as a table: holds all its rows, of which the caller lets only so many come.
pub struct Rows<'a> {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    into: &'a mut (dyn Write + Send),
}

impl<'a> Rows<'a> {
    pub fn new(schema: SchemaRef, into: &'a mut (dyn Write + Send)) -> Self {
        Self { schema, batches: Vec::new(), into }
    }
}

impl Encoder for Rows<'_> {
    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        self.batches.push(batch.clone());
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let shown = pretty_format_batches_with_schema(self.schema.clone(), &self.batches)?;
        Ok(writeln!(self.into, "{shown}")?)
    }
}

/// A table of our own values. Columns in `right` (by position) hold numbers.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for position in right {
        if let Some(column) = table.column_mut(*position) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for position in 0..header.len() {
        if let Some(column) = table.column_mut(position) {
            column.set_padding((0, 2));
        }
    }
    table.trim_fmt()
}

pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

/// `1,234,567`
pub fn rows(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `12.3 MiB`
pub fn bytes(count: u64) -> String {
    let shown = ByteSize(count).to_string();
    match shown.find(|c: char| c.is_ascii_alphabetic()) {
        Some(unit) => format!("{} {}", &shown[..unit], &shown[unit..]),
        None => shown,
    }
}

pub fn seconds(duration: std::time::Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_counts_are_grouped_by_thousands() {
        let shown: Vec<_> = [0, 999, 1000, 1_234_567].into_iter().map(rows).collect();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_have_a_space_before_their_unit() {
        assert_eq!([bytes(0), bytes(1536), bytes(1 << 20)], ["0 B", "1.5 KiB", "1 MiB"]);
    }
}
