//! Reads and checks `.slt` files: the part of sqllogictest's format that our files use.
//!
//! `statement ok`, `statement error PATTERN`, and `query TYPES [rowsort]` with the expected rows after `----`. A pattern
//! is text with `.*` between parts that must occur in this order, and `|` between alternatives. (The crate of that name turns on features of `md-5`
//! that would compile object_store, and with it DataFusion, a second time for tests.)

use super::database::Database;

/// One record of a file.
#[derive(Debug)]
struct Record {
    line: usize,
    sql: String,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Success,
    Error(String),
    Rows { rows: Vec<String>, sorted: bool },
}

/// Runs all records in order; panics with file and line at the first that is not as expected.
pub async fn run(path: &str, place: &str, database: &mut Database) {
    let text = std::fs::read_to_string(path).unwrap();
    for record in parse(&text) {
        let at = format!("{path}:{} {place}\n{}", record.line, record.sql);
        let outcome = database.execute(&record.sql).await;
        match (record.expected, outcome) {
            (Expected::Success, Ok(_)) => {}
            (Expected::Error(pattern), Err(error)) => {
                let message = error.to_string();
                assert!(
                    matches(&pattern, &message),
                    "{at}\nexpected an error like `{pattern}`\ngot {message}"
                );
            }
            (Expected::Rows { rows, sorted }, Ok(Some(got))) => {
                let mut got: Vec<String> = got.into_iter().map(line).collect();
                let mut rows = rows;
                if sorted {
                    got.sort();
                    rows.sort();
                }
                assert_eq!(rows, got, "{at}");
            }
            (Expected::Rows { .. }, Ok(None)) => panic!("{at}\nthe statement has no rows"),
            (Expected::Error(pattern), Ok(_)) => {
                panic!("{at}\nexpected an error like `{pattern}`, but it succeeded")
            }
            (_, Err(error)) => panic!("{at}\n{error}"),
        }
    }
}

fn parse(text: &str) -> Vec<Record> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line)).peekable();
    let mut records = vec![];
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut sql = vec![];
        let mut rows = None;
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.trim().is_empty()) {
            match &mut rows {
                None if line == "----" => rows = Some(vec![]),
                None => sql.push(line),
                Some(rows) => rows.push(line.split_whitespace().collect::<Vec<_>>().join(" ")),
            }
        }
        let expected = match (line.strip_prefix("statement error"), line) {
            (Some(pattern), _) => Expected::Error(pattern.trim().to_owned()),
            (None, "statement ok") => Expected::Success,
            (None, line) if line.starts_with("query ") => {
                let rows = rows.unwrap_or_else(|| panic!("line {number}: a query needs ---- and its rows"));
                Expected::Rows { rows, sorted: line.ends_with(" rowsort") }
            }
            _ => panic!("line {number}: `{line}` is no record"),
        };
        records.push(Record { line: number, sql: sql.join("\n"), expected });
    }
    records
}

fn matches(pattern: &str, message: &str) -> bool {
    let plain = pattern.trim_start_matches("(?s)").replace('\\', "");
    plain.split('|').any(|alternative| occurs_in_order(alternative, message))
}

fn occurs_in_order(pattern: &str, message: &str) -> bool {
    let mut rest = message;
    pattern.split(".*").all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// A row as the file shows it: cells apart by one space, empty ones named.
fn line(row: Vec<String>) -> String {
    let cell = |cell: String| if cell.is_empty() { "(empty)".to_owned() } else { cell };
    let joined = row.into_iter().map(cell).collect::<Vec<_>>().join(" ");
    joined.split_whitespace().collect::<Vec<_>>().join(" ")
}
