//! Makes a sink's files visible in one step, and rolls a step that was cut short forward.
//!
//! In: the winners' files and the sink's target. Out: what became visible. Before the first rename a plan of the
//! publication is on disk; with it any later life of the coordinator can finish what was begun, and every step may be
//! repeated. The core journals `Publishing` before and `Published` after. Not here: writing the files.

mod local;
mod plan;

use std::{
    io,
    path::{Path, PathBuf},
};

use penstock_engine::sink::{SinkMode, SinkTarget};
use penstock_protocol::{
    ids::{JobId, StatementIndex},
    task::FailureClass,
};

pub use self::plan::Publication;
use crate::job::{JobFailure, Outputs};

/// Why nothing, or not everything, could be made visible.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("sinks on `{url}` are not supported yet")]
    Store { url: String },
    #[error("the target `{}` holds files already", target.display())]
    TargetNotEmpty { target: PathBuf },
    #[error("the path `{path}` of a written file leaves its folder")]
    Escapes { path: String },
    #[error("the file `{}` is gone before it was published", path.display())]
    Missing { path: PathBuf },
    #[error("{doing} `{}`", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Publishes sinks on local disk; keeps its plans in a folder of the state.
#[derive(Debug, Clone)]
pub struct Publisher {
    plans: PathBuf,
    /// One file per sink whose tasks may write: what to clean up after a crash.
    sinks: PathBuf,
}

/// A sink of a former life.
#[derive(Debug, Clone)]
pub struct LeftOver {
    record: PathBuf,
    sink: SinkTarget,
}

impl Publisher {
    /// Keeps its records below `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { plans: folder.join("publications"), sinks: folder.join("sinks") }
    }

    /// Remembers that files may be written for this sink, until [`Self::discard`] for the last time.
    pub async fn expect(
        &self,
        job: JobId,
        statement: StatementIndex,
        sink: SinkTarget,
    ) -> Result<(), PublishError> {
        let sinks = self.sinks.clone();
        on_disk(move || plan::write_sink(&sinks, job, statement, &sink)).await
    }

    /// The sinks that a former life expected files for. One whose publication is unfinished keeps its files. Blocks: for
    /// the start, before anything is served.
    pub fn left_over(&self) -> Result<Vec<LeftOver>, PublishError> {
        let is_unfinished =
            |record: &Path| record.file_name().is_some_and(|name| self.plans.join(name).exists());
        let left_over = plan::read_sinks(&self.sinks)?.into_iter();
        let left_over = left_over.filter(|(record, _)| !is_unfinished(record));
        Ok(left_over.map(|(record, sink)| LeftOver { record, sink }).collect())
    }

    /// Removes what such sinks wrote. With `finally` they are forgotten, and nothing of them may write any more.
    pub async fn discard_left_over(&self, sinks: Vec<LeftOver>, finally: bool) -> Result<(), PublishError> {
        if sinks.is_empty() {
            return Ok(());
        }
        on_disk(move || {
            for LeftOver { record, sink } in sinks {
                local::discard(&sink.staging_url)?;
                if finally {
                    plan::remove(&record)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Checks that a sink can be published at all; cheap, before the statement runs.
    pub fn accepts(sink: &SinkTarget) -> Result<(), PublishError> {
        local::path_of(&sink.target_url).and_then(|_| local::path_of(&sink.staging_url)).map(|_| ())
    }

    /// Makes the files visible, all or none. The plan stays on disk until [`Self::forget`], when the core knows.
    pub async fn publish(&self, publication: Publication) -> Result<Outputs, PublishError> {
        let plans = self.plans.clone();
        on_disk(move || {
            local::check(&publication)?;
            publication.write(&plans)?;
            if let Err(error) = local::carry_out(&publication) {
                local::undo(&publication)?;
                publication.remove(&plans)?;
                return Err(error);
            }
            Ok(publication.outputs())
        })
        .await
    }

    /// The outcome of this publication is journaled: nothing needs rolling forward any more.
    pub async fn forget(&self, job: JobId, statement: StatementIndex) {
        let path = Publication::path(&self.plans, job, statement);
        if let Err(error) = tokio::fs::remove_file(&path).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a finished publication's plan stays behind");
        }
    }

    /// Removes everything that waits in a sink's staging folder; no task writes there any more.
    pub async fn discard_finally(&self, job: JobId, statement: StatementIndex, sink: SinkTarget) {
        self.discard(sink).await;
        let path = plan::sink_path(&self.sinks, job, statement);
        if let Err(error) = on_disk(move || plan::remove(&path)).await {
            tracing::warn!(%error, "the record of a sink stays behind");
        }
    }

    /// Removes everything that waits in a sink's staging folder.
    pub async fn discard(&self, sink: SinkTarget) {
        if let Err(error) = on_disk(move || local::discard(&sink.staging_url)).await {
            tracing::warn!(%error, "a staging folder stays behind");
        }
    }

    /// Finishes what a former life began and returns it. What cannot be finished now is tried at the next start. Blocks: for
    /// the start, before anything is served.
    pub fn roll_forward(&self) -> Result<Vec<Publication>, PublishError> {
        let mut begun = Publication::read_all(&self.plans)?;
        begun.retain(|publication| match local::carry_out(publication) {
            Ok(()) => {
                let Publication { job, statement, .. } = publication;
                tracing::info!(%job, %statement, "publication rolled forward");
                true
            }
            Err(error) => {
                tracing::error!(job = %publication.job, %error, "a publication stays unfinished");
                false
            }
        });
        Ok(begun)
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        let source = io::Error::other(panic);
        Err(PublishError::Io { doing: "publishing to", path: PathBuf::new(), source })
    })
}

impl From<PublishError> for JobFailure {
    fn from(error: PublishError) -> Self {
        let (class, advice) = match &error {
            PublishError::Store { .. } => (FailureClass::UserSql, Some("write to a local path")),
            PublishError::TargetNotEmpty { .. } => {
                (FailureClass::UserSql, Some("choose another location, or remove what is there"))
            }
            PublishError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                (FailureClass::Resources, Some("free space on the disk of the target"))
            }
            PublishError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (FailureClass::UserData, Some("give the coordinator's user the right to write there"))
            }
            PublishError::Escapes { .. } => (FailureClass::Internal, None),
            PublishError::Missing { .. } | PublishError::Io { .. } => (FailureClass::Infrastructure, None),
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(class, format!("{error}{cause}"), advice)
    }
}

/// Whether what is below the target goes when the new files come.
fn replaces(mode: SinkMode) -> bool {
    matches!(mode, SinkMode::Overwrite)
}

#[cfg(test)]
mod tests;
