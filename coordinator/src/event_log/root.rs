//! Opens the store that holds the logs: a folder, or any URL that OpenDAL knows.

use std::{io, path::PathBuf};

use opendal::Operator;

/// Why the root of the event logs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("creating the folder of the event logs {}", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("opening the event log root `{root}`")]
    Store {
        root: String,
        #[source]
        source: Box<opendal::Error>,
    },
}

/// A folder (plain or `file://`) is created; anything else with a scheme goes to OpenDAL.
pub fn open_root(root: &str) -> Result<Operator, RootError> {
    let folder = root.strip_prefix("file://");
    match (folder, root.contains("://")) {
        (Some(folder), _) => open_folder(folder),
        (None, false) => open_folder(root),
        (None, true) => Operator::from_uri(root).map_err(|source| store_error(root, source)),
    }
}

fn open_folder(folder: &str) -> Result<Operator, RootError> {
    let path = PathBuf::from(folder);
    let absolute = std::fs::create_dir_all(&path)
        .and_then(|()| path.canonicalize())
        .map_err(|source| RootError::Folder { path, source })?;
    let root = absolute.to_string_lossy();
    // Readers must never see half a segment: files are written beside and renamed.
    let scratch = absolute.join(".writing");
    let service = opendal::services::Fs::default().root(&root).atomic_write_dir(&scratch.to_string_lossy());
    Operator::new(service).map_err(|source| store_error(folder, source))
}

fn store_error(root: &str, source: opendal::Error) -> RootError {
    RootError::Store { root: root.to_owned(), source: Box::new(source) }
}
