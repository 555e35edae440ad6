//! Logs that are not whole.

use std::fs;

use serde_json::Value;

use crate::{
    fixtures::{jobs, log::Log},
    server::{NOW_MS, Server},
};

fn log() -> Log {
    jobs::succeeded(NOW_MS - 3_600_000, 1)
}

#[tokio::test]
async fn a_log_cut_at_any_byte_is_viewable_with_a_mark() {
    let log = log();
    let segments = log.segments();
    let (last, whole) = segments.split_last().unwrap();
    for kept in (0..last.len()).step_by(97) {
        let server = Server::new();
        log.write(server.root.path());
        log.write_segment(server.root.path(), whole.len(), &last[..kept]);
        // The summary of a killed coordinator is old and says RUNNING.
        let mut summary = log.summary();
        summary.state = penstock_protocol::event::JobState::Running;
        let summary_path = log.dir(server.root.path()).join("summary.json");
        fs::write(summary_path, serde_json::to_vec(&summary).unwrap()).unwrap();

        let page = server.page(log.job).await;
        assert_eq!(page["log"]["whole"], false, "cut at {kept}");
        assert_eq!(page["log"]["cuts"].as_array().unwrap().len(), 1, "cut at {kept}");
        assert_eq!(page["stages"].as_array().unwrap().len(), 10, "cut at {kept}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_counted_and_the_rest_is_shown() {
    let server = Server::new();
    let log = log();
    log.write(server.root.path());
    fs::remove_file(log.dir(server.root.path()).join("00000002.jsonl.zst")).unwrap();
    let page = server.page(log.job).await;
    assert_eq!(page["state"], "SUCCEEDED");
    assert_eq!(page["log"]["whole"], false);
    let (missing, read) =
        (page["log"]["missing"].as_u64().unwrap(), page["log"]["records"].as_u64().unwrap());
    assert!(missing > 0);
    assert_eq!(missing + read, log.records.len() as u64);
}

#[tokio::test]
async fn a_damaged_segment_in_the_middle_gives_what_it_has() {
    let server = Server::new();
    let log = log();
    log.write(server.root.path());
    let path = log.dir(server.root.path()).join("00000001.jsonl.zst");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let page = server.page(log.job).await;
    assert_eq!(page["state"], "SUCCEEDED");
    let cut = page["log"]["cuts"][0].as_str().unwrap();
    assert!(cut.starts_with("00000001.jsonl.zst: "), "{cut}");
}

#[tokio::test]
async fn lines_that_are_no_records_are_counted() {
    let server = Server::new();
    let log = log();
    let mut lines = log.lines();
    lines.insert(3, "{\"v\":1,\"seq\":\"four\"}".to_owned());
    lines.insert(9, "garbage".to_owned());
    write_plain(&server, &log, &lines);
    let page = server.page(log.job).await;
    assert_eq!((&page["state"], &page["log"]["unreadable"]), (&"SUCCEEDED".into(), &2.into()));
}

#[tokio::test]
async fn records_that_come_twice_count_once() {
    let server = Server::new();
    let log = log();
    log.write(server.root.path());
    let whole = server.page(log.job).await;

    let again = Server::new();
    let mut lines = log.lines();
    lines.splice(20..20, lines[5..20].to_vec());
    write_plain(&again, &log, &lines);
    let mut page = again.page(log.job).await;
    page["log"] = whole["log"].clone();
    assert_eq!(page, whole);
}

#[tokio::test]
async fn a_job_without_a_readable_summary_is_listed_from_its_log() {
    let server = Server::new();
    let log = log();
    log.write(server.root.path());
    let whole = server.list("").await;
    for damage in [None, Some("{\"v\":1,\"job\":")] {
        let server = Server::new();
        log.write(server.root.path());
        let summary = log.dir(server.root.path()).join("summary.json");
        match damage {
            None => fs::remove_file(summary).unwrap(),
            Some(text) => fs::write(summary, text).unwrap(),
        }
        assert_eq!(server.list("").await["jobs"], whole["jobs"]);
    }
}

#[tokio::test]
async fn other_files_in_the_store_are_ignored_and_empty_directories_are_counted() {
    let server = Server::new();
    let log = log();
    log.write(server.root.path());
    fs::write(server.root.path().join("notes.txt"), "hello").unwrap();
    fs::create_dir(server.root.path().join("lost+found")).unwrap();
    fs::create_dir(server.root.path().join(jobs::queued(NOW_MS, 5).job.to_string())).unwrap();
    let list = server.list("").await;
    assert_eq!((&list["indexed"], &list["unreadable"]), (&Value::from(1), &Value::from(1)));
}

#[tokio::test]
async fn a_store_that_is_not_there_yet_is_an_empty_list() {
    let server = Server::new();
    let list = server.list("").await;
    assert_eq!((&list["total"], &list["store_error"]), (&Value::from(0), &Value::Null));
}

fn write_plain(server: &Server, log: &Log, lines: &[String]) {
    log.write_summary(server.root.path());
    let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    fs::write(log.dir(server.root.path()).join("00000000.jsonl"), text).unwrap();
}
