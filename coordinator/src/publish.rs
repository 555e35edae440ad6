//! Makes a sink's files visible in one step, and rolls a step that was cut short forward.
//!
//! In: the winners' files and the sink's target. Out: what became visible. Before the first rename a plan of the
//! publication is on disk; with it any later life of the coordinator can finish what was begun, and every step may be
//! repeated. The core journals `Publishing` before and `Published` after. Not here: writing the files.

mod local;
mod plan;

use std::{io, path::PathBuf};

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
}

impl Publisher {
    pub fn new(plans: PathBuf) -> Self {
        Self { plans }
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

    /// Removes everything that waits in a sink's staging folder.
    pub async fn discard(&self, sink: SinkTarget) {
        if let Err(error) = on_disk(move || local::discard(&sink.staging_url)).await {
            tracing::warn!(%error, "a staging folder stays behind");
        }
    }

    /// Finishes what a former life began and returns it. What cannot be finished now is tried at the next start.
    pub async fn roll_forward(&self) -> Result<Vec<Publication>, PublishError> {
        let plans = self.plans.clone();
        on_disk(move || {
            let mut begun = Publication::read_all(&plans)?;
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
        })
        .await
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
