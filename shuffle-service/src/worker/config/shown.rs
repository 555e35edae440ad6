//! What people may see of the settings.

use super::Config;

impl Config {
    /// What people may see: credentials in the object store's URL are hidden.
    pub(in crate::worker) fn shown(&self) -> Self {
        Self { object_store: without_credentials(&self.object_store), ..self.clone() }
    }

    /// With what is hidden of `present` where it stands as it is shown: settings may be read, edited and sent back whole.
    pub(in crate::worker) fn with_hidden_of(self, present: &Self) -> Self {
        match self.object_store == present.shown().object_store {
            true => Self { object_store: present.object_store.clone(), ..self },
            false => self,
        }
    }
}

/// A URL without what may be a secret: user and password before the host, and all that is said after `?`.
fn without_credentials(url: &str) -> String {
    const MASK: &str = "******";
    let (place, has_options) = url.split_once('?').map_or((url, false), |(place, _)| (place, true));
    let place = match place.split_once("://").map(|(scheme, host)| (scheme, host.rsplit_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://{MASK}@{host}"),
        _ => place.to_owned(),
    };
    if has_options { format!("{place}?{MASK}") } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_object_store_are_not_shown() {
        for (location, shown) in [
            ("", ""),
            ("/mnt/store", "/mnt/store"),
            ("/mnt/a@b", "/mnt/a@b"),
            ("s3://bucket/folder", "s3://bucket/folder"),
            ("s3://bucket/folder?region=x&secret_access_key=abc", "s3://bucket/folder?******"),
            ("webdav://me:p@ss@host/folder", "webdav://******@host/folder"),
        ] {
            let config = Config { object_store: location.to_owned(), ..Config::default() };
            assert_eq!(config.shown().object_store, shown);
            assert_eq!(config.object_store, location);
            assert_eq!(config.shown().with_hidden_of(&config), config, "as it was read");
            let other = Config { object_store: "s3://other".to_owned(), ..config.clone() };
            assert_eq!(other.clone().with_hidden_of(&config), other);
        }
    }
}
