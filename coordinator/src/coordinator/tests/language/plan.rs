//! Plans in words.

use penstock_protocol::ids::StageId;

use crate::job::{ReadMode, StageOutput, StageSpec, StatementWork};

/// `x:2 > y:3 > r:1` is a chain of stages; the last one's name says what it makes: `files`, `table` (files, and then a
/// catalog change), `r` (rows in the report), anything else a result in the shuffle. `y:3!` is proved to write the same
/// rows each time; `z:1(x,y)` reads other stages than the one before it.
pub fn work(text: &str, first: StageId) -> StatementWork {
    match text {
        "catalog" => return StatementWork::Catalog,
        "rows" => return StatementWork::Rows { rows: 3 },
        "set" => return StatementWork::Set { key: "k".to_owned(), value: "v".to_owned() },
        _ => {}
    }
    let texts: Vec<_> = text.split('>').map(|stage| stage.trim().split_once(':').unwrap()).collect();
    let names: Vec<_> = texts.iter().map(|(name, _)| *name).collect();
    let stages = texts.iter().enumerate().map(|(position, (_, sizes))| stage(&names, position, sizes, first));
    let stages = stages.collect();
    match names[names.len() - 1] {
        name @ ("files" | "table") => {
            StatementWork::Sink { stages, target: "t".to_owned(), changes_catalog: name == "table" }
        }
        _ => StatementWork::Query { stages },
    }
}

fn stage(names: &[&str], position: usize, sizes: &str, first: StageId) -> StageSpec {
    let numbered = |position: usize| StageId(first.0 + position as u32);
    let (tasks, inputs) = sizes.split_once('(').unwrap_or((sizes, ""));
    let named = inputs.trim_end_matches(')').split(',').filter(|name| !name.is_empty());
    let mut inputs: Vec<_> =
        named.map(|input| names.iter().position(|name| *name == input).unwrap()).collect();
    if inputs.is_empty() && position > 0 {
        inputs.push(position - 1);
    }
    StageSpec {
        stage: numbered(position),
        name: names[position].to_owned(),
        inputs: inputs.into_iter().map(|input| (numbered(input), ReadMode::All)).collect(),
        tasks: tasks.trim_end_matches('!').parse().unwrap(),
        output_partitions: 1,
        output: match names[position] {
            _ if position + 1 < names.len() => StageOutput::Shuffle,
            "files" | "table" => StageOutput::Files,
            _ => StageOutput::Result,
        },
        deterministic: tasks.ends_with('!'),
    }
}
