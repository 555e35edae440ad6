//! Where things are kept between runs: the folders of the XDG base directory specification.

use std::path::PathBuf;

use anyhow::Context;

/// `~/.local/state/penstock`: event logs of `run` and `demo`, the local cluster.
pub fn state() -> anyhow::Result<PathBuf> {
    let state = dirs::state_dir().or_else(|| dirs::home_dir().map(|home| home.join(".local/state")));
    Ok(state.context("there is no home folder: set HOME or XDG_STATE_HOME")?.join("penstock"))
}

/// Event logs of jobs that ran inside the CLI.
pub fn events() -> anyhow::Result<PathBuf> {
    Ok(state()?.join("events"))
}

/// `~/.cache/penstock`: what can be made again.
pub fn cache() -> anyhow::Result<PathBuf> {
    let cache = dirs::cache_dir().context("there is no home folder: set HOME or XDG_CACHE_HOME")?;
    Ok(cache.join("penstock"))
}

/// The working directory as the URL that relative paths of a script start from.
pub fn working_directory_url() -> anyhow::Result<String> {
    let folder = std::env::current_dir().context("the working directory is gone")?;
    let url = reqwest::Url::from_directory_path(&folder)
        .map_err(|()| anyhow::anyhow!("{} is not an absolute path", folder.display()))?;
    Ok(url.into())
}
