//! The plan of a publication, on disk from before its first step until its outcome is journaled.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use penstock_engine::{catalog::CatalogChange, sink::SinkTarget};
use penstock_protocol::{
    ids::{JobId, StatementIndex},
    task::WrittenFile,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::PublishError;
use crate::job::Outputs;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    pub job: JobId,
    pub statement: StatementIndex,
    pub sink: SinkTarget,
    pub files: Vec<WrittenFile>,
    /// What the statement does to the catalog after its files are visible.
    pub then: Option<CatalogChange>,
}

impl Publication {
    pub fn outputs(&self) -> Outputs {
        Outputs {
            target: self.sink.target_url.clone(),
            files: self.files.len() as u64,
            rows: self.files.iter().map(|file| file.rows).sum(),
            bytes: self.files.iter().map(|file| file.bytes).sum(),
        }
    }

    pub(super) fn path(plans: &Path, job: JobId, statement: StatementIndex) -> PathBuf {
        plans.join(format!("{job}-{statement}.json"))
    }

    /// On disk, and stays there through a power cut, when this returns.
    pub(super) fn write(&self, plans: &Path) -> Result<(), PublishError> {
        write(&Self::path(plans, self.job, self.statement), self)
    }

    pub(super) fn remove(&self, plans: &Path) -> Result<(), PublishError> {
        remove(&Self::path(plans, self.job, self.statement))
    }

    pub(super) fn read_all(plans: &Path) -> Result<Vec<Self>, PublishError> {
        Ok(read_all(plans)?.into_iter().map(|(_, publication)| publication).collect())
    }
}

pub(super) fn sink_path(sinks: &Path, job: JobId, statement: StatementIndex) -> PathBuf {
    Publication::path(sinks, job, statement)
}

pub(super) fn write_sink(
    sinks: &Path,
    job: JobId,
    statement: StatementIndex,
    sink: &SinkTarget,
) -> Result<(), PublishError> {
    write(&sink_path(sinks, job, statement), sink)
}

pub(super) fn read_sinks(sinks: &Path) -> Result<Vec<(PathBuf, SinkTarget)>, PublishError> {
    read_all(sinks)
}

/// Gone when this returns, also if it was gone before.
pub(super) fn remove(path: &Path) -> Result<(), PublishError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", path, error)),
        _ => Ok(()),
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), PublishError> {
    let folder = path.parent().unwrap_or(path);
    let aside = path.with_extension("writing");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| failed("writing", path, error))
}

fn read_all<T: DeserializeOwned>(folder: &Path) -> Result<Vec<(PathBuf, T)>, PublishError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("listing", folder, error)),
    };
    let mut values = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("listing", folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).map_err(|error| failed("reading", &path, error))?;
            let value =
                serde_json::from_slice(&text).map_err(|error| failed("reading", &path, error.into()))?;
            values.push((path, value));
        }
    }
    Ok(values)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> PublishError {
    PublishError::Io { doing, path: path.to_path_buf(), source }
}
