//! Finds and opens event logs on any store.
//!
//! A log is a directory named by its job id with `00000000.jsonl.zst`, `00000001.jsonl.zst`, … and `summary.json`.
//! Beside them lies the log of the cluster. Anything else in the store is ignored. Not here: what is in the files.

use std::{fs, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures::{TryStreamExt, future::join_all};
use opendal::{EntryMode, ErrorKind, Operator, layers::RetryLayer};
use penstock_protocol::{event::CLUSTER_LOG_PATH, ids::JobId};

/// The store could not be reached or understood.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("`{location}` is not a folder or store that event logs can be read from")]
    Location {
        location: String,
        #[source]
        source: opendal::Error,
    },
    #[error("listing `{path}` of the event log store")]
    List {
        path: String,
        #[source]
        source: opendal::Error,
    },
    #[error("reading `{path}` of the event log store")]
    Read {
        path: String,
        #[source]
        source: opendal::Error,
    },
}

/// All event logs below one root.
#[derive(Debug, Clone)]
pub struct Source {
    store: Operator,
    location: String,
    /// The root, if it is a folder: lists and summaries are then read without OpenDAL, which takes ten times the CPU
    /// and is most of what a cold start waits for.
    folder: Option<Arc<Path>>,
}

/// An object as it was read, if there is one, such as a job's summary.
pub type ObjectRead = Result<Option<Bytes>, SourceError>;

/// One immutable piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub name: String,
}

impl Source {
    /// `location` is a path or an OpenDAL URL such as `s3://bucket/logs`; credentials come from the environment.
    pub fn open(location: &str) -> Result<Self, SourceError> {
        let folder = local_folder(location);
        let store = open_store(location, folder.as_deref())
            .map_err(|source| SourceError::Location { location: location.to_owned(), source })?;
        let store = store.layer(RetryLayer::new().with_max_times(3));
        Ok(Self { store, location: location.to_owned(), folder })
    }

    /// The root as it was configured, for people.
    pub fn location(&self) -> &str {
        &self.location
    }

    pub async fn jobs(&self) -> Result<Vec<JobId>, SourceError> {
        let failed = |source| SourceError::List { path: "/".to_owned(), source };
        if let Some(folder) = self.folder.clone() {
            return blocking(move || folder_jobs(&folder)).await.map_err(|error| failed(io_error(error)));
        }
        let mut jobs = Vec::new();
        let mut entries = match self.store.lister("/").await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(jobs),
            entries => entries.map_err(failed)?,
        };
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            if entry.metadata().mode() != EntryMode::DIR {
                continue;
            }
            jobs.extend(entry.name().trim_end_matches('/').parse::<JobId>());
        }
        Ok(jobs)
    }

    /// The log's segments in order; none if there is no such log.
    pub async fn segments(&self, job: JobId) -> Result<Vec<Segment>, SourceError> {
        let path = format!("{job}/");
        let entries = match self.store.list(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| SourceError::List { path, source })?,
        };
        let mut segments: Vec<Segment> =
            entries.iter().filter_map(|entry| parse_segment(entry.name())).collect();
        segments.sort_by_key(|segment| segment.number);
        Ok(segments)
    }

    pub async fn segment(&self, job: JobId, segment: &Segment) -> Result<Bytes, SourceError> {
        let path = format!("{job}/{}", segment.name);
        match self.store.read(&path).await {
            Ok(bytes) => Ok(bytes.to_bytes()),
            Err(source) => Err(SourceError::Read { path, source }),
        }
    }

    /// The bytes of each job's `summary.json`, in the order of the jobs. All are read at the same time.
    pub async fn summaries(&self, jobs: Vec<JobId>) -> Vec<(JobId, ObjectRead)> {
        match self.folder.clone() {
            Some(folder) => blocking(move || folder_summaries(&folder, jobs)).await,
            None => join_all(jobs.into_iter().map(|job| async move { (job, self.summary(job).await) })).await,
        }
    }

    async fn summary(&self, job: JobId) -> ObjectRead {
        self.read_if_there(format!("{job}/summary.json")).await
    }

    async fn read_if_there(&self, path: String) -> ObjectRead {
        match self.store.read(&path).await {
            Ok(bytes) => Ok(Some(bytes.to_bytes())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SourceError::Read { path, source }),
        }
    }

    /// The log of the cluster, as it was read; none if nobody writes one.
    pub async fn cluster_log(&self) -> ObjectRead {
        self.read_if_there(CLUSTER_LOG_PATH.to_owned()).await
    }

    /// When the newest segment was written, as far as the store knows.
    pub async fn last_write_ms(&self, job: JobId) -> Result<Option<i64>, SourceError> {
        let Some(last) = self.segments(job).await?.pop() else { return Ok(None) };
        let path = format!("{job}/{}", last.name);
        let metadata = match self.store.stat(&path).await {
            Ok(metadata) => metadata,
            Err(source) => return Err(SourceError::Read { path, source }),
        };
        Ok(metadata.last_modified().map(|at| at.into_inner().as_millisecond()))
    }
}

fn local_folder(location: &str) -> Option<Arc<Path>> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    if path.contains("://") {
        return None;
    }
    Some(std::path::absolute(path).unwrap_or_else(|_| path.into()).into())
}

fn open_store(location: &str, folder: Option<&Path>) -> opendal::Result<Operator> {
    match folder {
        Some(folder) => Operator::new(opendal::services::Fs::default().root(&folder.to_string_lossy())),
        None => Operator::from_uri(location),
    }
}

fn folder_jobs(folder: &Path) -> io::Result<Vec<JobId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut jobs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            jobs.extend(entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok()));
        }
    }
    Ok(jobs)
}

fn folder_summaries(folder: &Path, jobs: Vec<JobId>) -> Vec<(JobId, ObjectRead)> {
    let read = |job: JobId| match fs::read(folder.join(job.to_string()).join("summary.json")) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::Read { path: format!("{job}/summary.json"), source: io_error(error) }),
    };
    jobs.into_iter().map(|job| (job, read(job))).collect()
}

fn io_error(error: io::Error) -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, error.to_string()).set_source(error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

fn parse_segment(name: &str) -> Option<Segment> {
    let stem = name.strip_suffix(".jsonl.zst").or_else(|| name.strip_suffix(".jsonl"))?;
    let number = stem.parse().ok()?;
    Some(Segment { number, name: name.to_owned() })
}
