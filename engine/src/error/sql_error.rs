//! A mistake in a script, shown the way a compiler would show it.

use std::fmt;

use penstock_protocol::task::{Failure, FailureClass};

/// A place in a script; line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// Why a script cannot be planned. `Display` is the whole message: what, where, the line with a caret, and the nearest
/// name when one was misspelt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    pub message: String,
    pub line: Option<u64>,
    pub column: Option<u64>,
    pub source_line: Option<String>,
    /// Complete advice, such as ``did you mean `l_orderkey`?``.
    pub suggestion: Option<String>,
    pub class: FailureClass,
}

impl SqlError {
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None, column: None, source_line: None, suggestion: None, class }
    }

    /// A mistake in the SQL text itself.
    pub fn sql(message: impl Into<String>) -> Self {
        Self::new(FailureClass::UserSql, message)
    }

    /// Something wrong with the data that the SQL names.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(FailureClass::UserData, message)
    }

    pub fn with_suggestion(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Points at a place in `script`; the first place that was given stays.
    pub fn at(mut self, script: &str, position: Position) -> Self {
        if self.line.is_none() {
            self.line = Some(position.line);
            self.column = Some(position.column);
            let index = usize::try_from(position.line.saturating_sub(1)).unwrap_or(usize::MAX);
            self.source_line = script.lines().nth(index).map(str::to_owned);
        }
        self
    }

    /// The same as a failure of a job: one line, with the place in it.
    pub fn to_failure(&self) -> Failure {
        let message = match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{} (line {line}, column {column})", self.message),
            _ => self.message.clone(),
        };
        Failure { class: self.class, message, advice: self.suggestion.clone(), lost_shuffle: None }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "\n  at line {line}, column {column}")?;
            if let Some(source) = &self.source_line {
                write_source(f, line, column, source)?;
            }
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n  help: {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SqlError {}

/// Characters shown on each side of the caret: generated SQL can be one long line.
const SHOWN_MAX: usize = 100;

/// The line under its number, and a caret under the column. Tabs stay tabs, so that the caret lines up.
fn write_source(f: &mut fmt::Formatter<'_>, line: u64, column: u64, source: &str) -> fmt::Result {
    let number = line.to_string();
    let chars: Vec<char> = source.chars().collect();
    let caret = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX).min(chars.len());
    let (start, end) = (caret.saturating_sub(SHOWN_MAX), (caret + SHOWN_MAX).min(chars.len()));
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < chars.len() { "…" } else { "" });
    let shown: String = chars[start..end].iter().collect();
    let indent: String = before
        .chars()
        .chain(chars[start..caret].iter().copied())
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    write!(f, "\n  {number} | {before}{shown}{after}\n  {} | {indent}^", " ".repeat(number.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_points_at_the_column() {
        let script = "select 1;\nselect nmae from t";
        let error = SqlError::sql("there is no column `nmae`")
            .at(script, Position { line: 2, column: 8 })
            .with_suggestion("did you mean `name`?");
        let expected = "there is no column `nmae`\n  at line 2, column 8\n  2 | select nmae from t\n    |        ^\n  \
                        help: did you mean `name`?";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_long_line_is_shown_around_the_caret() {
        let script = format!("select {}", "x, ".repeat(10_000));
        let error = SqlError::sql("no").at(&script, Position { line: 1, column: 15_000 });
        let shown = error.to_string();
        assert!(shown.len() < 600 && shown.contains("| …") && shown.contains("…\n"), "{shown}");
    }

    #[test]
    fn a_column_past_the_end_of_its_line_is_still_shown() {
        let error =
            SqlError::sql("the statement ends too early").at("select", Position { line: 1, column: 40 });
        assert!(error.to_string().ends_with("1 | select\n    |       ^"));
    }
}
