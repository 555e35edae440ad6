//! A client of the service: one map task or one reduce task at a time, as an executor runs them.

mod progress;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures::{TryStreamExt, future::try_join_all};
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

use self::progress::{Pauses, Through, millis, percentile};
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

    async fn push_through(&mut self, block: usize, bytes: u64, partitions: u32) -> anyhow::Result<Value> {
        self.forget().await?;
        let (batches, mut pushed) = (bytes / block as u64, 0);
        let (mut pauses, mut through) = (None::<Pauses>, Through::new(batches));
        let wants = |batch| {
            pauses.get_or_insert_with(Pauses::new).went_on();
            pushed = batch;
            through.goes_on(batch)
        };
        let (output, times) = self.reserve_and_push(block, partitions, wants).await?;
        let mut pauses = pauses.context("it was asked at least once")?;
        // All is acknowledged.
        pauses.went_on();
        let (bytes, pushed) = (pushed * block as u64, output);
        let started = Instant::now();
        let committed = self.commit(&pushed).await?;
        let commit = started.elapsed();
        let read = self.fetch(committed).await?;
        anyhow::ensure!(read["bytes"] == bytes, "all that was pushed is read");
        self.pushed = Some(pushed);
        Ok(json!({
            "seconds": times.push.as_secs_f64(),
            "bytes": bytes,
            "longest_pause_ms": millis(pauses.longest()),
            "p99_pause_ms": millis(percentile(&mut pauses.all, 99)),
            "commit_ms": millis(commit),
        }))
    }

    /// All partitions at once, as a merge reads them.
    async fn read_through(
        &self,
        bytes: u64,
        Committed { shuffle, sources }: Committed,
    ) -> anyhow::Result<Value> {
        let (read, first) = (&AtomicU64::new(0), &OnceLock::new());
        let started = Instant::now();
        let readers = sources.into_iter().map(|source| {
            let mut payloads = Box::pin(self.client.read(shuffle, [WINNER].into(), source));
            async move {
                let mut pauses = Pauses::new();
                while let Some(payload) = payloads.try_next().await? {
                    pauses.went_on();
                    first.get_or_init(|| started.elapsed());
                    let before = read.fetch_add(payload.len() as u64, Ordering::Relaxed);
                    if before < bytes / 2 && before + payload.len() as u64 >= bytes / 2 {
                        say(&json!({ "half": true }))?;
                    }
                }
                anyhow::Ok(pauses.longest())
            }
        });
        let pauses = try_join_all(readers).await?;
        Ok(json!({
            "seconds": started.elapsed().as_secs_f64(),
            "bytes": read.load(Ordering::Relaxed),
            "first_payload_ms": first.get().copied().map(millis),
            "longest_pause_ms": pauses.into_iter().max().map(millis),
        }))
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

    async fn exchange_through(
        &mut self,
        rounds: u32,
        partitions: u32,
        block: usize,
    ) -> anyhow::Result<Value> {
        self.prepare(block, u64::from(partitions) * block as u64, partitions).await?;
        let (payload, mut through, mut round) =
            (Bytes::from(block_of(block)), Through::new(rounds.into()), 0);
        let mut pauses = Pauses::new();
        while through.goes_on(round)? {
            self.exchange(partitions, &payload).await?;
            pauses.went_on();
            round += 1;
        }
        let first = self.committed.take().context("it was prepared")?;
        self.read_whole(partitions, first).await?;
        Ok(json!({
            "seconds": pauses.all.iter().sum::<Duration>().as_secs_f64(),
            "bytes": round * u64::from(partitions) * block as u64,
            "longest_pause_ms": millis(pauses.longest()),
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
