//! Compares a result with the known answer. Numbers agree within one unit of the shorter scale.

use std::sync::Arc;

use anyhow::Context;
use arrow::{
    array::{Array, AsArray, RecordBatch},
    csv,
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};

use super::queries::Query;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Right,
    RowCount { expected: usize, found: usize },
    Row { row: usize, expected: Vec<String>, found: Vec<String> },
}

impl Verdict {
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Right => None,
            Self::RowCount { expected, found } => Some(format!("{found} rows instead of {expected}")),
            Self::Row { row, expected, found } => {
                Some(format!("row {row} is {} instead of {}", found.join(","), expected.join(",")))
            }
        }
    }
}

type Row = Vec<String>;

pub fn check(query: &Query, batches: &[RecordBatch]) -> anyhow::Result<Verdict> {
    let expected = answer_rows(query.answer)?;
    Ok(compare(&expected, &shown_rows(batches)?, query.sorted_by))
}

fn compare(expected: &[Row], found: &[Row], sorted_by: &[usize]) -> Verdict {
    if expected.len() != found.len() {
        return Verdict::RowCount { expected: expected.len(), found: found.len() };
    }
    let mut start = 0;
    while start < expected.len() {
        let ties = ties_from(&expected[start..], sorted_by);
        if let Some(offset) = first_unmatched(&expected[start..start + ties], &found[start..start + ties]) {
            let row = start + offset;
            let (expected, found) = (expected[row].clone(), found[row].clone());
            return Verdict::Row { row: row + 1, expected, found };
        }
        start += ties;
    }
    Verdict::Right
}

/// How many rows from the first on are equal in the columns that sort them.
fn ties_from(rows: &[Row], sorted_by: &[usize]) -> usize {
    let same = |row: &&Row| !sorted_by.is_empty() && sorted_by.iter().all(|&key| row[key] == rows[0][key]);
    1 + rows[1..].iter().take_while(same).count()
}

/// Matches each expected row with a found one that is not taken yet.
fn first_unmatched(expected: &[Row], found: &[Row]) -> Option<usize> {
    let mut taken = vec![false; found.len()];
    expected.iter().position(|expected| {
        let free = (0..found.len()).find(|&at| !taken[at] && rows_agree(expected, &found[at]));
        free.map(|at| taken[at] = true).is_none()
    })
}

fn rows_agree(expected: &Row, found: &Row) -> bool {
    expected.len() == found.len() && expected.iter().zip(found).all(|(a, b)| cells_agree(a, b))
}

fn cells_agree(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (Number::parse(a), Number::parse(b)) else { return false };
    a.agrees_with(&b)
}

/// A decimal number, exact.
struct Number {
    /// The value times 10^`SCALE_MAX`.
    units: i128,
    scale: u32,
}

const SCALE_MAX: u32 = 18;

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = &fraction[..fraction.len().min(SCALE_MAX as usize)];
        let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let scale = fraction.len() as u32;
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let units = digits.checked_mul(10_i128.checked_pow(SCALE_MAX - scale)?)?;
        Some(Self { units: if negative { -units } else { units }, scale })
    }

    fn agrees_with(&self, other: &Self) -> bool {
        let one = 10_i128.pow(SCALE_MAX - self.scale.min(other.scale));
        // Whole numbers on both sides are counts and keys: they have nothing to round.
        let tolerance = if self.scale == 0 && other.scale == 0 { 0 } else { one };
        (self.units - other.units).abs() <= tolerance
    }
}

fn answer_rows(answer: &str) -> anyhow::Result<Vec<Row>> {
    let header = answer.lines().next().context("an answer has a header")?;
    let fields: Vec<_> = header.split(',').map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let reader =
        csv::ReaderBuilder::new(Arc::new(Schema::new(fields))).with_header(true).build(answer.as_bytes())?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| text_at(column, row)).collect());
        }
    }
    Ok(rows)
}

fn text_at(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) { String::new() } else { column.as_string::<i32>().value(row).to_owned() }
}

fn shown_rows(batches: &[RecordBatch]) -> anyhow::Result<Vec<Row>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options)).collect();
        let columns = columns?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Row> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn numbers_agree_within_one_unit_of_the_shorter_scale() {
        let cases = [
            ("25.537587", "25.537587116854997", true),
            ("25.537586", "25.537587116854997", false),
            ("0.05", "0.0501", true),
            ("5256751331.449234", "5256751331.449235", true),
            ("5256751331.449234", "5256751331.449236", false),
            ("147790", "147790.0", true),
            ("147790", "147791", false),
            ("-1.5", "1.5", false),
            ("abc", "abd", false),
        ];
        for (a, b, agree) in cases {
            assert_eq!(cells_agree(a, b), agree, "{a} {b}");
        }
    }

    #[test]
    fn tied_rows_may_stand_in_any_order_and_others_may_not() {
        let expected = rows(&[&["9", "a"], &["7", "b"], &["7", "c"], &["5", "d"]]);
        let tied = rows(&[&["9", "a"], &["7", "c"], &["7", "b"], &["5", "d"]]);
        let wrong = rows(&[&["7", "b"], &["9", "a"], &["7", "c"], &["5", "d"]]);
        assert_eq!(compare(&expected, &tied, &[0]), Verdict::Right);
        assert!(matches!(compare(&expected, &wrong, &[0]), Verdict::Row { row: 1, .. }));
        assert!(matches!(compare(&expected, &tied, &[]), Verdict::Row { row: 2, .. }));
    }

    #[test]
    fn a_missing_row_is_told() {
        let expected = rows(&[&["1"], &["2"]]);
        let verdict = compare(&expected, &rows(&[&["1"]]), &[]);
        assert_eq!(verdict.problem().as_deref(), Some("1 rows instead of 2"));
    }

    #[test]
    fn every_answer_can_be_read() {
        for query in super::super::queries::all() {
            let rows = answer_rows(query.answer).expect("reads");
            assert!(!rows.is_empty(), "{}", query.name());
        }
    }
}
