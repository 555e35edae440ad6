//! Puts the tables of a run into a document, between two marks.

use std::{fs, path::Path};

use anyhow::Context;

use crate::report::Report;

const BEGIN: &str = "<!-- measured: written by the benchmark -->\n";
const END: &str = "<!-- end of measured -->\n";

pub fn rewrite(path: &Path, report: &Report) -> anyhow::Result<()> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
    let text = replaced(&text, &report.tables()).with_context(|| format!("{shown} has no marks"))?;
    fs::write(path, text).with_context(|| format!("writing {shown}"))
}

fn replaced(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let text = format!("head\n{BEGIN}old\n{END}tail\n");
        let new = replaced(&text, "table\n").unwrap_or_default();
        assert_eq!(new, format!("head\n{BEGIN}\ntable\n\n{END}tail\n"));
        assert_eq!(replaced("no marks", "table"), None);
    }
}
