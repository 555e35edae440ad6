//! Object stores by URL, made when a URL is first met.
//!
//! `file` and `s3` through object_store, whose S3 client coalesces ranges; every other scheme through OpenDAL, as far as
//! its services are built in. Credentials come from the process' environment, never from a statement.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    common::{DataFusionError, exec_datafusion_err},
    execution::object_store::ObjectStoreRegistry,
};
use object_store::{ObjectStore, aws::AmazonS3Builder, local::LocalFileSystem, memory::InMemory};
use object_store_opendal::OpendalStore;
use opendal::Operator;
use url::{Position, Url};

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

/// Scheme, host and port; no credentials, no path.
fn key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
    match url.scheme() {
        "file" => Ok(Arc::new(LocalFileSystem::new())),
        "memory" => Ok(Arc::new(InMemory::new())),
        "s3" | "s3a" => open_s3(url),
        _ => open_opendal(url),
    }
}

fn open_s3(url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
    let plain_endpoint = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|endpoint| endpoint.starts_with("http://"));
    let bucket = url.host_str().ok_or_else(|| exec_datafusion_err!("{} names no bucket", key(url)))?;
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let builder = if plain_endpoint { builder.with_allow_http(true) } else { builder };
    Ok(Arc::new(builder.build()?))
}

fn open_opendal(url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
    let operator = Operator::from_uri(key(url).as_str())
        .map_err(|error| exec_datafusion_err!("`{}` locations cannot be opened: {error}", url.scheme()))?;
    Ok(Arc::new(OpendalStore::new(operator)))
}
