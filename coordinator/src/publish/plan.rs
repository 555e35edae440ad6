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
use serde::{Deserialize, Serialize};

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
        let path = Self::path(plans, self.job, self.statement);
        let aside = path.with_extension("writing");
        let write = || {
            fs::create_dir_all(plans)?;
            let mut file = File::create(&aside)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(plans)?.sync_all()
        };
        write().map_err(|source| PublishError::Io {
            doing: "writing the plan of a publication",
            path,
            source,
        })
    }

    pub(super) fn remove(&self, plans: &Path) -> Result<(), PublishError> {
        let path = Self::path(plans, self.job, self.statement);
        fs::remove_file(&path).map_err(|source| PublishError::Io {
            doing: "removing the plan of a publication",
            path,
            source,
        })
    }

    pub(super) fn read_all(plans: &Path) -> Result<Vec<Self>, PublishError> {
        let failed = |path: &Path, source| PublishError::Io {
            doing: "reading the plan of a publication",
            path: path.to_path_buf(),
            source,
        };
        let entries = match fs::read_dir(plans) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(plans, error)),
        };
        let mut publications = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(plans, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read(&path).map_err(|error| failed(&path, error))?;
                publications
                    .push(serde_json::from_slice(&text).map_err(|error| failed(&path, error.into()))?);
            }
        }
        Ok(publications)
    }
}
