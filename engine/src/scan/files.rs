//! Files of a scan, as they travel with tasks, and whether they are still the ones that were planned.

use std::collections::{BTreeMap, HashMap};

use datafusion::{
    common::ScalarValue,
    datasource::listing::{FileRange, PartitionedFile},
    error::{DataFusionError, Result},
    execution::object_store::ObjectStoreUrl,
};
use datafusion_proto::protobuf;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use penstock_protocol::task::ScanFile;
use prost::Message;

use crate::stores::shown;

/// An input file is not what it was when the statement was planned: reading on could mix two states of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangedFile {
    #[error("input file `{path}` has {now} bytes, it had {planned} when the statement was planned")]
    Size { path: String, planned: u64, now: u64 },
    #[error("input file `{path}` was written again after the statement was planned")]
    Written { path: String },
    #[error("input file `{path}` is gone")]
    Gone { path: String },
    #[error("input file `{path}` cannot be looked at")]
    Store {
        path: String,
        #[source]
        source: std::sync::Arc<object_store::Error>,
    },
}

/// Files by path, as the store shows them now.
pub(crate) type Found = HashMap<String, ObjectMeta>;

/// How many files are looked at together.
const LOOKS: usize = 16;

pub(crate) fn scan_file(file: &PartitionedFile) -> Result<ScanFile> {
    let meta = &file.object_meta;
    Ok(ScanFile {
        path: meta.location.to_string(),
        size_bytes: meta.size,
        last_modified_ms: meta.last_modified.timestamp_millis(),
        e_tag: meta.e_tag.clone(),
        version: meta.version.clone(),
        range: file.range.as_ref().map(|range| (range.start as u64, range.end as u64)),
        partition_values: file.partition_values.iter().map(encode_value).collect::<Result<_>>()?,
    })
}

/// The file as it was found: its time has the store's own precision, which caches of file metadata compare.
pub(crate) fn partitioned_file(file: &ScanFile, found: &Found) -> Result<PartitionedFile> {
    let meta = found.get(&file.path).cloned();
    let meta = meta.ok_or_else(|| DataFusionError::Internal(format!("nobody looked at `{}`", file.path)))?;
    let mut planned = PartitionedFile::new_from_meta(meta);
    planned.partition_values =
        file.partition_values.iter().map(|value| decode_value(value)).collect::<Result<_>>()?;
    planned.range = file.range.map(|(start, end)| FileRange { start: start as i64, end: end as i64 });
    Ok(planned)
}

fn encode_value(value: &ScalarValue) -> Result<bytes::Bytes> {
    Ok(protobuf::ScalarValue::try_from(value)?.encode_to_vec().into())
}

fn decode_value(bytes: &[u8]) -> Result<ScalarValue> {
    let value = protobuf::ScalarValue::decode(bytes)
        .map_err(|error| DataFusionError::Internal(format!("partition value: {error}")))?;
    Ok(ScalarValue::try_from(&value)?)
}

/// Looks at each file once and compares it with what was planned.
pub(crate) async fn verify(
    url: &ObjectStoreUrl,
    store: &dyn ObjectStore,
    files: &[ScanFile],
) -> Result<Found, ChangedFile> {
    // A file that was split into ranges is looked at once.
    let distinct: BTreeMap<&str, &ScanFile> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    // Boxed here: as a closure of the stream, the compiler cannot prove the whole future to be `Send`.
    let looks: Vec<_> = distinct.into_values().map(|file| verify_one(url, store, file).boxed()).collect();
    stream::iter(looks).buffer_unordered(LOOKS).try_collect().await
}

async fn verify_one(
    url: &ObjectStoreUrl,
    store: &dyn ObjectStore,
    file: &ScanFile,
) -> Result<(String, ObjectMeta), ChangedFile> {
    let location = Path::parse(&file.path).map_err(|_| ChangedFile::Gone { path: file.path.clone() })?;
    let path = || shown(url, &location);
    let now = store.head(&location).await.map_err(|error| match error {
        object_store::Error::NotFound { .. } => ChangedFile::Gone { path: path() },
        source => ChangedFile::Store { path: path(), source: source.into() },
    })?;
    if now.size != file.size_bytes {
        return Err(ChangedFile::Size { path: path(), planned: file.size_bytes, now: now.size });
    }
    let tags_differ = matches!((&now.e_tag, &file.e_tag), (Some(now), Some(planned)) if now != planned);
    if tags_differ || now.last_modified.timestamp_millis() != file.last_modified_ms {
        return Err(ChangedFile::Written { path: path() });
    }
    Ok((file.path.clone(), now))
}
