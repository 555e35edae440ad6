use std::{fs, path::Path, time::Duration};

use penstock_protocol::event::{JobFinished, JobState, JobTotals};
use uuid::Uuid;

use super::*;

struct Sandbox {
    folder: tempfile::TempDir,
    tasks: Tasks,
}

impl Sandbox {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), tasks: Tasks::new("test") }
    }

    fn open(&self) -> EventLog {
        let root = self.folder.path().join("events");
        EventLog::open(&root.to_string_lossy(), self.spool(), &self.tasks).expect("opens")
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn segments(&self, job: JobId) -> usize {
        let folder = self.folder.path().join("events").join(job.to_string());
        let is_segment = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".jsonl.zst");
        fs::read_dir(folder).into_iter().flatten().flatten().filter(is_segment).count()
    }

    async fn stop(&self) {
        self.tasks.stop(Duration::from_secs(10)).await.expect("all tasks end");
    }
}

fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

fn warning(message: &str) -> Event {
    Event::Warning { message: message.to_owned() }
}

fn finished() -> Event {
    Event::JobFinished(JobFinished {
        state: JobState::Succeeded,
        failure: None,
        totals: JobTotals::default(),
    })
}

fn messages(records: &[Record]) -> Vec<(u64, String)> {
    let text = |event: &Event| match event {
        Event::Warning { message } => message.clone(),
        other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    };
    records.iter().map(|record| (record.seq, text(&record.event))).collect()
}

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("is a folder").next().is_none()
}

#[tokio::test]
async fn records_can_be_read_before_and_after_they_reach_the_store() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    for text in ["a", "b", "c"] {
        log.record(job(1), NOW, warning(text)).await;
    }
    log.flush().await;
    log.record(job(1), NOW, warning("d")).await;
    log.record(job(1), NOW, finished()).await;
    log.flush().await;
    let records = log.read(job(1), 0, 100).await.expect("is readable");
    let expected = ["a", "b", "c", "d", "JobFinished"].map(str::to_owned);
    assert_eq!(messages(&records), (0..).zip(expected).collect::<Vec<_>>());
    assert_eq!(messages(&log.read(job(1), 3, 1).await.expect("is readable")), [(3, "d".to_owned())]);
    assert_eq!(sandbox.segments(job(1)), 2);
    assert!(is_empty(&sandbox.spool()), "what is stored leaves the spool");
    sandbox.stop().await;
}

#[tokio::test]
async fn jobs_have_logs_of_their_own() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    log.record(job(1), NOW, warning("one")).await;
    log.record(job(2), NOW, warning("two")).await;
    log.flush().await;
    assert_eq!(messages(&log.read(job(2), 0, 9).await.expect("is readable")), [(0, "two".to_owned())]);
    assert!(log.read(job(3), 0, 9).await.expect("is readable").is_empty());
    sandbox.stop().await;
}

#[tokio::test]
async fn stopping_stores_what_was_recorded() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    log.record(job(1), NOW, warning("last words")).await;
    sandbox.stop().await;
    let records = log.read(job(1), 0, 9).await.expect("is readable");
    assert_eq!(messages(&records), [(0, "last words".to_owned())]);
    assert_eq!(sandbox.segments(job(1)), 1);
}

#[tokio::test]
async fn a_killed_coordinator_leaves_its_spool_to_the_next_life_which_goes_on_counting() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    log.record(job(1), NOW, warning("stored")).await;
    log.flush().await;
    sandbox.stop().await;
    let left_behind = sandbox.spool().join(job(1).to_string()).join("00000001.jsonl");
    fs::create_dir_all(left_behind.parent().expect("is in a folder")).expect("a folder");
    let line = |seq: u64, text: &str| {
        let event = warning(text);
        serde_json::to_string(&Record { v: 1, seq, at_ms: 5, event }).expect("is JSON")
    };
    fs::write(&left_behind, format!("{}\n{{\"v\":1,\"seq\":2,\"at", line(1, "spooled"))).expect("a file");

    let next = Sandbox { folder: sandbox.folder, tasks: Tasks::new("next life") };
    let log = next.open();
    log.record(job(1), NOW, warning("new")).await;
    log.flush().await;
    let records = log.read(job(1), 0, 9).await.expect("is readable");
    let expected = [(0, "stored"), (1, "spooled"), (2, "new")].map(|(seq, text)| (seq, text.to_owned()));
    assert_eq!(messages(&records), expected);
    next.stop().await;
}

#[tokio::test]
async fn a_segment_is_closed_when_it_is_large() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    for _ in 0..5 {
        log.record(job(1), NOW, warning(&"x".repeat(600 << 10))).await;
    }
    log.flush().await;
    assert_eq!(sandbox.segments(job(1)), 3);
    sandbox.stop().await;
}

#[tokio::test]
async fn samples_that_find_no_room_are_dropped_and_counted_in_the_log() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    // The test's one thread does not let the writer run meanwhile.
    for _ in 0..INBOX_MAX + 3 {
        log.sample(job(1), NOW, warning("sample"));
    }
    log.flush().await;
    let records = log.read(job(1), 0, 1).await.expect("is readable");
    assert_eq!(records[0].event, Event::SamplesDropped { count: 3 });
    sandbox.stop().await;
}

#[tokio::test]
async fn a_summary_is_replaced() {
    let sandbox = Sandbox::new();
    let log = sandbox.open();
    let summary = |state| Summary {
        v: 1,
        job: job(1),
        name: "nightly".to_owned(),
        state,
        owner: None,
        client: "rest".to_owned(),
        script_head: String::new(),
        labels: Default::default(),
        source: None,
        try_number: 1,
        continues: None,
        submitted_at_ms: 0,
        started_at_ms: None,
        finished_at_ms: None,
        updated_at_ms: 0,
        stages_total: 0,
        stages_finished: 0,
        tasks_total: 0,
        tasks_finished: 0,
        totals: JobTotals::default(),
        failure: None,
        build: "test".to_owned(),
    };
    log.summary(summary(JobState::Running)).await;
    log.summary(summary(JobState::Succeeded)).await;
    log.flush().await;
    let path = sandbox.folder.path().join("events").join(job(1).to_string()).join("summary.json");
    let stored: Summary = serde_json::from_slice(&fs::read(path).expect("is there")).expect("is a summary");
    assert_eq!(stored.state, JobState::Succeeded);
    sandbox.stop().await;
}
