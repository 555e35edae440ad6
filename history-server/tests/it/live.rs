//! Jobs that run, go on, or were left behind.

use std::{fs, time::Duration};

use penstock_common::clock::{Clock, Timestamp};
use penstock_protocol::event::{Event, JobFinished, JobState};

use crate::{
    fixtures::{jobs, log::Log},
    server::{LOST_AFTER, NOW_MS, Server, names},
};

fn running() -> Log {
    jobs::running(NOW_MS - 6_000, 1, 6_000)
}

#[tokio::test]
async fn a_running_job_shows_its_progress_until_now() {
    let server = Server::new();
    let log = running();
    log.write(server.root.path());
    let page = server.page(log.job).await;
    assert_eq!(
        (&page["state"], &page["live"], &page["duration_ms"]),
        (&"RUNNING".into(), &true.into(), &6000.into())
    );
    assert!(page["progress"]["tasks_running"].as_u64() > Some(0));
    assert_eq!(page["log"]["whole"], true);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.page(log.job).await["duration_ms"], 7000);
}

#[tokio::test]
async fn new_segments_of_a_live_job_show_at_the_next_look() {
    let server = Server::new();
    let mut log = running();
    log.write(server.root.path());
    let before = server.page(log.job).await;
    let event = JobFinished { state: JobState::Succeeded, failure: None, totals: Default::default() };
    log.append(server.root.path(), NOW_MS, Event::JobFinished(event));
    let after = server.page(log.job).await;
    assert_eq!(
        (&before["live"], &after["live"], &after["state"]),
        (&true.into(), &false.into(), &"SUCCEEDED".into())
    );
    assert_eq!(
        after["log"]["records"].as_u64(),
        before["log"]["records"].as_u64().map(|records| records + 1)
    );
}

#[tokio::test]
async fn a_half_written_segment_of_a_live_job_is_no_damage_and_is_read_again() {
    let server = Server::new();
    let log = running();
    log.write(server.root.path());
    let number = log.segments().len() - 1;
    let path = log.dir(server.root.path()).join(format!("{number:08}.jsonl.zst"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let early = server.page(log.job).await;
    assert_eq!((&early["log"]["whole"], &early["live"]), (&true.into(), &true.into()));
    fs::write(&path, &bytes).unwrap();
    let late = server.page(log.job).await;
    assert_eq!(late["log"]["records"].as_u64(), Some(log.records.len() as u64));
    assert!(early["log"]["records"].as_u64() < late["log"]["records"].as_u64());
}

#[tokio::test]
async fn an_unfinished_job_without_a_sign_of_life_is_lost_and_fully_viewable() {
    let server = Server::new();
    let log = running();
    log.write(server.root.path());
    assert_eq!(server.list("?state=RUNNING").await["total"], 1);
    server.clock.advance(LOST_AFTER + Duration::from_secs(10));
    let list = server.list("?state=LOST").await;
    assert_eq!(names(&list), ["user_features_daily"]);
    let page = server.page(log.job).await;
    assert_eq!((&page["state"], &page["live"]), (&"LOST".into(), &false.into()));
    assert_eq!(page["progress"]["tasks_running"], 0);
    assert_eq!(page["stages"].as_array().unwrap().len(), 10);
    assert_eq!(page["duration_ms"].as_i64(), Some(log.summary().updated_at_ms - (NOW_MS - 6_000)));
}

#[tokio::test]
async fn a_silent_job_lives_as_long_as_its_summary_is_rewritten() {
    let server = Server::new();
    let log = running();
    log.write(server.root.path());
    let mut summary = log.summary();
    for _ in 0..4 {
        server.clock.advance(LOST_AFTER / 2);
        summary.updated_at_ms = server.clock.now().as_millis();
        fs::write(log.dir(server.root.path()).join("summary.json"), serde_json::to_vec(&summary).unwrap())
            .unwrap();
        assert_eq!(server.list("?state=RUNNING").await["total"], 1);
    }
    assert_eq!(server.page(log.job).await["live"], true);
    server.clock.advance(LOST_AFTER + Duration::from_secs(10));
    assert_eq!(server.list("?state=LOST").await["total"], 1);
}

#[tokio::test]
async fn a_job_that_goes_on_after_all_is_not_lost_any_more() {
    let server = Server::new();
    let mut log = running();
    log.write(server.root.path());
    server.clock.advance(LOST_AFTER + Duration::from_secs(10));
    assert_eq!(server.list("?state=LOST").await["total"], 1);
    let later = NOW_MS + 130_000;
    let event = JobFinished { state: JobState::Succeeded, failure: None, totals: Default::default() };
    log.append(server.root.path(), later, Event::JobFinished(event));
    server.clock.set(Timestamp::from_millis(later + 61_000));
    assert_eq!(server.list("?state=SUCCEEDED").await["total"], 1);
    assert_eq!(server.page(log.job).await["state"], "SUCCEEDED");
}

#[tokio::test]
async fn a_job_whose_end_is_in_the_log_but_not_in_the_summary_has_ended() {
    let server = Server::new();
    let log = jobs::succeeded(NOW_MS - 3_600_000, 1);
    log.write(server.root.path());
    let mut summary = log.summary();
    summary.state = JobState::Running;
    summary.finished_at_ms = None;
    fs::write(log.dir(server.root.path()).join("summary.json"), serde_json::to_vec(&summary).unwrap())
        .unwrap();
    assert_eq!(server.list("?state=SUCCEEDED").await["total"], 1);
}

#[tokio::test]
async fn a_job_of_which_nothing_but_its_submission_is_known_is_queued() {
    let server = Server::new();
    let log = jobs::queued(NOW_MS - 1000, 1);
    log.write(server.root.path());
    let page = server.page(log.job).await;
    assert_eq!((&page["state"], &page["stages"]), (&"QUEUED".into(), &serde_json::json!([])));
}
