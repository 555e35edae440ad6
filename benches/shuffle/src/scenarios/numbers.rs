//! Numbers that have a limit of their own and no yardstick.

use anyhow::Context;
use penstock_common::net::tls::TlsFiles;

use super::{Setup, step, transfers::client};
use crate::{
    child::Child,
    report::{Limit, Number},
    role::{Role, Work},
};

const SMALL_BATCH_BYTES: usize = 1 << 10;
const SMALL_PARTITIONS: u32 = 200;
const SMALL_MEMORY_BYTES: u64 = 512 << 20;
const OPEN_PARTITIONS: u32 = 100_000;
/// More than the target allows, so that a limit of ours is not what keeps it.
const OPEN_MEMORY_BYTES: u64 = 4 << 30;
const EXCHANGES: u32 = 200;
const EXCHANGE_PARTITIONS: u32 = 4;
const EXCHANGE_BATCH_BYTES: usize = 4 << 10;

pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let measurements: [(&str, fn(&Setup<'_>) -> anyhow::Result<Vec<Number>>); 3] = [
        ("1 KiB batches in merged pushes", small_batches),
        ("100,000 open partitions", open_partitions),
        ("a small exchange", exchanges),
    ];
    let mut all = Vec::new();
    for (name, measure) in measurements {
        if setup.wants(name) {
            eprintln!("measuring {name}");
            all.extend(measure(setup).context(name)?);
        }
    }
    Ok(all)
}

fn small_batches(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let worker = Child::start(&Role::Service {
        folder: None,
        memory_bytes: SMALL_MEMORY_BYTES,
        tls: TlsFiles::default(),
    })?;
    let work = Work::Push { block: SMALL_BATCH_BYTES, bytes: setup.bytes(), partitions: SMALL_PARTITIONS };
    let mut client = client(&worker, &TlsFiles::default(), work)?;
    let (mut by_worker, mut by_both) = (0.0_f64, 0.0_f64);
    for _ in 0..setup.run.rounds.max(1) {
        let sample = step(("client", &mut client), &[("worker", &worker)])?;
        let batches = sample.bytes as f64 / SMALL_BATCH_BYTES as f64;
        let cpu: f64 = sample.roles.iter().map(|role| role.cpu_seconds).sum();
        by_worker = by_worker.max(batches / sample.roles[1].cpu_seconds);
        by_both = by_both.max(batches / cpu);
    }
    let number = |name: &str, value, target| Number { name: name.to_owned(), value, unit: "/s", target };
    Ok(vec![
        number(
            "1 KiB batches in merged pushes, per second and core of the worker",
            by_worker,
            Some(Limit::AtLeast(500_000.0)),
        ),
        number("the same per second and core of client and worker together", by_both, None),
    ])
}

fn open_partitions(_: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let worker = Child::start(&Role::Service {
        folder: None,
        memory_bytes: OPEN_MEMORY_BYTES,
        tls: TlsFiles::default(),
    })?;
    let before = worker.memory_bytes()?;
    let work = Work::OpenPartitions { partitions: OPEN_PARTITIONS, block: SMALL_BATCH_BYTES };
    client(&worker, &TlsFiles::default(), work)?.step()?;
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let number = |name: &str, value, unit, target| Number { name: name.to_owned(), value, unit, target };
    Ok(vec![
        number(
            "peak memory of a worker with 100,000 open partitions, a batch of 1 KiB in each",
            mib(worker.peak_memory_bytes()?),
            "MiB",
            Some(Limit::AtMost(2048.0)),
        ),
        number(
            "memory per open partition beside its batch",
            (worker.memory_bytes()?.saturating_sub(before)) as f64 / f64::from(OPEN_PARTITIONS)
                - SMALL_BATCH_BYTES as f64,
            "bytes",
            None,
        ),
    ])
}

fn exchanges(_: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let worker = Child::start(&Role::Service {
        folder: None,
        memory_bytes: SMALL_MEMORY_BYTES,
        tls: TlsFiles::default(),
    })?;
    let work =
        Work::Exchanges { rounds: EXCHANGES, partitions: EXCHANGE_PARTITIONS, block: EXCHANGE_BATCH_BYTES };
    let mut client = client(&worker, &TlsFiles::default(), work)?;
    // The first step opens connections.
    client.step()?;
    let times = client.step()?;
    let time = |field: &str| times[field].as_f64().with_context(|| format!("a step says its {field}"));
    let (median, plain) = (time("median_ms")?, time("in_memory_median_ms")?);
    let number = |name: &str, value, target| Number { name: name.to_owned(), value, unit: "ms", target };
    Ok(vec![
        number(
            "a small exchange (4 partitions of 4 KiB: reserve, push, commit, read) against memory, median",
            median - plain,
            Some(Limit::AtMost(5.0)),
        ),
        number("the same, 99th percentile, not less memory's", time("p99_ms")?, None),
    ])
}
