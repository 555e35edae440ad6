//! Finding the files of a location.

use datafusion::{datasource::listing::ListingTableUrl, execution::SessionState};
use futures::{StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use object_store::ObjectMeta;
use url::Url;

use super::location::Location;
use crate::error::{SqlError, classify};

/// How many other files an error looks at to say what is there instead.
const OTHERS_MAX: usize = 1_000;

/// What DataFusion is to list for a location: one URL with a pattern for file names, or single files where the pattern
/// crosses folders. `extension` is that of files in a plain folder, such as `csv.gz`.
pub async fn table_urls(
    location: &Location,
    extension: &str,
    state: &SessionState,
) -> Result<Vec<ListingTableUrl>, SqlError> {
    let url = location.listing_url()?;
    match &location.pattern {
        None if location.is_folder() => with_pattern(url, &format!("*.{extension}")).map(|url| vec![url]),
        None => Ok(vec![url]),
        Some(pattern) if !pattern.contains('/') && !pattern.contains("**") => {
            with_pattern(url, pattern).map(|url| vec![url])
        }
        Some(pattern) => expand(location, &url, pattern, state).await,
    }
}

fn with_pattern(url: ListingTableUrl, pattern: &str) -> Result<ListingTableUrl, SqlError> {
    url.with_glob(pattern).map_err(|error| SqlError::sql(format!("`{pattern}` is not a pattern: {error}")))
}

async fn expand(
    location: &Location,
    url: &ListingTableUrl,
    pattern: &str,
    state: &SessionState,
) -> Result<Vec<ListingTableUrl>, SqlError> {
    let matcher = Pattern::new(pattern)
        .map_err(|error| SqlError::sql(format!("`{pattern}` is not a pattern: {error}")))?;
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let mut urls = Vec::new();
    for file in list(url, state).await? {
        let below: Vec<&str> = url.strip_prefix(&file.location).map(Iterator::collect).unwrap_or_default();
        if matcher.matches_with(&below.join("/"), options) {
            let file = Location { url: file_url(&location.url, &file), pattern: None };
            urls.push(file.listing_url()?);
        }
    }
    urls.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    Ok(urls)
}

fn file_url(store: &Url, file: &ObjectMeta) -> Url {
    let mut url = store.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(file.location.parts().map(|part| part.as_ref().to_owned()));
    }
    url
}

async fn list(url: &ListingTableUrl, state: &SessionState) -> Result<Vec<ObjectMeta>, SqlError> {
    let store = state.runtime_env().object_store(url).map_err(|error| unreadable(url, error))?;
    let all = store.list(Some(url.prefix())).try_collect().await;
    all.map_err(|error| unreadable(url, error.into()))
}

/// Whether any of the URLs has a file.
pub async fn any_file(urls: &[ListingTableUrl], state: &SessionState) -> Result<bool, SqlError> {
    for url in urls {
        if first_file(url, state).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn first_file(url: &ListingTableUrl, state: &SessionState) -> Result<Option<ObjectMeta>, SqlError> {
    let store = state.runtime_env().object_store(url).map_err(|error| unreadable(url, error))?;
    let mut files =
        url.list_all_files(state, store.as_ref(), "").await.map_err(|error| unreadable(url, error))?;
    files.next().await.transpose().map_err(|error| unreadable(url, error))
}

/// Says that a table has no files, and what is in its place.
pub async fn no_files(table: &str, location: &Location, extension: &str, state: &SessionState) -> SqlError {
    let what = match (&location.pattern, location.is_folder()) {
        (Some(_), _) => format!("nothing matches `{location}`"),
        (None, true) => format!("there is no `*.{extension}` file in `{location}`"),
        (None, false) => format!("`{location}` does not exist"),
    };
    let error = SqlError::data(format!("table `{table}` has no files: {what}"));
    match other_file(location, state).await {
        Some(name) => error.with_suggestion(format!(
            "`{name}` is there: a pattern such as `{}*` reads files with other names",
            location.url
        )),
        None => error,
    }
}

/// A file right in the folder, whatever its name.
async fn other_file(location: &Location, state: &SessionState) -> Option<String> {
    if !location.is_folder() || location.pattern.is_some() {
        return None;
    }
    let url = location.listing_url().ok()?;
    let store = state.runtime_env().object_store(&url).ok()?;
    let files = store.list(Some(url.prefix())).take(OTHERS_MAX);
    let names = files.filter_map(|file| {
        let below: Option<Vec<String>> = file.ok().and_then(|file| {
            url.strip_prefix(&file.location).map(|parts| parts.map(str::to_owned).collect())
        });
        futures::future::ready(below.filter(|parts| parts.len() == 1).map(|mut parts| parts.remove(0)))
    });
    std::pin::pin!(names).next().await
}

fn unreadable(url: &ListingTableUrl, error: datafusion::error::DataFusionError) -> SqlError {
    let failure = classify(&error);
    let mut error = SqlError::new(failure.class, format!("`{url}` cannot be listed: {}", failure.message));
    error.suggestion = failure.advice;
    error
}
