//! `penstock tables`

use clap::Args;
use serde_json::Value;

use crate::{args::Global, exit::Exit, output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock tables
  penstock tables orders")]
pub struct Arguments {
    /// Describe this table
    name: Option<String>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let client = global.client()?;
    let answer = match &arguments.name {
        Some(name) => client.get(&format!("tables/{name}")).await?,
        None => client.get("tables").await?,
    };
    if global.json {
        output::print_json(&answer)?;
        return Ok(Exit::Ok);
    }
    match &arguments.name {
        Some(_) => show(&answer),
        None => list(&answer),
    }
    Ok(Exit::Ok)
}

fn list(answer: &Value) {
    let tables = answer["tables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows =
        tables.iter().map(|table| ["schema", "name", "kind", "format"].map(|key| text(&table[key])).to_vec());
    println!("{}", output::table(&["schema", "table", "kind", "format"], &[], rows.collect()));
}

fn show(table: &Value) {
    let Some(fields) = table.as_object() else { return };
    for (name, value) in fields.iter().filter(|(name, _)| *name != "columns") {
        if !value.is_null() {
            println!("{name:<18}{}", text(value));
        }
    }
    if let Some(columns) = table["columns"].as_array() {
        let rows = columns.iter().map(|column| ["name", "type"].map(|key| text(&column[key])).to_vec());
        println!("\n{}", output::table(&["column", "type"], &[], rows.collect()));
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
