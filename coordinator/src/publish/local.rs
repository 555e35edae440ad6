//! Publication on local disk: checks, then renames. Each step finds out whether it was done before.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

use penstock_engine::sink::SinkMode;

use super::{Publication, PublishError, replaces};

/// Where files wait that an overwrite replaces, below the staging folder.
const REPLACED: &str = ".replaced";

/// The local path of a folder's URL.
pub(super) fn path_of(url: &str) -> Result<PathBuf, PublishError> {
    let refused = || PublishError::Store { url: url.to_owned() };
    let parsed = url::Url::parse(url).map_err(|_| refused())?;
    if parsed.scheme() != "file" {
        return Err(refused());
    }
    parsed.to_file_path().map_err(|()| refused())
}

/// Refuses what cannot work before anything is visible.
pub(super) fn check(publication: &Publication) -> Result<(), PublishError> {
    let target = path_of(&publication.sink.target_url)?;
    let staging = path_of(&publication.sink.staging_url)?;
    for file in &publication.files {
        let staged = below(&staging, &file.staged_path)?;
        below(&target, &file.final_path)?;
        if !staged.is_file() {
            return Err(PublishError::Missing { path: staged });
        }
    }
    if publication.sink.mode == SinkMode::Create && holds_files(&target, &staging)? {
        return Err(PublishError::TargetNotEmpty { target });
    }
    Ok(())
}

/// Moves what was there aside, then the new files into place, then removes what is left over.
pub(super) fn carry_out(publication: &Publication) -> Result<(), PublishError> {
    let target = path_of(&publication.sink.target_url)?;
    let staging = path_of(&publication.sink.staging_url)?;
    create_folder(&target)?;
    if replaces(publication.sink.mode) {
        move_aside(publication, &target, &staging)?;
    }
    let mut folders = HashSet::from([target.clone()]);
    for file in &publication.files {
        let (staged, place) = (below(&staging, &file.staged_path)?, below(&target, &file.final_path)?);
        let folder = place.parent().unwrap_or(&target).to_path_buf();
        if folders.insert(folder.clone()) {
            create_folder(&folder)?;
        }
        into_place(&staged, &place)?;
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))?;
    discard(&publication.sink.staging_url)
}

/// Puts everything back to how it was before a publication that failed midway.
pub(super) fn undo(publication: &Publication) -> Result<(), PublishError> {
    let target = path_of(&publication.sink.target_url)?;
    let staging = path_of(&publication.sink.staging_url)?;
    for file in &publication.files {
        let (staged, place) = (below(&staging, &file.staged_path)?, below(&target, &file.final_path)?);
        if !staged.exists() && place.is_file() {
            put_back(&place, &staged)?;
        }
    }
    let aside = staging.join(REPLACED);
    for old in files_below(&aside, &staging.join("none"))? {
        put_back(&old, &target.join(old.strip_prefix(&aside).unwrap_or(&old)))?;
    }
    Ok(())
}

fn put_back(from: &Path, to: &Path) -> Result<(), PublishError> {
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    fs::rename(from, to).map_err(|source| PublishError::Io {
        doing: "putting back",
        path: to.to_path_buf(),
        source,
    })
}

pub(super) fn discard(staging_url: &str) -> Result<(), PublishError> {
    let staging = path_of(staging_url)?;
    match fs::remove_dir_all(&staging) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PublishError::Io { doing: "removing the staging folder", path: staging, source })
        }
        _ => {
            // The folder that all staging folders of the target share goes with the last of them.
            if let Some(shared) = staging.parent().filter(|shared| is_hidden(shared)) {
                let _ = fs::remove_dir(shared);
            }
            Ok(())
        }
    }
}

/// Every old file leaves the target in one rename per top-level entry. New files are told apart by name, so that a
/// repetition after a crash does not take them away again.
fn move_aside(publication: &Publication, target: &Path, staging: &Path) -> Result<(), PublishError> {
    let new: HashSet<PathBuf> = publication.files.iter().map(|file| target.join(&file.final_path)).collect();
    let aside = staging.join(REPLACED);
    for old in files_below(target, staging)? {
        if new.contains(&old) {
            continue;
        }
        let place = aside.join(old.strip_prefix(target).unwrap_or(&old));
        create_folder(place.parent().unwrap_or(&aside))?;
        fs::rename(&old, &place).map_err(|source| PublishError::Io {
            doing: "replacing",
            path: old,
            source,
        })?;
    }
    remove_empty_folders(target, staging)
}

fn into_place(staged: &Path, place: &Path) -> Result<(), PublishError> {
    match fs::rename(staged, place) {
        // Done by a former life.
        Err(error) if error.kind() == io::ErrorKind::NotFound && place.is_file() => Ok(()),
        Err(source) => Err(PublishError::Io { doing: "publishing", path: place.to_path_buf(), source }),
        Ok(()) => Ok(()),
    }
}

/// `root` joined with a relative path that stays below it.
fn below(root: &Path, relative: &str) -> Result<PathBuf, PublishError> {
    let path = Path::new(relative);
    if relative.is_empty() || path.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(PublishError::Escapes { path: relative.to_owned() });
    }
    Ok(root.join(path))
}

fn holds_files(target: &Path, staging: &Path) -> Result<bool, PublishError> {
    Ok(!files_below(target, staging)?.is_empty())
}

/// Visible files below a folder; hidden ones and the staging folder belong to somebody else.
fn files_below(folder: &Path, staging: &Path) -> Result<Vec<PathBuf>, PublishError> {
    let listing = |source| PublishError::Io { doing: "listing", path: folder.to_path_buf(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(listing(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(listing)?;
        let path = entry.path();
        if is_hidden(&path) || path == staging {
            continue;
        }
        if entry.file_type().map_err(listing)?.is_dir() {
            files.extend(files_below(&path, staging)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Partition folders that an overwrite has emptied.
fn remove_empty_folders(folder: &Path, staging: &Path) -> Result<(), PublishError> {
    let entries = fs::read_dir(folder).map_err(|source| PublishError::Io {
        doing: "listing",
        path: folder.to_path_buf(),
        source,
    })?;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() && !is_hidden(&path) && path != staging {
            remove_empty_folders(&path, staging)?;
            // Fails while something is in it, as it should.
            let _ = fs::remove_dir(&path);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
}

fn create_folder(folder: &Path) -> Result<(), PublishError> {
    fs::create_dir_all(folder).map_err(|source| PublishError::Io {
        doing: "creating",
        path: folder.to_path_buf(),
        source,
    })
}

/// Renames survive a power cut once their folder is synced.
fn sync_folder(folder: &Path) -> Result<(), PublishError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| PublishError::Io {
        doing: "syncing",
        path: folder.to_path_buf(),
        source,
    })
}
