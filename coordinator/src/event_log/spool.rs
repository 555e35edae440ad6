//! The local spool: one open segment per job, appended to as records come, closed by age or size.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opendal::Operator;
use penstock_common::clock::Timestamp;
use penstock_protocol::{
    event::{Event, Record, SCHEMA_VERSION, Summary},
    ids::JobId,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Entry, reader, upload::Upload};

/// A segment is closed when it is this old or this large, whichever comes first.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(2);
const SEGMENT_BYTES_MAX: usize = 1 << 20;

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
    jobs: HashMap<JobId, JobLog>,
}

impl Writer {
    pub(super) fn new(
        spool: PathBuf,
        store: Operator,
        uploads: mpsc::Sender<Upload>,
        dropped_samples: Arc<AtomicU64>,
    ) -> Self {
        Self { spool, store, uploads, dropped_samples, jobs: HashMap::new() }
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
                () = sleep_until(close_at) => self.close_older_than(SEGMENT_AGE_MAX).await,
                () = stop.cancelled(), if !inbox.is_closed() => inbox.close(),
            }
        }
        self.close_older_than(Duration::ZERO).await;
        Ok(())
    }

    async fn handle(&mut self, entry: Entry) {
        match entry {
            Entry::Record { job, at, event } => self.append(job, at, *event).await,
            Entry::Summary(summary) => self.summary(*summary).await,
            Entry::Flush(done) => {
                self.close_older_than(Duration::ZERO).await;
                self.upload(Upload::Flushed(done)).await;
            }
        }
    }

    async fn append(&mut self, job: JobId, at: Timestamp, event: Event) {
        let is_last = matches!(event, Event::JobFinished(_));
        if !self.jobs.contains_key(&job) {
            let log = self.resume(job, &event).await;
            self.jobs.insert(job, log);
        }
        let dropped = self.dropped_samples.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.append_one(job, at, Event::SamplesDropped { count: dropped });
        }
        self.append_one(job, at, event);
        if is_last || self.open_bytes(job) >= SEGMENT_BYTES_MAX {
            self.close(job).await;
        }
        if is_last {
            self.jobs.remove(&job);
        }
    }

    /// A job that this life has not logged yet: a new one starts at 0, an old one goes on where it stopped.
    async fn resume(&self, job: JobId, first: &Event) -> JobLog {
        let (next_seq, next_segment) = match first {
            Event::JobSubmitted(_) => (0, 0),
            _ => reader::end_of(&self.store, &self.spool, job).await,
        };
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

    async fn summary(&mut self, summary: Summary) {
        self.upload(Upload::Summary(Box::new(summary))).await;
    }

    async fn close_older_than(&mut self, age: Duration) {
        let old: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, log)| log.open.as_ref().is_some_and(|open| open.opened.elapsed() >= age))
            .map(|(job, _)| *job)
            .collect();
        for job in old {
            self.close(job).await;
        }
    }

    async fn close(&mut self, job: JobId) {
        if let Some(open) = self.jobs.get_mut(&job).and_then(|log| log.open.take()) {
            self.upload(Upload::Segment(open.close(job))).await;
        }
    }

    async fn upload(&self, upload: Upload) {
        // Without an uploader the segment stays in the spool for the next life.
        let _ = self.uploads.send(upload).await;
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
        let path = spooled_path(spool, job, number);
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

    fn close(self, job: JobId) -> Segment {
        let unspooled = if self.file.is_some() { None } else { Some(self.lines) };
        Segment { job, number: self.number, path: self.path, unspooled }
    }
}

fn complain(path: &Path, error: &io::Error) {
    metrics::counter!(crate::metrics::EVENT_LOG_ERRORS).increment(1);
    tracing::error!(path = %path.display(), %error, "the spool of the event log cannot be written");
}

pub(super) fn spooled_path(spool: &Path, job: JobId, number: u32) -> PathBuf {
    spool.join(job.to_string()).join(format!("{number:08}.jsonl"))
}

/// The segments that are in the spool now, oldest first within a job.
pub(super) fn left_over(spool: &Path) -> io::Result<Vec<Segment>> {
    fs::create_dir_all(spool)?;
    let mut segments = Vec::new();
    for folder in fs::read_dir(spool)? {
        let folder = folder?;
        if let Ok(job) = folder.file_name().to_string_lossy().parse::<JobId>() {
            segments.extend(segments_of(&folder.path(), job)?);
        }
    }
    Ok(segments)
}

/// The spooled segments of one job, ascending; none if it has no folder.
pub(super) fn segments_of(folder: &Path, job: JobId) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        if let Some(number) = number {
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
