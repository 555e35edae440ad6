//! The shuffled data between two stages, by partition and by worker.

use std::{cmp::Reverse, collections::BTreeMap};

use penstock_protocol::{
    event::{Quantiles, ShuffleCommitted},
    shuffle::PartitionTotals,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Distribution, rfc3339};
use crate::model::Exchange;

/// Partitions listed one by one; of more, the largest.
const PARTITIONS_MAX: usize = 512;

#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangeView {
    pub run: u32,
    pub committed_at: String,
    pub partitions: u32,
    pub rows: u64,
    pub bytes: u64,
    pub batches: u64,
    pub partition_bytes: Distribution,
    pub partition_rows: Distribution,
    pub workers: Vec<ExchangeWorker>,
    /// All partitions, or the largest if there are many, by number.
    pub largest: Vec<ExchangePartitionView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangeWorker {
    pub worker: String,
    pub partitions: u32,
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangePartitionView {
    pub partition: u32,
    pub rows: u64,
    pub bytes: u64,
    pub batches: u64,
    pub workers: Vec<String>,
}

pub fn exchange_view(exchange: &Exchange) -> ExchangeView {
    let totals = exchange.totals();
    let mut workers: BTreeMap<&str, ExchangeWorker> = BTreeMap::new();
    for partition in &exchange.partitions {
        for worker in &partition.workers {
            let entry = workers.entry(worker.as_str()).or_insert_with(|| ExchangeWorker {
                worker: worker.to_string(),
                partitions: 0,
                rows: 0,
                bytes: 0,
            });
            entry.partitions += 1;
            entry.rows += partition.totals.rows;
            entry.bytes += partition.totals.bytes;
        }
    }
    ExchangeView {
        run: exchange.run,
        committed_at: rfc3339(exchange.committed_at_ms),
        partitions: exchange.partitions_total(),
        rows: totals.rows,
        bytes: totals.bytes,
        batches: totals.batches,
        partition_bytes: spread(exchange, |totals| totals.bytes, |whole| whole.partition_bytes),
        partition_rows: spread(exchange, |totals| totals.rows, |whole| whole.partition_rows),
        workers: workers.into_values().collect(),
        largest: largest(exchange),
    }
}

fn spread(
    exchange: &Exchange,
    of_one: fn(&PartitionTotals) -> u64,
    of_all: fn(&ShuffleCommitted) -> Quantiles,
) -> Distribution {
    match &exchange.whole {
        Some(whole) => {
            let sum = of_one(&whole.totals) as f64;
            Distribution::of_quantiles(of_all(whole), whole.partitions.into(), sum)
        }
        None => Distribution::of_integers(exchange.partitions.iter().map(|p| of_one(&p.totals))),
    }
}

fn largest(exchange: &Exchange) -> Vec<ExchangePartitionView> {
    let mut partitions: Vec<_> = exchange.partitions.iter().collect();
    partitions.sort_by_key(|partition| Reverse(partition.totals.bytes));
    partitions.truncate(PARTITIONS_MAX);
    partitions.sort_by_key(|partition| partition.partition);
    partitions
        .into_iter()
        .map(|partition| ExchangePartitionView {
            partition: partition.partition.0,
            rows: partition.totals.rows,
            bytes: partition.totals.bytes,
            batches: partition.totals.batches,
            workers: partition.workers.iter().map(ToString::to_string).collect(),
        })
        .collect()
}
