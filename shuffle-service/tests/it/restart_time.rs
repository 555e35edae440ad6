//! How long a worker with much data takes to come back. By hand: `cargo test … -- --ignored --nocapture restart_takes`.

use std::{sync::Arc, time::Instant};

use penstock_common::{bytes::ByteSize, clock::SystemClock, lifecycle::Tasks, net::Tcp};
use penstock_shuffle_service::worker::{self, Config};

use crate::cluster::{SHUFFLE, Setup, cluster, payload, winner};

const PARTITIONS: u32 = 5000;
const BATCH: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes half a gigabyte"]
async fn restart_takes_less_than_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let config = Config {
        name: "w0".into(),
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.path().to_owned()],
        memory_bytes_max: ByteSize::mib(64),
        disk_reserve_bytes: ByteSize(0),
        heartbeat_interval_ms: 20,
        ..Config::default()
    };
    let start = async |config: &Config, tasks: &Tasks| {
        let handle = worker::start(config.clone(), Arc::new(Tcp), Arc::new(SystemClock), tasks.clone()).await;
        let handle = handle.unwrap();
        handle.registered().await;
        handle
    };
    let tasks = Tasks::new("first");
    let first = start(&config, &tasks).await;
    let target = cluster.reserve(SHUFFLE, PARTITIONS).await;
    let batches = (0..PARTITIONS).map(|partition| (partition, payload(0, partition, 0, BATCH)));
    let output = cluster.write(&target, 0, 0, batches).await.unwrap();
    let mut sources = cluster.sources(&target, &[winner(0, 0)], &[output]).await;

    let started = Instant::now();
    tasks.stop(std::time::Duration::from_secs(60)).await.unwrap();
    let stopped = started.elapsed();
    let (control_listen, data_listen) = (first.control.to_string(), first.data.to_string());
    let started = Instant::now();
    let tasks = Tasks::new("second");
    let _second = start(&Config { control_listen, data_listen, ..config }, &tasks).await;
    let took = started.elapsed();
    println!("{PARTITIONS} locations of {BATCH} bytes: stopped in {stopped:?}, back in {took:?}");
    let last = sources.pop().unwrap();
    let read = cluster.read(SHUFFLE, &[winner(0, 0)], last).await.unwrap();
    assert_eq!(read, [payload(0, PARTITIONS - 1, 0, BATCH)]);
    assert!(took.as_secs() < 5, "{took:?}");
}
