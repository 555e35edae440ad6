//! Object stores by URL, made when a URL is first met.
//!
//! `file`, `s3`, `gs` and `az` through object_store, whose clients coalesce ranges; every other scheme through OpenDAL, as
//! far as its services are built in. Credentials come from the process' environment, never from a statement.

mod cloud;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    common::{DataFusionError, exec_datafusion_err},
    execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl},
};
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory, path::Path};
use object_store_opendal::OpendalStore;
use opendal::Operator;
use url::{Position, Url};

pub(crate) use cloud::NoCredential;

/// One store per scheme and host.
#[derive(Debug, Default)]
pub struct Stores {
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).insert(key(url), store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let removed = self.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(url));
        removed.ok_or_else(|| exec_datafusion_err!("no object store is open for {}", key(url)))
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&key(url)) {
            return Ok(Arc::clone(store));
        }
        let store = open(url)?;
        stores.insert(key(url), Arc::clone(&store));
        Ok(store)
    }
}

/// A file as people know it: its path on the local disk, else its URL.
pub(crate) fn shown(store: &ObjectStoreUrl, path: &Path) -> String {
    match store.as_str() {
        "file:///" => format!("/{path}"),
        store => format!("{}/{path}", store.trim_end_matches('/')),
    }
}

/// Scheme, user, host and port; no password, no path. An Azure location may have its container where others have a user.
fn key(url: &Url) -> String {
    let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
    format!("{}://{user}{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
    match url.scheme() {
        "file" => Ok(Arc::new(LocalFileSystem::new())),
        "memory" => Ok(Arc::new(InMemory::new())),
        "s3" | "s3a" => cloud::s3(url),
        "gs" => cloud::google(url),
        "az" | "azure" | "abfs" | "abfss" => cloud::azure(url),
        _ => open_opendal(url),
    }
}

fn open_opendal(url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
    let operator = Operator::from_uri(key(url).as_str())
        .map_err(|error| exec_datafusion_err!("`{}` locations cannot be opened: {error}", url.scheme()))?;
    Ok(Arc::new(OpendalStore::new(operator)))
}
