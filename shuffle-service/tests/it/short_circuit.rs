//! Readers and writers on the worker's host: past the network, the same rows; and over it when anything stands in the way.

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
        worker::start_on(config.clone(), Arc::new(Tcp), cluster.clock.clone(), disk, tasks.clone()).await;
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

/// Whole exchanges of several sizes, and reads of a few maps; the same on every way.
async fn exchanges(host: &Host) {
    for (exchange, (batches, length)) in (0..).zip([(3_u32, 50), (40, BATCH), (6, 700_000)]) {
        let id = shuffle(exchange);
        let target = host.cluster.reserve(id, 2).await;
        let mut outputs: Vec<MapOutput> = Vec::new();
        for map in 0..3 {
            let all = (0..batches).map(|batch| (batch % 2, payload(map, batch % 2, batch, length)));
            outputs.push(host.cluster.write(&target, map, 0, all).await.unwrap());
        }
        let winners = [0, 1, 2].map(|map| winner(map, 0));
        for source in host.cluster.sources(&target, &winners, &outputs).await {
            let partition = source.partition.0;
            let of_map = |map| {
                let mine = (0..batches).filter(|batch| batch % 2 == partition);
                mine.map(|batch| payload(map, partition, batch, length)).collect::<Vec<_>>()
            };
            let read = host.cluster.read(id, &winners, source.clone()).await.unwrap();
            assert!(read == [0, 1, 2].map(of_map).concat(), "exchange {exchange} partition {partition}");
            let maps = TaskIndex(1)..TaskIndex(2);
            let totals = totals_of(source.partition, &outputs[1..2]);
            let part = PartitionSource { totals, ..source };
            let some: Vec<_> = host
                .cluster
                .client
                .read_maps(id, &winners, part, maps, Arc::default())
                .try_collect()
                .await
                .unwrap();
            assert!(some == of_map(1), "exchange {exchange} partition {partition}, one map");
        }
    }
}

#[tokio::test]
async fn every_way_to_a_worker_brings_the_same_rows() {
    type Configure = fn(&mut Config, &Path);
    let cases: [(Ways, Arc<dyn Network>, Configure); 6] = [
        (LENT, Arc::new(Tcp), |_, _| {}),
        (SENT_LOCALLY, Arc::new(Tcp), |config, _| config.memory_bytes_max = ByteSize::mib(256)),
        (OVER_THE_NETWORK, Arc::new(Tcp), |config, _| config.short_circuit = false),
        (OVER_THE_NETWORK, Arc::new(Elsewhere), |_, _| {}),
        (LOAN_IN_VAIN, Arc::new(Sees(None)), |_, _| {}),
        // Whatever that process holds open under the number is not the worker's file.
        (LOAN_IN_VAIN, Arc::new(Sees(Some(ProcessId(1)))), |_, _| {}),
    ];
    for (expected, network, configure) in cases {
        let watch = Watch::start();
        let host = host(network, configure).await;
        exchanges(&host).await;
        assert_eq!(ways(&watch), expected);
    }
}

#[tokio::test]
async fn who_is_on_the_host_is_turned_away_without_the_token_too() {
    let secret = Some("a secret of thirty-two bytes, or more");
    let host = host_in(Setup { workers: 0, secret, ..Setup::default() }, |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let open = host.cluster.reserve(shuffle(1), 1).await;
    let watch = Watch::start();
    let stranger = ShuffleClient::new(Arc::new(Tcp), ClientOptions::default(), Tasks::new("stranger"));
    let read = stranger.read(SHUFFLE, [winner(0, 0)].into(), source.clone()).try_collect::<Vec<_>>().await;
    assert!(read.unwrap_err().to_string().contains("token"));
    let mut writer = stranger.writer(attempt(0, 0), open).await.unwrap();
    writer.push(PartitionIndex(0), 1, payload(0, 0, 0, 10)).await.unwrap();
    assert!(writer.finish().await.unwrap_err().to_string().contains("token"));
    // Nothing was lent, nor would it be to who shows the right one of another job.
    assert_eq!(ways(&watch), SENT_LOCALLY);
    assert!(host.read(&source).await.unwrap() == expected());
    assert_eq!(ways(&watch), LENT);
}

// Invariant 16: the same answer as over the network.
#[tokio::test]
async fn who_is_on_the_host_is_turned_away_by_another_life_too() {
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let mut stream = host.connect().await;
    let hello = host.hello();
    let incarnation = Incarnation(hello.incarnation.0 + 1);
    say_hello(&mut stream, Hello { incarnation, ..hello }).await;
    assert_eq!(next(&mut stream).await.kind, Kind::Fault);
}

/// How a reader goes that has been lent a file.
#[derive(Debug, Clone, Copy)]
enum Gone {
    AtTheEnd,
    InTheMiddle,
    WhenTheJobEnded,
    BeforeItOpenedTheFile,
    ClosingTheStream,
}

const WAYS_TO_GO: [Gone; 5] = [
    Gone::AtTheEnd,
    Gone::InTheMiddle,
    Gone::WhenTheJobEnded,
    Gone::BeforeItOpenedTheFile,
    Gone::ClosingTheStream,
];

#[tokio::test]
async fn nothing_is_left_of_loans_whatever_becomes_of_readers() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    for (job, gone) in (1..).zip(WAYS_TO_GO) {
        let id = ShuffleId { job: JobId(Uuid::from_u128(job)), ..SHUFFLE };
        let source = host.write(id).await;
        read_and_go(&host, id, source, gone).await;
        host.cluster.owner.release_job(id.job).await.unwrap();
        eventually(&format!("{gone:?}: all files are closed"), async || host.open_files() == 0).await;
        eventually("the files go", async || host.data_files().is_empty()).await;
    }
    let mut open = 0.0;
    eventually("all connections but the writer's are closed", async || {
        open += watch.gauge_change("penstock_shuffle_connections");
        open == 1.0
    })
    .await;
    eventually("all memory is free", async || host.memory_bytes().await == 0).await;
}

async fn read_and_go(host: &Host, id: ShuffleId, source: PartitionSource, gone: Gone) {
    if matches!(gone, Gone::BeforeItOpenedTheFile | Gone::ClosingTheStream) {
        let (mut stream, loan) = host.borrow(id, &source).await;
        assert!(host.open_files() > 0, "the worker holds what it lends");
        if matches!(gone, Gone::ClosingTheStream) {
            write_all(&mut stream, &[Close { stream: loan.stream }.encode()]).await.unwrap();
            eventually("the worker closes the file", async || host.open_files() == 0).await;
        }
        return;
    }
    let tasks = Tasks::new("client");
    let client = ShuffleClient::new(Arc::new(Tcp), ClientOptions::default(), tasks.clone());
    let mut reader = Box::pin(client.read(id, [winner(0, 0)].into(), source));
    reader.next().await.unwrap().unwrap();
    assert!(host.open_files() > 0, "the reader holds what it was lent");
    match gone {
        Gone::AtTheEnd => assert_eq!(reader.by_ref().count().await as u32, BATCHES - 1),
        Gone::WhenTheJobEnded => host.cluster.owner.release_job(id.job).await.unwrap(),
        _ => {}
    }
    drop(reader);
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}

// Invariants 16 and 25: the file is read to its end, and what is not in it comes from the next life.
#[tokio::test]
async fn a_worker_may_be_started_again_under_a_reader_of_its_files() {
    let watch = Watch::start();
    let mut host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source.clone()));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.restart().await;
    read.extend(reader.try_collect::<Vec<_>>().await.unwrap());
    assert!(read == expected());
    assert!(host.read(&source).await.unwrap() == expected());
    assert_eq!(ways(&watch), LENT);
}

// Invariants 16 and 22: what only the former life had is an error, never the end.
#[tokio::test]
async fn a_worker_that_comes_back_empty_under_a_reader_of_its_files_is_a_loss_and_never_fewer_rows() {
    let watch = Watch::start();
    // Little credit, so that what is in memory has not come when the worker goes.
    let options = ClientOptions { fetch_stream_bytes_max: 128 << 10, ..ClientOptions::default() };
    let setup = Setup { workers: 0, network: Arc::new(Tcp), options, ..Setup::default() };
    let forgets = |config: &mut Config, _: &Path| (config.keep_data, config.drain_seconds) = (false, 0);
    let mut host = host_in(setup, forgets).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.restart().await;
    let error = loop {
        match reader.next().await.expect("it does not end") {
            Ok(batch) => read.push(batch),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    assert!(read.len() >= STORED_BATCHES_MIN && read == expected()[..read.len()], "{} batches", read.len());
    assert_eq!(ways(&watch), LENT);
}

// Invariant 21: a file stays until its last stream closes. Invariant 22: what is gone is an error, never the end.
#[tokio::test]
async fn what_is_deleted_under_a_reader_of_its_file_is_read_to_the_end_of_the_file() {
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the files go", async || host.data_files().is_empty()).await;
    let mut end = None;
    while let Some(batch) = reader.next().await {
        match batch {
            Ok(batch) => read.push(batch),
            Err(error) => end = Some(error),
        }
    }
    assert!(read.len() >= STORED_BATCHES_MIN && read == expected()[..read.len()], "{} batches", read.len());
    assert!(read.len() == expected().len() || matches!(end, Some(FetchError::Lost { .. })), "{end:?}");
}

// Invariant 28.
#[tokio::test]
async fn data_may_move_to_the_object_store_under_a_reader_of_its_file() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |config, folder| {
        let quota = ByteSize::mib(20);
        config.disks = vec![DiskConfig { path: folder.join("data"), quota, ..DiskConfig::default() }];
        config.object_store = folder.join("objects").display().to_string();
        (config.evict_from_percent, config.evict_to_percent) = (60, 5);
    })
    .await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source.clone()));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    let lent = host.data_files();
    assert!(!lent.is_empty());
    // Presses the rest of the first one out of memory, and the disk above its mark.
    host.write(shuffle(1)).await;
    eventually("the first one moves", async || lent.iter().all(|file| !file.exists())).await;
    read.extend(reader.try_collect::<Vec<_>>().await.unwrap());
    assert!(read == expected());
    assert_eq!(ways(&watch), LENT);
    assert!(host.read(&source).await.unwrap() == expected());
}

// Invariant 23: the worker is asked for what its file does not hold any more, and says so.
#[tokio::test]
async fn a_lent_file_that_was_cut_off_is_a_loss_and_never_fewer_rows() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    for file in host.data_files() {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(20 * BATCH as u64).unwrap();
    }
    let error = host.read(&source).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    assert_eq!(ways(&watch), Ways { borrowed: true, ..LOAN_IN_VAIN });
}

// Invariant 23: checksums are the reader's business whoever reads the file.
#[tokio::test]
async fn a_bit_that_turned_in_a_lent_file_is_a_loss_and_never_another_row() {
    const IN_A_HEADER: usize = 3 * (BATCH + BATCH_HEADER_BYTES) + 5;
    const IN_A_PAYLOAD: usize = IN_A_HEADER + BATCH_HEADER_BYTES;
    // The reader meets the first one only when it checks what it has read, and the other one before that.
    for (position, loan_failed) in [(IN_A_PAYLOAD, false), (IN_A_HEADER, true)] {
        let watch = Watch::start();
        let host = host(Arc::new(Tcp), |_, _| {}).await;
        let source = host.write(SHUFFLE).await;
        for file in host.data_files() {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[position] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
        let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
        let mut read = Vec::new();
        let error = loop {
            match reader.next().await.expect("it does not end") {
                Ok(batch) => read.push(batch),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FetchError::Lost { .. }), "{error}");
        assert!(read.len() <= 3 && read == expected()[..read.len()], "{} batches", read.len());
        assert_eq!(ways(&watch), Ways { loan_failed, borrowed: !loan_failed, ..LENT });
    }
}

#[tokio::test]
async fn a_worker_does_not_start_where_a_process_of_its_user_has_its_name() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let addr = Tcp.bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let _squatter = Tcp.bind_local(&addr).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.path().into()],
        data_listen: addr.clone(),
        ..Config::default()
    };
    let start = async |config: &Config| {
        let (clock, disk) = (cluster.clock.clone(), Arc::new(LocalDisk::default()));
        let tasks = Tasks::new("worker");
        let started = worker::start_on(config.clone(), Arc::new(Tcp), clock, disk, tasks.clone()).await;
        tasks.stop_token().cancel();
        started
    };
    assert!(matches!(start(&config).await, Err(StartError::NameTaken { address }) if address == addr));
    config.short_circuit = false;
    assert!(start(&config).await.is_ok());
}

/// Whoever has it meets no client, who would come to nobody: anyone could do that to keep a worker from its work.
#[tokio::test]
async fn a_worker_starts_though_its_name_is_taken_where_nobody_listens_under_it() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let addr = Tcp.bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let taken = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    taken.bind(&SockAddr::unix(format!("\0penstock/{addr}")).unwrap()).unwrap();
    assert_eq!(Tcp.bind_local(&addr).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.path().into()],
        data_listen: addr,
        ..Config::default()
    };
    start(&cluster, &config).await;
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
