//! A server that speaks S3 in this process, on a real socket: it checks signatures and keeps objects in a folder.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinSet};

use crate::s3_faults::{Faults, serve};

const ACCESS_KEY: &str = "key-of-the-tests";
pub const SECRET: &str = "secret-of-the-tests";

/// How late a slow answer comes.
pub const SLOW: Duration = Duration::from_millis(20);

/// A server that ends with the test.
pub struct S3Server {
    pub faults: Arc<Faults>,
    address: SocketAddr,
    folder: tempfile::TempDir,
    _running: JoinSet<()>,
}

pub async fn s3_server() -> S3Server {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut running = JoinSet::new();
    let faults = Arc::new(Faults::default());
    running.spawn(accept(listener, service.build(), Arc::clone(&faults)));
    S3Server { faults, address, folder, _running: running }
}

async fn accept(listener: TcpListener, store: S3Service, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (store, faults) = (store.clone(), Arc::clone(&faults));
        let serve = service_fn(move |request| serve(request, store.clone(), Arc::clone(&faults)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
    }
}

impl S3Server {
    /// What a worker's `object_store` says, with the right secret.
    pub fn location(&self) -> String {
        self.location_with(SECRET)
    }

    pub fn location_with(&self, secret: &str) -> String {
        let keys = format!("access_key_id={ACCESS_KEY}&secret_access_key={secret}&disable_config_load=true");
        format!("s3://bucket/shuffle?endpoint=http://{}&region=us-east-1&{keys}", self.address)
    }

    /// Where an object of this name lies, or would.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("bucket/shuffle").join(name)
    }

    /// The objects that there are, by name, with their lengths.
    pub fn objects(&self) -> Vec<(PathBuf, u64)> {
        let mut objects = Vec::new();
        let bucket = self.folder.path().join("bucket");
        files_below(&bucket, &mut objects);
        objects.sort();
        objects
    }
}

fn files_below(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), files);
        } else {
            files.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
}
