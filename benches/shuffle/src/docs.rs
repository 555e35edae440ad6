//! Puts the tables of a run into a document, between two marks that have the name of the part.

use std::{fs, path::Path};

use anyhow::Context;

pub fn rewrite(path: &Path, part: &str, tables: &str) -> anyhow::Result<()> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
    let text = replaced(&text, part, tables).with_context(|| format!("{shown} has no marks of `{part}`"))?;
    fs::write(path, text).with_context(|| format!("writing {shown}"))
}

fn replaced(text: &str, part: &str, tables: &str) -> Option<String> {
    let begin = format!("<!-- {part}: written by the benchmark -->\n");
    let end = format!("<!-- end of {part} -->\n");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{tables}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_of_the_part_changes() {
        let part = |name: &str, content: &str| {
            format!("<!-- {name}: written by the benchmark -->\n{content}<!-- end of {name} -->\n")
        };
        let text = format!("head\n{}middle\n{}tail\n", part("one", "old\n"), part("two", "old\n"));
        let new = replaced(&text, "two", "table\n").unwrap_or_default();
        assert_eq!(
            new,
            format!("head\n{}middle\n{}tail\n", part("one", "old\n"), part("two", "\ntable\n\n"))
        );
        assert_eq!(replaced(&text, "three", "table"), None);
    }
}
