//! A client of the service: one map task or one reduce task at a time, as an executor runs them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{
    lifecycle::Tasks,
    net::{
        Tcp,
        tls::{self, TlsFiles},
    },
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
};
use penstock_shuffle_client::{
    ClientOptions, ShuffleClient,
    owner::{Owner, sources},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Work, block_of, next, say};

const WINNER: Winner = Winner { map: TaskIndex(0), attempt: AttemptNumber(0) };

pub fn run(masters: Vec<String>, tls: &TlsFiles, mut work: Work) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Certificates are read again at a signal, in a task of the runtime.
    let mut client = runtime.block_on(async { Client::new(masters, tls) })?;
    say(&json!({}))?;
    while next()? {
        // On a thread of the runtime, as tasks run, not on one that has to be woken for every answer.
        let step = runtime.spawn(async move {
            let outcome = client.step(&work).await;
            (client, work, outcome)
        });
        let (again, same, outcome) = runtime.block_on(step)?;
        (client, work) = (again, same);
        say(&outcome?)?;
    }
    Ok(())
}

struct Client {
    owner: Owner,
    client: ShuffleClient,
    /// What the last step left.
    pushed: Option<Pushed>,
    source: Option<(ShuffleId, PartitionSource)>,
}

struct Pushed {
    target: Arc<ShuffleTarget>,
    output: MapOutput,
}

impl Client {
    fn new(masters: Vec<String>, files: &TlsFiles) -> anyhow::Result<Self> {
        let tasks = Tasks::new("bench");
        let network = tls::wrap(Arc::new(Tcp), files, &tasks)?;
        Ok(Self {
            owner: Owner::new(Arc::clone(&network), masters),
            client: ShuffleClient::new(network, ClientOptions::default(), tasks),
            pushed: None,
            source: None,
        })
    }

    async fn step(&mut self, work: &Work) -> anyhow::Result<Value> {
        match *work {
            Work::Push { block, bytes, partitions } => self.push_and_forget(block, bytes, partitions).await,
            Work::Fetch { block, bytes } => match self.source.clone() {
                Some((shuffle, source)) => self.fetch(shuffle, source).await,
                None => self.prepare(block, bytes).await,
            },
            Work::OpenPartitions { partitions, block } => {
                self.push_and_forget(block, u64::from(partitions) * block as u64, partitions).await
            }
            Work::Exchanges { rounds, partitions, block } => self.exchanges(rounds, partitions, block).await,
        }
    }

    async fn push_and_forget(&mut self, block: usize, bytes: u64, partitions: u32) -> anyhow::Result<Value> {
        if let Some(pushed) = self.pushed.take() {
            self.owner.release_job(pushed.target.shuffle.job).await?;
        }
        let payload = Bytes::from(block_of(block));
        let shuffle = new_shuffle();
        let target = Arc::new(self.owner.reserve(shuffle, partitions).await?);
        let batches = bytes / block as u64;
        let started = Instant::now();
        let output = self.push(&target, &payload, batches).await?;
        let seconds = started.elapsed().as_secs_f64();
        self.pushed = Some(Pushed { target, output });
        Ok(json!({ "seconds": seconds, "bytes": batches * block as u64, "batches": batches }))
    }

    async fn push(
        &self,
        target: &Arc<ShuffleTarget>,
        payload: &Bytes,
        batches: u64,
    ) -> anyhow::Result<MapOutput> {
        let task = TaskId { job: target.shuffle.job, stage: StageId(0), index: WINNER.map };
        let attempt = AttemptId { task, number: WINNER.attempt };
        let mut writer = self.client.writer(attempt, Arc::clone(target)).await?;
        let partitions = target.locations.len() as u64;
        for batch in 0..batches {
            writer.push(PartitionIndex((batch % partitions) as u32), 1, payload.clone()).await?;
        }
        Ok(writer.finish().await?)
    }

    async fn prepare(&mut self, block: usize, bytes: u64) -> anyhow::Result<Value> {
        let answer = self.push_and_forget(block, bytes, 1).await?;
        let pushed = self.pushed.as_ref().context("just pushed")?;
        let shuffle = pushed.target.shuffle;
        let verdicts = self.owner.commit(&pushed.target, &[WINNER]).await?;
        let mut all = sources(shuffle, &verdicts, [&pushed.output])?;
        self.source = Some((shuffle, all.remove(0)));
        Ok(answer)
    }

    async fn fetch(&self, shuffle: ShuffleId, source: PartitionSource) -> anyhow::Result<Value> {
        let started = Instant::now();
        let mut bytes = 0;
        let mut payloads = Box::pin(self.client.read(shuffle, [WINNER].into(), source));
        while let Some(payload) = payloads.try_next().await? {
            bytes += payload.len() as u64;
        }
        Ok(json!({ "seconds": started.elapsed().as_secs_f64(), "bytes": bytes }))
    }

    async fn exchanges(&self, rounds: u32, partitions: u32, block: usize) -> anyhow::Result<Value> {
        let payload = Bytes::from(block_of(block));
        let (mut exchanged, mut handed_over) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let started = Instant::now();
            self.exchange(partitions, &payload).await?;
            exchanged.push(started.elapsed());
            let started = Instant::now();
            hand_over(partitions, &payload).await?;
            handed_over.push(started.elapsed());
        }
        let millis = |times: &mut Vec<Duration>, percent: usize| {
            times.sort();
            times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
        };
        Ok(json!({
            "median_ms": millis(&mut exchanged, 50),
            "p99_ms": millis(&mut exchanged, 99),
            "in_memory_median_ms": millis(&mut handed_over, 50),
        }))
    }

    /// Everything between two stages: reserve, push, report, commit, read.
    async fn exchange(&self, partitions: u32, payload: &Bytes) -> anyhow::Result<()> {
        let shuffle = new_shuffle();
        let target = Arc::new(self.owner.reserve(shuffle, partitions).await?);
        let output = self.push(&target, payload, partitions.into()).await?;
        let verdicts = self.owner.commit(&target, &[WINNER]).await?;
        for source in sources(shuffle, &verdicts, [&output])? {
            let payloads = self.client.read(shuffle, [WINNER].into(), source);
            let payloads: Vec<_> = payloads.try_collect().await?;
            anyhow::ensure!(payloads.len() == 1, "one batch for each partition");
        }
        Ok(())
    }
}

/// The same batches from one task to another through a channel.
async fn hand_over(partitions: u32, payload: &Bytes) -> anyhow::Result<()> {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let payload = payload.clone();
    let produce = async move {
        for _ in 0..partitions {
            sender.send(payload.clone()).await?;
        }
        anyhow::Ok(())
    };
    let produce = tokio::spawn(produce);
    while receiver.recv().await.is_some() {}
    produce.await?
}

fn new_shuffle() -> ShuffleId {
    ShuffleId { job: JobId(Uuid::now_v7()), exchange: StageId(0), run: 0 }
}
