//! Reads a job's log back, from the store and from what is still in the spool.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    path::Path,
};

use opendal::{ErrorKind, Operator};
use penstock_protocol::{event::Record, ids::JobId};

use super::{segment_path, spool};

/// A segment holds at most this much text; a larger one was not written by us.
const SEGMENT_TEXT_BYTES_MAX: u64 = 64 << 20;

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("reading the event log of job {job} from its store")]
    Store {
        job: JobId,
        #[source]
        source: Box<opendal::Error>,
    },
    #[error("reading the event log of job {job}")]
    Io {
        job: JobId,
        #[source]
        source: io::Error,
    },
}

pub(super) async fn read(
    store: &Operator,
    spool: &Path,
    job: JobId,
    from: u64,
    max: usize,
) -> Result<Vec<Record>, ReadError> {
    // The spool first: a segment that moves to the store meanwhile is then seen twice, never not at all.
    let spooled = read_spool(spool, job).map_err(|source| ReadError::Io { job, source })?;
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for number in stored_segments(store, job).await? {
        let text = read_stored(store, job, number).await?;
        records.extend(parse(&text).filter(|record| record.seq >= from).map(|record| (record.seq, record)));
        if records.len() >= max {
            break;
        }
    }
    for text in spooled {
        records.extend(parse(&text).filter(|record| record.seq >= from).map(|record| (record.seq, record)));
    }
    Ok(records.into_values().take(max).collect())
}

/// The next sequence and segment number of a log: 0 and 0 if there is none. None if that cannot be said.
pub(super) async fn end_of(store: &Operator, spool: &Path, job: JobId) -> Option<(u64, u32)> {
    let stored = stored_segments(store, job).await.ok()?;
    let spooled = spool::of_job(spool, job).ok()?;
    let last_segment = stored.iter().copied().chain(spooled.iter().map(|segment| segment.number)).max();
    let mut texts = read_spool(spool, job).ok()?;
    if let Some(last) = stored.last() {
        texts.push(read_stored(store, job, *last).await.ok()?);
    }
    let last_seq = texts.iter().flat_map(|text| parse(text)).map(|record| record.seq).max();
    Some((last_seq.map_or(0, |seq| seq + 1), last_segment.map_or(0, |number| number + 1)))
}

fn read_spool(spool: &Path, job: JobId) -> io::Result<Vec<Vec<u8>>> {
    let texts = spool::of_job(spool, job)?.into_iter().map(|segment| std::fs::read(segment.path));
    texts.filter(|text| !matches!(text, Err(error) if error.kind() == io::ErrorKind::NotFound)).collect()
}

async fn stored_segments(store: &Operator, job: JobId) -> Result<BTreeSet<u32>, ReadError> {
    let entries = match store.list(&format!("{job}/")).await {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(ReadError::Store { job, source: Box::new(source) }),
    };
    let number = |name: &str| name.rsplit('/').next()?.strip_suffix(".jsonl.zst")?.parse().ok();
    Ok(entries.iter().filter_map(|entry| number(entry.path())).collect())
}

async fn read_stored(store: &Operator, job: JobId, number: u32) -> Result<Vec<u8>, ReadError> {
    let packed = store
        .read(&segment_path(job, number))
        .await
        .map_err(|source| ReadError::Store { job, source: Box::new(source) })?;
    unpack(&packed.to_vec()).map_err(|source| ReadError::Io { job, source })
}

fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    zstd::Decoder::new(packed)?.take(SEGMENT_TEXT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// The whole records of a text; a line that was cut by a crash is skipped.
fn parse(text: &[u8]) -> impl Iterator<Item = Record> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}
