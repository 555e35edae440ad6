//! Pushing to and fetching from one shuffle worker over loopback, client and server in one process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use penstock_common::{
    clock::SystemClock,
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{PartitionSource, PartitionTotals, ShuffleTarget, Winner},
};
use penstock_shuffle_client::{ClientOptions, ShuffleClient, owner::Owner};
use penstock_shuffle_service::{master, worker};
use tokio::runtime::Runtime;
use uuid::Uuid;

const PARTITIONS: u32 = 16;
const BATCHES: u32 = 16;
const BATCH_BYTES: usize = 64 << 10;

struct Service {
    tasks: Tasks,
    owner: Owner,
    client: ShuffleClient,
    payload: Bytes,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let (tasks, folder) = (Tasks::new("bench"), tempfile::tempdir().expect("a folder"));
        let network: Arc<dyn Network> = Arc::new(Tcp);
        let config = master::Config {
            control_listen: "127.0.0.1:0".to_owned(),
            admin_listen: String::new(),
            ..master::Config::default()
        };
        let master = master::start(config, Arc::clone(&network), Arc::new(SystemClock), tasks.clone());
        let masters = vec![master.await.expect("a master").control.to_string()];
        let config = worker::Config {
            masters: masters.clone(),
            data_dirs: vec![folder.path().to_owned()],
            admin_listen: String::new(),
            ..worker::Config::default()
        };
        let worker = worker::start(config, Arc::clone(&network), Arc::new(SystemClock), tasks.clone());
        worker.await.expect("a worker").registered().await;
        Self {
            owner: Owner::new(Arc::clone(&network), masters),
            client: ShuffleClient::new(network, ClientOptions::default(), tasks.clone()),
            payload: (0..BATCH_BYTES).map(|at| at as u8).collect::<Vec<_>>().into(),
            tasks,
            _folder: folder,
        }
    }

    /// One map task that fills every partition.
    async fn push(&self) -> (Arc<ShuffleTarget>, BTreeMap<PartitionIndex, PartitionTotals>) {
        let job = JobId(Uuid::now_v7());
        let shuffle = ShuffleId { job, exchange: StageId(0), run: 0 };
        let target = Arc::new(self.owner.reserve(shuffle, PARTITIONS).await.expect("room"));
        let task = TaskId { job, stage: StageId(0), index: TaskIndex(0) };
        let attempt = AttemptId { task, number: AttemptNumber(0) };
        let mut writer = self.client.writer(attempt, Arc::clone(&target)).await.expect("a writer");
        for batch in 0..BATCHES * PARTITIONS {
            writer.push(PartitionIndex(batch % PARTITIONS), 1, self.payload.clone()).await.expect("pushed");
        }
        let output = writer.finish().await.expect("acknowledged");
        (target, output.partitions.into_iter().collect())
    }

    async fn release(&self, target: &ShuffleTarget) {
        self.owner.release_job(target.shuffle.job).await.expect("released");
    }

    async fn fetch(
        &self,
        target: &ShuffleTarget,
        totals: &BTreeMap<PartitionIndex, PartitionTotals>,
    ) -> usize {
        let winners: Arc<[Winner]> = Arc::new([winner()]);
        let mut bytes = 0;
        for location in &target.locations {
            let source = PartitionSource {
                partition: location.partition,
                locations: vec![location.clone()],
                totals: totals[&location.partition],
            };
            let mut payloads = Box::pin(self.client.read(target.shuffle, Arc::clone(&winners), source));
            while let Some(payload) = payloads.try_next().await.expect("fetched") {
                bytes += payload.len();
            }
        }
        bytes
    }
}

fn winner() -> Winner {
    Winner { map: TaskIndex(0), attempt: AttemptNumber(0) }
}

fn shuffle(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let service = runtime.block_on(Service::start());
    let mut group = criterion.benchmark_group("shuffle");
    group.throughput(Throughput::Bytes(u64::from(PARTITIONS * BATCHES) * BATCH_BYTES as u64)).sample_size(20);
    group.bench_function("push 16 MiB", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let (target, _) = service.push().await;
            service.release(&target).await;
        });
    });
    let (target, totals) = runtime.block_on(async {
        let (target, totals) = service.push().await;
        service.owner.commit(&target, &[winner()]).await.expect("committed");
        (target, totals)
    });
    group.bench_function("fetch 16 MiB", |bencher| {
        bencher.to_async(&runtime).iter(|| service.fetch(&target, &totals));
    });
    group.finish();
    runtime.block_on(service.tasks.stop(Duration::from_secs(5))).ok();
}

criterion_group!(benches, shuffle);
criterion_main!(benches);
