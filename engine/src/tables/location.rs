//! Where a table's files are: a file, a folder, or a pattern below a folder.

use std::{fmt, path::Path};

use datafusion::datasource::listing::ListingTableUrl;
use url::Url;

use crate::error::SqlError;

/// An absolute location. Its text form is the URL with the pattern, if there is one, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// A file, or a folder if the path ends in `/`. A folder if there is a pattern.
    pub url: Url,
    /// Shell pattern below the folder; `**` crosses folders.
    pub pattern: Option<String>,
}

impl Location {
    /// Reads what a script says: a URL, an absolute path, or a path relative to `base` (which is a folder).
    pub fn resolve(text: &str, base: Option<&str>) -> Result<Self, SqlError> {
        if text.trim().is_empty() {
            return Err(SqlError::sql("a location cannot be empty"));
        }
        let (fixed, pattern) = split_pattern(text);
        let url = resolve_url(fixed, base)?;
        let url = if pattern.is_some() { as_folder(url) } else { folder_if_local_directory(url) };
        Ok(Self { url, pattern: pattern.map(str::to_owned) })
    }

    pub fn is_folder(&self) -> bool {
        self.url.path().ends_with('/')
    }

    /// The same place as a folder.
    pub fn into_folder(self) -> Self {
        Self { url: as_folder(self.url), pattern: self.pattern }
    }

    /// The extension of a file's name, in lower case.
    pub fn extension(&self) -> Option<String> {
        let name = self.url.path_segments()?.next_back()?;
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then(|| extension.to_ascii_lowercase())
    }

    /// Without the pattern.
    pub fn listing_url(&self) -> Result<ListingTableUrl, SqlError> {
        ListingTableUrl::parse(self.url.as_str()).map_err(|error| invalid(self.url.as_str(), error))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.pattern.as_deref().unwrap_or_default())
    }
}

/// The part before the first path segment with a wildcard, and the rest.
fn split_pattern(text: &str) -> (&str, Option<&str>) {
    match text.find(['*', '?', '[']) {
        Some(wildcard) => {
            let start = text[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
            (&text[..start], Some(&text[start..]))
        }
        None => (text, None),
    }
}

fn resolve_url(text: &str, base: Option<&str>) -> Result<Url, SqlError> {
    if text.contains("://") {
        return Url::parse(text).map_err(|error| invalid(text, error));
    }
    if Path::new(text).is_absolute() {
        return file_url(Path::new(text)).ok_or_else(|| invalid(text, "it is not a path"));
    }
    let base = base.ok_or_else(|| {
        SqlError::sql(format!("location `{text}` is relative, and it is not known to which folder"))
            .with_suggestion("write an absolute path or a URL such as `s3://bucket/folder/`")
    })?;
    let base = Url::parse(base).map_err(|error| invalid(base, error))?;
    if base.scheme() == "file" {
        let folder = base.to_file_path().map_err(|()| invalid(base.as_str(), "it is not a local folder"))?;
        let path = folder.join(text);
        return file_url(&path).ok_or_else(|| invalid(text, "it is not a path"));
    }
    base.join(text).map_err(|error| invalid(text, error))
}

/// Keeps a trailing slash, resolves `.` and `..`.
fn file_url(path: &Path) -> Option<Url> {
    let is_folder = path.as_os_str().to_str()?.ends_with('/');
    let url = if is_folder { Url::from_directory_path(path) } else { Url::from_file_path(path) };
    Url::parse(url.ok()?.as_str()).ok()
}

fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn folder_if_local_directory(url: Url) -> Url {
    match url.scheme() {
        "file" if url.to_file_path().is_ok_and(|path| path.is_dir()) => as_folder(url),
        _ => url,
    }
}

fn invalid(text: &str, reason: impl fmt::Display) -> SqlError {
    SqlError::sql(format!("location `{text}` cannot be used: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, base: &str, expected: &str) {
        let location = Location::resolve(text, Some(base)).expect("resolves");
        assert_eq!(location.to_string(), expected);
        assert_eq!(Location::resolve(expected, None).expect("resolves"), location);
    }

    #[test]
    fn locations_become_absolute() {
        check("t.parquet", "file:///data/", "file:///data/t.parquet");
        check("../x/t 1.parquet", "file:///data/a/", "file:///data/x/t%201.parquet");
        check("/abs/folder/", "file:///data/", "file:///abs/folder/");
        check("s3://bucket/folder/", "file:///data/", "s3://bucket/folder/");
        check("folder/t.parquet", "s3://bucket/base/", "s3://bucket/base/folder/t.parquet");
    }

    #[test]
    fn patterns_start_at_the_first_wildcard() {
        check("logs/2026-*/x?.csv", "file:///data/", "file:///data/logs/2026-*/x?.csv");
        check("s3://bucket/a/**/*.parquet", "file:///data/", "s3://bucket/a/**/*.parquet");
        check("*.csv", "file:///data/", "file:///data/*.csv");
    }

    #[test]
    fn a_relative_location_without_a_base_is_an_error() {
        let error = Location::resolve("t.parquet", None).expect_err("has no base");
        assert!(error.to_string().contains("write an absolute path"), "{error}");
    }
}
