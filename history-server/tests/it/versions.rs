//! Logs of every released version are read for ever; those of newer ones as far as they are understood.

use std::fs;

use penstock_protocol::{event::Record, ids::JobId};

use crate::server::Server;

const V1: &str = include_str!("golden/v1.jsonl");
/// Those events of version 1 that tell of shuffles, which came later.
const V1_SHUFFLES: &str = include_str!("golden/v1-shuffles.jsonl");

/// The log of the cluster, with an event of each type.
const V1_CLUSTER: &str = include_str!("golden/v1-cluster.json");

fn server_with(lines: &str) -> (Server, JobId) {
    let server = Server::new();
    let record: Record = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
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
async fn what_version_1_told_of_shuffles_is_read_completely() {
    let with_new_fields = V1_SHUFFLES.replace("{\"v\":1,", "{\"v\":1,\"added\":{\"deep\":[1]},");
    for lines in [V1_SHUFFLES, &with_new_fields] {
        let (server, job) = server_with(lines);
        assert_eq!(server.page(job).await["log"]["whole"], true);
        let told = server.get(&format!("/api/v1/jobs/{job}/shuffle")).await;
        let exchange = &told["exchanges"][0];
        assert_eq!((&exchange["run"], &exchange["copies"]), (&1.into(), &1.into()), "{exchange}");
        assert_eq!(exchange["lost_runs"][0]["reason"], "partition 1 on worker shuffle-2: connection refused");
        let kinds: Vec<_> =
            told["story"].as_array().unwrap().iter().map(|moment| moment["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["moved", "moved", "lost", "rerun"], "{told}");
        assert_eq!(exchange["state"], "released");
    }
}

#[tokio::test]
async fn a_log_of_the_cluster_of_version_1_is_read_completely() {
    let with_more = V1_CLUSTER.replace("{\"v\":1,", "{\"v\":2,\"added\":{\"deep\":[1]},").replace(
        "\"events\":[",
        "\"events\":[{\"at_ms\":1,\"type\":\"worker_repainted\",\"colour\":\"red\"},",
    );
    for text in [V1_CLUSTER, &with_more] {
        let server = Server::new();
        fs::write(server.root.path().join("cluster-log.json"), text).unwrap();
        server.refresh().await;
        let cluster = server.get("/api/v1/cluster").await;
        assert_eq!(cluster["shuffle_workers"].as_array().unwrap().len(), 2, "{cluster}");
        assert_eq!(cluster["shuffle_workers"][1]["standing"]["disks"][0]["state"], "FULL");
        assert_eq!(cluster["events"].as_array().unwrap().len(), 7, "{cluster}");
        assert_eq!(cluster["watched"]["silent_because"], "connection refused");
    }
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
    fs::write("tests/it/golden/next.jsonl", text).unwrap();
}
