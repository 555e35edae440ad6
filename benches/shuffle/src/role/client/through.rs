//! Work that goes on while something happens to the service, and how long it stood still.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures::{TryStreamExt, future::try_join_all};
use serde_json::{Value, json};

use super::{
    Client, Committed, WINNER,
    progress::{Pauses, Through, millis, percentile},
};
use crate::role::{block_of, say};

impl Client {
    pub async fn push_through(&mut self, block: usize, bytes: u64, partitions: u32) -> anyhow::Result<Value> {
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
    pub async fn read_through(
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

    pub async fn exchange_through(
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
}
