//! A client of the service: one map task or one reduce task at a time, as an executor runs them.

mod progress;
mod through;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{
    lifecycle::Tasks,
    net::{Tcp, tls},
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{MapOutput, PartitionSource, ShuffleTarget, Winner},
    token::ClusterSecret,
};
use penstock_shuffle_client::{
    ClientOptions, Reviver, ShuffleClient,
    owner::{Ledger, Owner, sources},
};
use serde_json::{Value, json};
use uuid::Uuid;

use self::progress::{millis, percentile};
use super::{Protection, Work, block_of, next, say};

const WINNER: Winner = Winner { map: TaskIndex(0), attempt: AttemptNumber(0) };

pub fn run(masters: Vec<String>, protection: &Protection, copies: u32, mut work: Work) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Certificates are read again at a signal, in a task of the runtime.
    let mut client = runtime.block_on(async { Client::new(masters, protection, copies) })?;
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
    ledger: Arc<Ledger>,
    owner: Arc<Owner>,
    client: ShuffleClient,
    /// What the last step left.
    pushed: Option<Pushed>,
    committed: Option<Committed>,
}

struct Pushed {
    target: Arc<ShuffleTarget>,
    output: MapOutput,
}

/// What the parts of a step took.
struct Times {
    reserve: Duration,
    push: Duration,
}

#[derive(Clone)]
struct Committed {
    shuffle: ShuffleId,
    sources: Vec<PartitionSource>,
}

impl Client {
    fn new(masters: Vec<String>, protection: &Protection, copies: u32) -> anyhow::Result<Self> {
        let tasks = Tasks::new("bench");
        let network = tls::wrap(Arc::new(Tcp), &protection.tls, &tasks)?;
        let secret = ClusterSecret::load(&protection.cluster_secret_file)?;
        let owner = Owner::new(Arc::clone(&network), masters).with_copies(copies);
        let owner = Arc::new(owner.with_secret(secret.as_ref()));
        let ledger = Arc::new(Ledger::new(Arc::clone(&owner)).closing_early(tasks.clone()));
        let reviver = Arc::clone(&ledger) as Arc<dyn Reviver>;
        let client = ShuffleClient::with_reviver(network, ClientOptions::default(), reviver, tasks);
        let client = client.with_secret(secret);
        Ok(Self { ledger, owner, client, pushed: None, committed: None })
    }

    async fn step(&mut self, work: &Work) -> anyhow::Result<Value> {
        match (*work, self.committed.clone()) {
            (Work::Push { block, bytes, partitions }, _) => {
                self.push_and_forget(block, bytes, partitions).await
            }
            (Work::OpenPartitions { partitions, block }, _) => {
                self.push_and_forget(block, u64::from(partitions) * block as u64, partitions).await
            }
            (Work::Fetch { block, bytes }, None) => self.prepare(block, bytes, 1).await,
            (Work::Fetch { .. }, Some(committed)) => self.fetch(committed).await,
            (Work::Exchanges { rounds, partitions, block }, _) => {
                self.exchanges(rounds, partitions, block).await
            }
            (Work::PushThrough { block, bytes, partitions }, _) => {
                self.push_through(block, bytes, partitions).await
            }
            (Work::ExchangeThrough { rounds, partitions, block }, _) => {
                self.exchange_through(rounds, partitions, block).await
            }
            (Work::ReadThrough { block, bytes, partitions }, None) => {
                self.prepare(block, bytes, partitions).await
            }
            (Work::ReadThrough { bytes, .. }, Some(committed)) => self.read_through(bytes, committed).await,
        }
    }

    async fn push_and_forget(&mut self, block: usize, bytes: u64, partitions: u32) -> anyhow::Result<Value> {
        self.forget().await?;
        let batches = bytes / block as u64;
        let some = |batch| Ok(batch < batches);
        let (pushed, times) = self.reserve_and_push(block, partitions, some).await?;
        self.pushed = Some(pushed);
        Ok(json!({
            "seconds": times.push.as_secs_f64(),
            "bytes": batches * block as u64,
            "reserve_ms": millis(times.reserve),
        }))
    }

    async fn forget(&mut self) -> anyhow::Result<()> {
        if let Some(pushed) = self.pushed.take() {
            self.ledger.forget(pushed.target.shuffle);
            self.owner.release_job(pushed.target.shuffle.job).await?;
        }
        Ok(())
    }

    async fn reserve_and_push(
        &self,
        block: usize,
        partitions: u32,
        wants: impl FnMut(u64) -> anyhow::Result<bool>,
    ) -> anyhow::Result<(Pushed, Times)> {
        let payload = Bytes::from(block_of(block));
        let started = Instant::now();
        let target = Arc::new(self.ledger.reserve(new_shuffle(), partitions).await?);
        let reserve = started.elapsed();
        let pushed = self.push(target, &payload, wants).await?;
        Ok((pushed, Times { reserve, push: started.elapsed() - reserve }))
    }

    /// Pushes as long as `wants`, which gets the number of the next batch, says so.
    async fn push(
        &self,
        target: Arc<ShuffleTarget>,
        payload: &Bytes,
        mut wants: impl FnMut(u64) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Pushed> {
        let task = TaskId { job: target.shuffle.job, stage: StageId(0), index: WINNER.map };
        let attempt = AttemptId { task, number: WINNER.attempt };
        let mut writer = self.client.writer(attempt, Arc::clone(&target)).await?;
        let partitions = target.locations.len() as u64;
        let mut batch = 0;
        while wants(batch)? {
            writer.push(PartitionIndex((batch % partitions) as u32), 1, payload.clone()).await?;
            batch += 1;
        }
        let output = writer.finish().await?;
        Ok(Pushed { target, output })
    }

    async fn commit(&self, pushed: &Pushed) -> anyhow::Result<Committed> {
        let shuffle = pushed.target.shuffle;
        let all = self.ledger.all(shuffle).context("it was reserved here")?;
        let verdicts = self.owner.commit(&all, &[WINNER]).await?;
        Ok(Committed { shuffle, sources: sources(shuffle, &verdicts, [&pushed.output])? })
    }

    async fn prepare(&mut self, block: usize, bytes: u64, partitions: u32) -> anyhow::Result<Value> {
        let answer = self.push_and_forget(block, bytes, partitions).await?;
        let pushed = self.pushed.as_ref().context("just pushed")?;
        self.committed = Some(self.commit(pushed).await?);
        Ok(answer)
    }

    async fn fetch(&self, Committed { shuffle, sources }: Committed) -> anyhow::Result<Value> {
        let started = Instant::now();
        let mut bytes = 0;
        for source in sources {
            let mut payloads = Box::pin(self.client.read(shuffle, [WINNER].into(), source));
            while let Some(payload) = payloads.try_next().await? {
                bytes += payload.len() as u64;
            }
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
        let (median, p99) = (percentile(&mut exchanged, 50), percentile(&mut exchanged, 99));
        Ok(json!({
            "seconds": exchanged.iter().sum::<Duration>().as_secs_f64(),
            "bytes": u64::from(rounds) * u64::from(partitions) * block as u64,
            "median_ms": millis(median),
            "p99_ms": millis(p99),
            "in_memory_median_ms": millis(percentile(&mut handed_over, 50)),
        }))
    }

    /// Everything between two stages: reserve, push, report, commit, read.
    async fn exchange(&self, partitions: u32, payload: &Bytes) -> anyhow::Result<()> {
        let target = Arc::new(self.ledger.reserve(new_shuffle(), partitions).await?);
        let pushed = self.push(target, payload, |batch| Ok(batch < partitions.into())).await?;
        let committed = self.commit(&pushed).await?;
        let shuffle = committed.shuffle;
        self.read_whole(partitions, committed).await?;
        self.ledger.forget(shuffle);
        Ok(())
    }

    /// An exchange with one batch in each partition.
    async fn read_whole(
        &self,
        partitions: u32,
        Committed { shuffle, sources }: Committed,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(sources.len() == partitions as usize, "all partitions are there");
        for source in sources {
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
