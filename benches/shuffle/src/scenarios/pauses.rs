//! How long nothing goes on when workers go, stand still or have no room: each the worst round.

use anyhow::Context;
use serde_json::Value;

use super::{Service, Setup, measured, subfolder};
use crate::{
    child::Child,
    report::{Limit, Number, Sample},
    role::{Work, WorkerSettings, WorkerStep},
};

const BLOCK_BYTES: usize = 64 << 10;
const PARTITIONS: u32 = 16;
const MEMORY_BYTES: u64 = 512 << 20;
const SMALL_MEMORY_BYTES: u64 = 128 << 20;
const PAUSE_MS_MAX: f64 = 2000.0;

/// What happens to workers while others work with them.
struct Going {
    name: &'static str,
    go: fn(&mut Service) -> anyhow::Result<()>,
    /// What a step of a worker is.
    step: WorkerStep,
    memory_bytes: u64,
    keeps_data: bool,
}

const KILLED: Going = Going {
    name: "a worker killed with -9",
    go: |service| service.workers[0].kill(),
    step: WorkerStep::Drain,
    memory_bytes: MEMORY_BYTES,
    keeps_data: false,
};
const STOPPED: Going = Going {
    name: "a worker that stands still (SIGSTOP)",
    go: |service| service.workers[0].stand_still(),
    ..KILLED
};
const CUT: Going = Going {
    name: "a worker whose network is cut",
    go: |service| service.workers[0].step().map(drop),
    step: WorkerStep::CutNetwork,
    ..KILLED
};
/// With so little memory that much has to be written.
const FULL: Going = Going {
    name: "a worker whose disk is full",
    step: WorkerStep::FillDisk,
    memory_bytes: SMALL_MEMORY_BYTES,
    ..CUT
};
const ROLLED: Going =
    Going { name: "all workers restarted one after the other", go: roll, keeps_data: true, ..KILLED };

/// Each takes nothing more, leaves when a stop loses nothing, and is back before the next one goes.
fn roll(service: &mut Service) -> anyhow::Result<()> {
    for position in 0..service.workers.len() {
        service.workers[position].step()?;
        service.restart(position, Child::leave)?;
    }
    Ok(())
}

/// A writer whose workers have trouble.
pub fn of_writer(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let numbers = [KILLED, STOPPED, CUT, FULL, ROLLED].map(|going| of_writer_when(setup, &going));
    Ok(numbers.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat())
}

fn of_writer_when(setup: &Setup<'_>, going: &Going) -> anyhow::Result<Vec<Number>> {
    let work = Work::PushThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let mut service = Service::start(3, going.settings(&folder))?;
        let mut client = service.client(2, work)?;
        let go = || (going.go)(&mut service);
        // Workers come and go: only what the client used is counted.
        let round = measured(("client", &mut client), &[], |client| client.step_through(go))?;
        if going.step == WorkerStep::FillDisk {
            let failed = &service.workers[0].step()?["calls_failed"];
            anyhow::ensure!(failed.as_u64() > Some(0), "the full disk was written to");
        }
        drop(service);
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = format!("longest pause of a writer with two copies, {}", going.name);
    let pause = worst(&rounds, "longest_pause_ms", name, PAUSE_MS_MAX)?;
    let name = format!("99th percentile of its pauses, {}", going.name);
    let usual = worst(&rounds, "p99_pause_ms", name, PAUSE_MS_MAX)?;
    let name = format!("its commit afterwards, {}", going.name);
    Ok(vec![pause, usual, worst(&rounds, "commit_ms", name, PAUSE_MS_MAX)?])
}

/// Readers of all partitions, one of whose workers goes.
pub fn of_readers(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    [KILLED, STOPPED, CUT].iter().map(|going| of_readers_when(setup, going)).collect()
}

fn of_readers_when(setup: &Setup<'_>, going: &Going) -> anyhow::Result<Number> {
    let work = Work::ReadThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let mut service = Service::start(3, going.settings(&folder))?;
        let mut client = service.client(2, work)?;
        client.step()?;
        let go = || (going.go)(&mut service);
        let round = measured(("client", &mut client), &[], |client| client.step_with(go))?;
        drop(service);
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = format!("longest pause of any of {PARTITIONS} readers at once, two copies, {}", going.name);
    worst(&rounds, "longest_pause_ms", name, PAUSE_MS_MAX)
}

pub(super) fn settings(folder: &std::path::Path) -> WorkerSettings {
    WorkerSettings {
        folder: Some(folder.to_owned()),
        memory_bytes: MEMORY_BYTES,
        ..WorkerSettings::default()
    }
}

impl Going {
    fn settings(&self, folder: &std::path::Path) -> WorkerSettings {
        let Self { step, memory_bytes, keeps_data, .. } = *self;
        WorkerSettings { step, memory_bytes, keeps_data, ..settings(folder) }
    }
}

/// One round with what the client said.
pub(super) type Round = (Sample, Value);

/// The worst round.
pub(super) fn worst(rounds: &[Round], field: &str, name: String, max: f64) -> anyhow::Result<Number> {
    let value = |round: &Round| round.1[field].as_f64().with_context(|| format!("a step says its {field}"));
    let values = rounds.iter().map(value).collect::<anyhow::Result<Vec<_>>>()?;
    let worst = values.iter().zip(rounds).max_by(|a, b| a.0.total_cmp(b.0)).context("a round")?;
    let (value, (sample, _)) = (*worst.0, worst.1);
    let target = Some(Limit::AtMost(max));
    Ok(Number { name, value, unit: "ms", target, sample: sample.clone() })
}
