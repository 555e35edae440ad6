//! Readers and writers on the worker's host: past the network, the same rows; and over it when anything stands in the way.

mod loans;
mod names;
mod ways;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use penstock_common::{
    bytes::ByteSize,
    grpc,
    lifecycle::Tasks,
    net::{Listener, LocalListener, LocalStream, Network, ProcessId, Stream, Tcp},
};
use penstock_protocol::{
    build,
    frame::{
        BATCH_HEADER_BYTES, Close, FRAME_BYTES_MAX, Frame, Hello, Kind, Loan, Open, Purpose, read_frame,
        write_all,
    },
    ids::{Incarnation, JobId, PartitionIndex, ShuffleId, TaskIndex},
    pb::{ListWorkersRequest, shuffle_master_client::ShuffleMasterClient},
    shuffle::{MapOutput, PartitionSource},
    token::JobToken,
};
use penstock_shuffle_client::{ClientOptions, FetchError, ShuffleClient, owner::totals_of};
use penstock_shuffle_service::{
    disk::LocalDisk,
    worker::{self, Config, DiskConfig, StartError},
};
use socket2::{Domain, SockAddr, Socket, Type};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, JOB, SHUFFLE, Setup, attempt, cluster, eventually, payload, shuffle, winner},
    watch::Watch,
};

const BATCH: usize = 100_000;
const LITTLE_MEMORY: ByteSize = ByteSize::mib(8);
/// Of a partition with [`LITTLE_MEMORY`] so many batches are on the disk at least.
const BATCHES: u32 = 120;
const STORED_BATCHES_MIN: usize = 40;

/// One worker on a real disk.
struct Host {
    cluster: Cluster,
    folder: tempfile::TempDir,
    config: Config,
    tasks: Tasks,
    worker: Option<worker::Handle>,
}

async fn host(network: Arc<dyn Network>, configure: impl FnOnce(&mut Config, &Path)) -> Host {
    host_in(Setup { workers: 0, network, ..Setup::default() }, configure).await
}

async fn host_in(setup: Setup, configure: impl FnOnce(&mut Config, &Path)) -> Host {
    let cluster = cluster(setup).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        name: "w0".into(),
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.path().join("data")],
        memory_bytes_max: LITTLE_MEMORY,
        disk_reserve_bytes: ByteSize(0),
        disk_probe_interval_ms: 10,
        heartbeat_interval_ms: 20,
        cluster_secret_file: cluster.masters[0].config.cluster_secret_file.clone(),
        ..Config::default()
    };
    configure(&mut config, folder.path());
    let (worker, tasks) = start(&cluster, &config).await;
    Host { cluster, folder, config, tasks, worker: Some(worker) }
}

async fn start(cluster: &Cluster, config: &Config) -> (worker::Handle, Tasks) {
    let tasks = Tasks::new("worker");
    let disk = Arc::new(LocalDisk::default());
    let worker =
        worker::start_on(config.clone(), Arc::new(Tcp), cluster.clock.clone(), disk.into(), tasks.clone())
            .await;
    let worker = worker.unwrap();
    worker.registered().await;
    (worker, tasks)
}

impl Host {
    async fn restart(&mut self) {
        let former = self.worker.take().unwrap();
        self.config.control_listen = former.control.to_string();
        self.config.data_listen = former.data.to_string();
        self.tasks.stop(Duration::from_secs(10)).await.unwrap();
        // With it goes its claim on the folder.
        drop(former);
        self.cluster.clock.advance(Duration::from_secs(1));
        let (worker, tasks) = start(&self.cluster, &self.config).await;
        (self.worker, self.tasks) = (Some(worker), tasks);
    }

    /// A committed shuffle of one partition, most of which is on the disk.
    async fn write(&self, id: ShuffleId) -> PartitionSource {
        let target = self.cluster.reserve(id, 1).await;
        let batches = expected().into_iter().map(|payload| (0, payload));
        let output = self.cluster.write(&target, 0, 0, batches).await.unwrap();
        self.cluster.sources(&target, &[winner(0, 0)], &[output]).await.remove(0)
    }

    async fn read(&self, source: &PartitionSource) -> Result<Vec<Bytes>, FetchError> {
        self.cluster.read(SHUFFLE, &[winner(0, 0)], source.clone()).await
    }

    /// How many files of the worker this process holds open, those without a name included.
    fn open_files(&self) -> usize {
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
        // Other tests open and close theirs meanwhile.
        let opened = numbers.filter_map(|number| std::fs::read_link(number.unwrap().path()).ok());
        let own = self.folder.path().join("data");
        opened.filter(|file| file.starts_with(&own) && !file.ends_with("lock")).count()
    }

    /// Of the worker, as its master knows it.
    async fn memory_bytes(&self) -> u64 {
        let channel = grpc::channel(Arc::new(Tcp), &self.cluster.master.control.to_string());
        let answer = ShuffleMasterClient::new(channel).list_workers(ListWorkersRequest {}).await.unwrap();
        answer.into_inner().workers.into_iter().map(|worker| worker.usage.unwrap().memory_used_bytes).sum()
    }

    fn data_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.folder.path().join("data"), &mut found);
        found.retain(|file| !["lock", "manifest", "probe"].iter().any(|name| file.ends_with(name)));
        found
    }
}

/// A reader of which every frame is written by hand.
impl Host {
    fn hello(&self) -> Hello {
        let incarnation = self.worker.as_ref().unwrap().address.incarnation;
        Hello { purpose: Purpose::Fetch, incarnation, build: build().to_owned() }
    }

    async fn connect(&self) -> Stream {
        Tcp.connect_local(&self.worker.as_ref().unwrap().address.data).await.unwrap().stream
    }

    /// Takes the first loan as far as the worker goes without an answer.
    async fn borrow(&self, id: ShuffleId, source: &PartitionSource) -> (Stream, Loan) {
        let mut stream = self.connect().await;
        say_hello(&mut stream, self.hello()).await;
        assert_eq!(next(&mut stream).await.kind, Kind::Welcome);
        let location = &source.locations[0];
        let open = Open {
            stream: 3,
            incarnation: location.worker.incarnation,
            shuffle: id,
            token: JobToken::NONE,
            partition: location.partition,
            epoch: location.epoch,
            offset: 0,
            credit: 1 << 20,
            borrows: true,
            maps: None,
        };
        write_all(&mut stream, &[open.encode()]).await.unwrap();
        let frame = next(&mut stream).await;
        assert_eq!(frame.kind, Kind::Loan);
        (stream, Loan::parse(frame.body).unwrap())
    }
}

async fn say_hello(stream: &mut Stream, hello: Hello) {
    write_all(stream, &[hello.encode()]).await.unwrap();
}

async fn next(stream: &mut Stream) -> Frame {
    read_frame(stream, FRAME_BYTES_MAX).await.unwrap().unwrap()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

fn expected() -> Vec<Bytes> {
    (0..BATCHES).map(|batch| payload(0, 0, batch, BATCH)).collect()
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// Whether a read went past the network, and whether the reader read files itself.
#[derive(Debug, PartialEq, Eq)]
struct Ways {
    local: bool,
    network: bool,
    borrowed: bool,
    loan_failed: bool,
}

const LENT: Ways = Ways { local: true, network: false, borrowed: true, loan_failed: false };
const SENT_LOCALLY: Ways = Ways { local: true, network: false, borrowed: false, loan_failed: false };
const OVER_THE_NETWORK: Ways = Ways { local: false, network: true, borrowed: false, loan_failed: false };
const LOAN_IN_VAIN: Ways = Ways { local: true, network: false, borrowed: false, loan_failed: true };

fn ways(watch: &Watch) -> Ways {
    let counters = watch.counters();
    let counted = |name: &str, label: &str| {
        let name = format!("penstock_shuffle_client_{name}_total");
        counters.get(&(name, label.to_owned())).is_some_and(|count| *count > 0)
    };
    Ways {
        local: counted("connections", "local"),
        network: counted("connections", "network"),
        borrowed: counted("borrowed_bytes", ""),
        loan_failed: counted("failed_loans", ""),
    }
}

/// A network without a way that leaves it out.
#[derive(Debug)]
struct Elsewhere;

#[async_trait]
impl Network for Elsewhere {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        Tcp.connect(addr).await
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }
}

/// A network on which the worker is seen as another process, or as none, like one in a container of its own.
#[derive(Debug)]
struct Sees(Option<ProcessId>);

#[async_trait]
impl Network for Sees {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        Tcp.connect(addr).await
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }

    async fn connect_local(&self, addr: &str) -> io::Result<LocalStream> {
        let local = Tcp.connect_local(addr).await?;
        Ok(LocalStream { process: self.0, ..local })
    }

    async fn bind_local(&self, addr: &str) -> io::Result<LocalListener> {
        Tcp.bind_local(addr).await
    }
}
