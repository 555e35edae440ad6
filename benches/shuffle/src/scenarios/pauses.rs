//! How long nothing goes on when a worker goes or stands still: each the worst round.

use anyhow::Context;
use serde_json::Value;

use super::{Service, Setup, measured, subfolder};
use crate::{
    child::Child,
    report::{Limit, Number, Sample},
    role::{Work, WorkerSettings},
};

const BLOCK_BYTES: usize = 64 << 10;
const PARTITIONS: u32 = 16;
const MEMORY_BYTES: u64 = 512 << 20;
const PAUSE_MS_MAX: f64 = 2000.0;

/// How a worker goes while others work with it.
struct Going {
    name: &'static str,
    go: fn(&mut Child) -> anyhow::Result<()>,
}

const GOINGS: [Going; 2] = [
    Going { name: "a worker killed with -9", go: Child::kill },
    Going { name: "a worker that stands still (SIGSTOP)", go: Child::stand_still },
];

/// A writer whose worker goes.
pub fn of_writer(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let numbers = GOINGS.iter().map(|going| of_writer_when(setup, going));
    Ok(numbers.collect::<anyhow::Result<Vec<_>>>()?.concat())
}

fn of_writer_when(setup: &Setup<'_>, going: &Going) -> anyhow::Result<Vec<Number>> {
    let work = Work::PushThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let service = Service::start(3, settings(&folder))?;
        let mut client = service.client(2, work)?;
        let round = go_at_half(service, &mut client, going)?;
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = format!("longest pause of a writer with two copies, {}", going.name);
    let pause = worst(&rounds, "longest_pause_ms", name)?;
    let name = format!("its commit afterwards, with {} among those asked", going.name);
    Ok(vec![pause, worst(&rounds, "commit_ms", name)?])
}

/// Readers of all partitions, one of whose workers goes.
pub fn of_readers(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    GOINGS.iter().map(|going| of_readers_when(setup, going)).collect()
}

fn of_readers_when(setup: &Setup<'_>, going: &Going) -> anyhow::Result<Number> {
    let work = Work::ReadThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let service = Service::start(3, settings(&folder))?;
        let mut client = service.client(2, work)?;
        client.step()?;
        let round = go_at_half(service, &mut client, going)?;
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = format!("longest pause of any of {PARTITIONS} readers at once, two copies, {}", going.name);
    worst(&rounds, "longest_pause_ms", name)
}

pub(super) fn settings(folder: &std::path::Path) -> WorkerSettings {
    WorkerSettings {
        folder: Some(folder.to_owned()),
        memory_bytes: MEMORY_BYTES,
        ..WorkerSettings::default()
    }
}

/// One round with what the client said.
type Round = (Sample, Value);

fn go_at_half(mut service: Service, client: &mut Child, going: &Going) -> anyhow::Result<Round> {
    let mut victim = service.workers.remove(0);
    let roles = service.workers.iter().zip(["worker-2", "worker-3"]).map(|(worker, name)| (name, worker));
    measured(("client", client), &roles.collect::<Vec<_>>(), |client| {
        client.step_with(|| (going.go)(&mut victim))
    })
}

fn worst(rounds: &[Round], field: &str, name: String) -> anyhow::Result<Number> {
    let value = |round: &Round| round.1[field].as_f64().with_context(|| format!("a step says its {field}"));
    let values = rounds.iter().map(value).collect::<anyhow::Result<Vec<_>>>()?;
    let worst = values.iter().zip(rounds).max_by(|a, b| a.0.total_cmp(b.0)).context("a round")?;
    let (value, (sample, _)) = (*worst.0, worst.1);
    let target = Some(Limit::AtMost(PAUSE_MS_MAX));
    Ok(Number { name, value, unit: "ms", target, sample: sample.clone() })
}
