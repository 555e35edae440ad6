//! The local spool: one open segment per job, appended to as records come, closed by age or size.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use opendal::Operator;
use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{Event, Record, SCHEMA_VERSION},
    ids::JobId,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Entry, reader, upload::Upload};

/// A segment is closed when it is this old or this large, whichever comes first.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(2);
const SEGMENT_BYTES_MAX: usize = 1 << 20;

/// How the files of the spool end.
const CLOSED: &str = "jsonl";
const OPEN: &str = "open";
/// How long the log waits for the store to say where a job's log stopped.
const RESUME_PATIENCE: Duration = Duration::from_secs(5);

/// A closed segment that waits for the store.
#[derive(Debug)]
pub(super) struct Segment {
    pub job: JobId,
    pub number: u32,
    pub path: PathBuf,
    /// The lines, if the spool could not take them.
    pub unspooled: Option<Vec<u8>>,
}

/// Where a job's log stands.
#[derive(Debug)]
struct JobLog {
    next_seq: u64,
    next_segment: u32,
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    number: u32,
    /// Where it is while it is open: nobody may carry it away meanwhile.
    path: PathBuf,
    /// None after a write failed: the lines then stay in memory until the store has them.
    file: Option<File>,
    lines: Vec<u8>,
    opened: Instant,
}

#[derive(Debug)]
pub(super) struct Writer {
    spool: PathBuf,
    store: Operator,
    uploads: mpsc::Sender<Upload>,
    dropped_samples: Arc<AtomicU64>,
    /// Set when a closed segment was not handed over.
    backlog: Arc<AtomicBool>,
    jobs: HashMap<JobId, JobLog>,
}

impl Writer {
    pub(super) fn new(
        spool: PathBuf,
        store: Operator,
        uploads: mpsc::Sender<Upload>,
        dropped_samples: Arc<AtomicU64>,
        backlog: Arc<AtomicBool>,
    ) -> Self {
        Self { spool, store, uploads, dropped_samples, backlog, jobs: HashMap::new() }
    }

    /// Runs until stopped, then closes every segment. A record that was accepted is in the spool at the end.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Entry>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        loop {
            let close_at = self.oldest_open().map(|opened| opened + SEGMENT_AGE_MAX);
            tokio::select! {
                biased;
                entry = inbox.recv() => match entry {
                    Some(entry) => self.handle(entry).await,
                    None => break,
                },
                () = sleep_until(close_at) => self.close_older_than(SEGMENT_AGE_MAX),
                () = stop.cancelled(), if !inbox.is_closed() => inbox.close(),
            }
        }
        self.close_older_than(Duration::ZERO);
        Ok(())
    }

    async fn handle(&mut self, entry: Entry) {
        match entry {
            Entry::Record { job, at, event } => self.append(job, at, *event).await,
            Entry::Summary(summary) => self.upload(Upload::Summary(summary)),
            Entry::Flush(done) => {
                self.close_older_than(Duration::ZERO);
                // Without an uploader nobody answers, which says the same.
                let _ = self.uploads.send(Upload::Flushed(done)).await;
            }
        }
    }

    async fn append(&mut self, job: JobId, at: Timestamp, event: Event) {
        let is_last = matches!(event, Event::JobFinished(_));
        if !self.jobs.contains_key(&job) {
            let log = self.resume(job, at, &event).await;
            self.jobs.insert(job, log);
        }
        let dropped = self.dropped_samples.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.append_one(job, at, Event::SamplesDropped { count: dropped });
        }
        self.append_one(job, at, event);
        if is_last || self.open_bytes(job) >= SEGMENT_BYTES_MAX {
            self.close(job);
        }
        if is_last {
            self.jobs.remove(&job);
        }
    }

    /// A job that this life has not logged yet: a new one starts at 0, an old one goes on where it stopped. If that
    /// cannot be found out in time it goes on at numbers that are surely free, which readers see as a gap.
    async fn resume(&self, job: JobId, now: Timestamp, first: &Event) -> JobLog {
        if matches!(first, Event::JobSubmitted(_)) {
            return JobLog { next_seq: 0, next_segment: 0, open: None };
        }
        let end = reader::end_of(&self.store, &self.spool, job);
        let end = tokio::time::timeout(RESUME_PATIENCE, end).await.ok().flatten();
        let (next_seq, next_segment) = end.unwrap_or_else(|| surely_free(now));
        JobLog { next_seq, next_segment, open: None }
    }

    fn append_one(&mut self, job: JobId, at: Timestamp, event: Event) {
        let Some(log) = self.jobs.get_mut(&job) else { return };
        let record = Record { v: SCHEMA_VERSION, seq: log.next_seq, at_ms: at.as_millis(), event };
        let Ok(mut line) = serde_json::to_vec(&record) else {
            tracing::error!(%job, seq = log.next_seq, "a record of the event log has no JSON form");
            return;
        };
        line.push(b'\n');
        log.next_seq += 1;
        if log.open.is_none() {
            log.open = Some(OpenSegment::create(&self.spool, job, log.next_segment));
            log.next_segment += 1;
        }
        if let Some(open) = &mut log.open {
            open.append(&line);
        }
    }

    fn close_older_than(&mut self, age: Duration) {
        let old: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, log)| log.open.as_ref().is_some_and(|open| open.opened.elapsed() >= age))
            .map(|(job, _)| *job)
            .collect();
        for job in old {
            self.close(job);
        }
    }

    fn close(&mut self, job: JobId) {
        if let Some(open) = self.jobs.get_mut(&job).and_then(|log| log.open.take()) {
            self.upload(Upload::Segment(open.close(&self.spool, job)));
        }
    }

    /// Never waits. A segment that finds no room stays in the spool, where the uploader looks when it has caught up; a
    /// summary is replaced by the next one anyway.
    fn upload(&self, upload: Upload) {
        if let Err(refused) = self.uploads.try_send(upload) {
            self.backlog.store(true, Ordering::Release);
            if let Upload::Segment(Segment { job, unspooled: Some(_), .. }) = refused.into_inner() {
                metrics::counter!(crate::metrics::EVENT_LOG_ERRORS).increment(1);
                tracing::error!(%job, "a part of the event log is lost: neither spool nor store took it");
            }
        }
    }

    fn oldest_open(&self) -> Option<Instant> {
        self.jobs.values().filter_map(|log| log.open.as_ref().map(|open| open.opened)).min()
    }

    fn open_bytes(&self, job: JobId) -> usize {
        self.jobs.get(&job).and_then(|log| log.open.as_ref()).map_or(0, |open| open.lines.len())
    }
}

impl OpenSegment {
    fn create(spool: &Path, job: JobId, number: u32) -> Self {
        let path = spooled_path(spool, job, number).with_extension(OPEN);
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let file = fs::create_dir_all(folder).and_then(|()| File::create(&path));
        let file = file.inspect_err(|error| complain(&path, error)).ok();
        Self { number, path, file, lines: Vec::new(), opened: Instant::now() }
    }

    fn append(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(line)
        {
            complain(&self.path, &error);
            self.file = None;
        }
    }

    fn close(self, spool: &Path, job: JobId) -> Segment {
        let path = spooled_path(spool, job, self.number);
        let renamed = fs::rename(&self.path, &path).inspect_err(|error| complain(&self.path, error));
        let is_spooled = self.file.is_some() && renamed.is_ok();
        Segment { job, number: self.number, path, unspooled: (!is_spooled).then_some(self.lines) }
    }
}

/// Numbers that grow with time, and faster than any job writes.
fn surely_free(now: Timestamp) -> (u64, u32) {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    (millis, u32::try_from(millis / 1_000).unwrap_or(u32::MAX))
}

fn complain(path: &Path, error: &io::Error) {
    metrics::counter!(crate::metrics::EVENT_LOG_ERRORS).increment(1);
    tracing::error!(path = %path.display(), %error, "the spool of the event log cannot be written");
}

fn spooled_path(spool: &Path, job: JobId, number: u32) -> PathBuf {
    spool.join(job.to_string()).join(format!("{number:08}.{CLOSED}"))
}

/// The segments that a former life left in the spool, with those that it had open.
pub(super) fn left_over(spool: &Path) -> io::Result<Vec<Segment>> {
    fs::create_dir_all(spool)?;
    segments(spool, &[CLOSED, OPEN])
}

/// The segments that are closed and wait in the spool.
pub(super) fn closed(spool: &Path) -> io::Result<Vec<Segment>> {
    segments(spool, &[CLOSED])
}

/// All that is in the spool of one job, ascending; none if it has no folder.
pub(super) fn of_job(spool: &Path, job: JobId) -> io::Result<Vec<Segment>> {
    segments_in(&spool.join(job.to_string()), job, &[CLOSED, OPEN])
}

fn segments(spool: &Path, extensions: &[&str]) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for folder in fs::read_dir(spool)? {
        let folder = folder?;
        if let Ok(job) = folder.file_name().to_string_lossy().parse::<JobId>() {
            segments.extend(segments_in(&folder.path(), job, extensions)?);
        }
    }
    Ok(segments)
}

fn segments_in(folder: &Path, job: JobId, extensions: &[&str]) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.split_once('.'));
        let number = name.filter(|(_, extension)| extensions.contains(extension));
        if let Some(number) = number.and_then(|(number, _)| number.parse().ok()) {
            segments.push(Segment { job, number, path, unspooled: None });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
