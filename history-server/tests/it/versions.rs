//! Logs of every released version are read for ever; those of newer ones as far as they are understood.

use std::fs;

use penstock_protocol::{event::Record, ids::JobId};

use crate::server::Server;

const V1: &str = include_str!("golden/v1.jsonl");

fn server_with(lines: &str) -> (Server, JobId) {
    let server = Server::new();
    let record: Record = serde_json::from_str(V1.lines().next().unwrap()).unwrap();
    let penstock_protocol::event::Event::JobSubmitted(submitted) = record.event else {
        panic!("no submission")
    };
    let dir = server.root.path().join(submitted.job.to_string());
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("00000000.jsonl"), lines).unwrap();
    (server, submitted.job)
}

#[tokio::test]
async fn a_log_of_version_1_is_read_completely() {
    let (server, job) = server_with(V1);
    let page = server.page(job).await;
    assert_eq!((&page["log"]["whole"], &page["state"]), (&true.into(), &"SUCCEEDED".into()));
    assert_eq!(page["stages"].as_array().unwrap().len(), 2);
    let (stage, operator) = (&page["stages"][0]["totals"], &page["stages"][0]["operators"][0]["rows_out"]);
    assert_eq!(stage["rows_out"].as_f64(), operator["sum"].as_f64());
    assert_eq!(page["stages"][0]["tasks_finished"], 16);
    assert_eq!(page["statements"][1]["outputs"][0]["rows"], 184_200);
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_unknown_events_are_counted() {
    let mut lines: Vec<String> =
        V1.lines().map(|line| line.replacen("{\"v\":1,", "{\"v\":2,\"added\":{\"deep\":[1]},", 1)).collect();
    let last = lines.len() as u64;
    lines.push(format!(
        "{{\"v\":2,\"seq\":{},\"at_ms\":1794999999999,\"type\":\"plan_adapted\",\"x\":1}}",
        last + 1
    ));
    let (server, job) = server_with(&(lines.join("\n") + "\n"));
    let page = server.page(job).await;
    assert_eq!((&page["log"]["unknown"], &page["log"]["unreadable"]), (&1.into(), &0.into()));
    assert_eq!((&page["log"]["whole"], &page["state"]), (&false.into(), &"SUCCEEDED".into()));
}

/// Run with `--ignored` once for each new version of the schema, under a new name; a released sample never changes.
#[test]
#[ignore = "writes a sample"]
fn write_sample() {
    let log = crate::fixtures::jobs::script(crate::server::NOW_MS, 1);
    let text = log.lines().join("\n") + "\n";
    fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/next.jsonl"), text).unwrap();
}
