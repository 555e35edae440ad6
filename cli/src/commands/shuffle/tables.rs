//! The masters' answers as tables. A field that is missing is shown as nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::output;

pub fn workers(answer: &Value) -> String {
    let header = [
        "worker",
        "state",
        "until",
        "zone",
        "tags",
        "disks",
        "jobs",
        "locations",
        "open",
        "memory",
        "used",
        "free",
    ];
    let rows = list(answer, "workers").map(worker_row).collect();
    table_or("no shuffle worker reports", &header, &[6, 7, 8, 9, 10, 11], rows)
}

pub fn worker(answer: &Value) -> String {
    let row = worker_row(answer);
    match row[2].as_str() {
        "" => format!("{} is {}", row[0], row[1]),
        until => format!("{} is {} until {until}", row[0], row[1]),
    }
}

fn worker_row(worker: &Value) -> Vec<String> {
    let until = ["excluded_until", "leaves_at", "suspected_until"];
    let until = until.iter().map(|key| text(worker, key)).find(|until| !until.is_empty());
    let zone = [text(worker, "zone"), text(worker, "rack")].join("/");
    let tags: Vec<_> = list(worker, "tags").filter_map(Value::as_str).collect();
    vec![
        text(worker, "worker"),
        text(worker, "state"),
        until.unwrap_or_default(),
        zone.trim_matches('/').to_owned(),
        tags.join(","),
        disks(worker),
        count(worker, "jobs"),
        count(worker, "locations"),
        count(worker, "open_locations"),
        bytes(worker, "memory_used_bytes"),
        bytes(worker, "disk_used_bytes"),
        bytes(worker, "disk_free_bytes"),
    ]
}

/// How many of each class, and what is wrong with which.
fn disks(worker: &Value) -> String {
    let mut classes: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for disk in list(worker, "disks") {
        let (count, troubles) = classes.entry(text(disk, "class")).or_default();
        *count += 1;
        troubles.extend(Some(text(disk, "state")).filter(|state| state != "HEALTHY"));
    }
    let shown = classes.into_iter().map(|(class, (count, troubles))| match troubles.is_empty() {
        true => format!("{count} {class}"),
        false => format!("{count} {class} ({})", troubles.join(", ")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

pub fn jobs(answer: &Value) -> String {
    let row = |job: &Value| {
        let over = if job["over_quota"] == true { "over quota" } else { "" };
        vec![
            text(job, "job"),
            text(job, "user"),
            count(job, "workers"),
            count(job, "locations"),
            bytes(job, "bytes"),
            over.to_owned(),
        ]
    };
    let header = ["job", "user", "workers", "locations", "bytes", ""];
    table_or("nothing is held of any job", &header, &[2, 3, 4], list(answer, "jobs").map(row).collect())
}

pub fn partitions(answer: &Value) -> String {
    let row = |location: &Value| {
        vec![
            count(location, "exchange"),
            count(location, "run"),
            count(location, "partition"),
            count(location, "epoch"),
            text(location, "worker"),
            text(location, "phase"),
            bytes(location, "bytes"),
            bytes(location, "disk_bytes"),
        ]
    };
    let header = ["exchange", "run", "partition", "epoch", "worker", "phase", "bytes", "on disk"];
    let rows: Vec<_> = list(answer, "locations").map(row).collect();
    let shown = rows.len() as u64;
    let mut table = table_or("nothing is held any more", &header, &[0, 1, 2, 3, 6, 7], rows);
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > shown {
        table += &format!("\nthe first {} of {}", output::rows(shown), output::rows(total));
    }
    for silent in list(answer, "silent").filter_map(Value::as_str) {
        table += &format!("\nworker {silent} holds more and does not answer");
    }
    table
}

pub fn quotas(answer: &Value) -> String {
    let row = |user: &Value| {
        let name = text(user, "user");
        vec![
            if name.is_empty() { "(nobody)".to_owned() } else { name },
            bytes(user, "bytes"),
            limit(user["bytes_max"].as_u64(), output::bytes),
            count(user, "locations"),
            limit(user["locations_max"].as_u64(), output::rows),
            if user["own"] == true { "own" } else { "" }.to_owned(),
        ]
    };
    let header = ["user", "bytes", "of", "locations", "of", ""];
    let rows = list(answer, "users").map(row).collect();
    table_or("nobody holds anything or has limits of their own", &header, &[1, 2, 3, 4], rows)
}

pub fn settings(answer: &Value) -> String {
    let fields = answer.as_object().into_iter().flatten();
    output::table(
        &["setting", "value"],
        &[],
        fields.map(|(key, value)| vec![key.clone(), plain(value)]).collect(),
    )
}

pub fn changed(answer: &Value) -> String {
    let changed: Vec<_> = list(answer, "changed").filter_map(Value::as_str).collect();
    if changed.is_empty() { "nothing changed".to_owned() } else { format!("changed: {}", changed.join(", ")) }
}

pub fn settings_of_workers(answer: &Value) -> String {
    let of = |worker: &Value| match worker.get("settings") {
        Some(shown) => format!("{}\n{}", text(worker, "worker"), settings(shown)),
        None => format!("{}: {}", text(worker, "worker"), changed(worker)),
    };
    list(answer, "workers").map(of).collect::<Vec<_>>().join("\n")
}

/// A sentence in place of a table without rows.
fn table_or(empty: &str, header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() { empty.to_owned() } else { output::table(header, right, rows) }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value, key: &str) -> String {
    value[key].as_u64().map(output::rows).unwrap_or_default()
}

fn bytes(value: &Value, key: &str) -> String {
    value[key].as_u64().map(output::bytes).unwrap_or_default()
}

/// 0 is no limit.
fn limit(limit: Option<u64>, shown: fn(u64) -> String) -> String {
    limit.filter(|limit| *limit > 0).map(shown).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
