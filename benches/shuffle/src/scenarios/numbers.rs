//! Numbers that have a limit of their own and no yardstick.

use anyhow::Context;

use super::{Service, Setup, measured, pauses, restart, step, takeover};
use crate::{
    child::Child,
    report::{Limit, Number, Sample},
    role::{Work, WorkerSettings},
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

type Measurement = fn(&Setup<'_>) -> anyhow::Result<Vec<Number>>;

pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let measurements: [(&str, Measurement); 7] = [
        ("1 KiB batches in merged pushes", small_batches),
        ("100,000 open partitions", open_partitions),
        ("a small exchange", exchanges),
        ("pauses of a writer", pauses::of_writer),
        ("pauses of readers", pauses::of_readers),
        ("restart", restart::all),
        ("takeover", takeover::all),
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

fn in_memory(memory_bytes: u64) -> anyhow::Result<Service> {
    Service::start(1, WorkerSettings { memory_bytes, ..WorkerSettings::default() })
}

fn small_batches(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let service = in_memory(SMALL_MEMORY_BYTES)?;
    let work = Work::Push { block: SMALL_BATCH_BYTES, bytes: setup.bytes(), partitions: SMALL_PARTITIONS };
    let mut client = service.client(1, work)?;
    let rounds = setup.rounds().map(|_| step(("client", &mut client), &service.roles()));
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let by_worker = |sample: &Sample| sample.roles[1].cpu_seconds;
    let by_both = |sample: &Sample| sample.roles.iter().map(|role| role.cpu_seconds).sum();
    let number = |name: &str, target, cpu: &dyn Fn(&Sample) -> f64| {
        let rate = |sample: &Sample| (sample.bytes / SMALL_BATCH_BYTES as u64) as f64 / cpu(sample);
        let best = rounds.iter().max_by(|a, b| rate(a).total_cmp(&rate(b))).context("a round")?;
        let (name, sample) = (name.to_owned(), best.clone());
        anyhow::Ok(Number { name, value: rate(best), unit: "/s", target, sample })
    };
    Ok(vec![
        number(
            "1 KiB batches in merged pushes, per second and core of the worker",
            Some(Limit::AtLeast(500_000.0)),
            &by_worker,
        )?,
        number("the same per second and core of client and worker together", None, &by_both)?,
    ])
}

fn open_partitions(_: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let service = in_memory(OPEN_MEMORY_BYTES)?;
    let before = service.workers[0].memory_bytes()?;
    let work = Work::OpenPartitions { partitions: OPEN_PARTITIONS, block: SMALL_BATCH_BYTES };
    let (sample, times) = measured(("client", &mut service.client(1, work)?), &service.roles(), Child::step)?;
    let worker = &service.workers[0];
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let number = |name: &str, value, unit, target| Number {
        name: name.to_owned(),
        value,
        unit,
        target,
        sample: sample.clone(),
    };
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
        number(
            "placing and reserving 100,000 partitions",
            times["reserve_ms"].as_f64().context("a step says how long its reservation took")?,
            "ms",
            None,
        ),
    ])
}

fn exchanges(_: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let service = in_memory(SMALL_MEMORY_BYTES)?;
    let work =
        Work::Exchanges { rounds: EXCHANGES, partitions: EXCHANGE_PARTITIONS, block: EXCHANGE_BATCH_BYTES };
    let mut client = service.client(1, work)?;
    // The first step opens connections.
    client.step()?;
    let (sample, times) = measured(("client", &mut client), &service.roles(), Child::step)?;
    let time = |field: &str| times[field].as_f64().with_context(|| format!("a step says its {field}"));
    let (median, plain) = (time("median_ms")?, time("in_memory_median_ms")?);
    let number = |name: &str, value, target| Number {
        name: name.to_owned(),
        value,
        unit: "ms",
        target,
        sample: sample.clone(),
    };
    Ok(vec![
        number(
            "a small exchange (4 partitions of 4 KiB: reserve, push, commit, read) against memory, median",
            median - plain,
            Some(Limit::AtMost(5.0)),
        ),
        number("the same, 99th percentile, not less memory's", time("p99_ms")?, None),
    ])
}
