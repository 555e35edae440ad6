//! How long nothing goes on when a worker goes, and how long one takes to come back: each the worst round.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::Value;

use super::{Service, Setup, measured, subfolder};
use crate::{
    child::Child,
    report::{Limit, Number, RoleUsage, Sample},
    role::{Work, WorkerSettings},
};

const BLOCK_BYTES: usize = 64 << 10;
const PARTITIONS: u32 = 16;
const MEMORY_BYTES: u64 = 512 << 20;
/// As many locations as a large job leaves on one worker.
const RESTART_PARTITIONS: u32 = 5000;
const PAUSE_MS_MAX: f64 = 2000.0;
const RESTART_SECONDS_MAX: f64 = 5.0;

/// A writer whose worker is killed.
pub fn of_writer(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let work = Work::PushThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let service = Service::start(3, settings(&folder))?;
        let mut client = service.client(2, work)?;
        let round = kill_at_half(service, &mut client)?;
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let pause = worst(
        &rounds,
        "longest_pause_ms",
        "longest pause of a writer with two copies, a worker killed with -9",
    )?;
    let commit =
        worst(&rounds, "commit_ms", "its commit afterwards, with the dead worker among those asked")?;
    Ok(vec![pause, commit])
}

/// Readers of all partitions, one of whose workers is killed.
pub fn of_readers(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let work = Work::ReadThrough { block: BLOCK_BYTES, bytes: setup.bytes(), partitions: PARTITIONS };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "pauses")?;
        let service = Service::start(3, settings(&folder))?;
        let mut client = service.client(2, work)?;
        client.step()?;
        let round = kill_at_half(service, &mut client)?;
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = "longest pause of any of 16 readers at once, two copies, a worker killed with -9";
    Ok(vec![worst(&rounds, "longest_pause_ms", name)?])
}

fn settings(folder: &std::path::Path) -> WorkerSettings {
    WorkerSettings {
        folder: Some(folder.to_owned()),
        memory_bytes: MEMORY_BYTES,
        ..WorkerSettings::default()
    }
}

/// One round with what the client said.
type Round = (Sample, Value);

fn kill_at_half(mut service: Service, client: &mut Child) -> anyhow::Result<Round> {
    let mut victim = service.workers.remove(0);
    let roles = service.workers.iter().zip(["worker-2", "worker-3"]).map(|(worker, name)| (name, worker));
    measured(("client", client), &roles.collect::<Vec<_>>(), |client| client.step_with(|| victim.kill()))
}

fn worst(rounds: &[Round], field: &str, name: &str) -> anyhow::Result<Number> {
    let value = |round: &Round| round.1[field].as_f64().with_context(|| format!("a step says its {field}"));
    let values = rounds.iter().map(value).collect::<anyhow::Result<Vec<_>>>()?;
    let worst = values.iter().zip(rounds).max_by(|a, b| a.0.total_cmp(b.0)).context("a round")?;
    let (value, (sample, _)) = (*worst.0, worst.1);
    let target = Some(Limit::AtMost(PAUSE_MS_MAX));
    Ok(Number { name: name.to_owned(), value, unit: "ms", target, sample: sample.clone() })
}

/// A worker with committed data that stops in order, and one that is killed.
pub fn of_restart(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let in_order = restart(setup, "a worker that left in order, until it serves again", Child::leave)?;
    let killed =
        restart(setup, "one that was killed with -9, until it serves again", |mut worker| worker.kill())?;
    Ok(vec![in_order, killed])
}

fn restart(
    setup: &Setup<'_>,
    name: &str,
    end: impl FnOnce(Child) -> anyhow::Result<()>,
) -> anyhow::Result<Number> {
    let folder: PathBuf = subfolder(setup, "restart")?;
    let mut service = Service::start(1, WorkerSettings { keeps_data: true, ..settings(&folder) })?;
    let block = usize::try_from(setup.bytes() / u64::from(RESTART_PARTITIONS))?;
    let work = Work::ReadThrough { block, bytes: setup.bytes(), partitions: RESTART_PARTITIONS };
    let held = service.client(1, work)?.step()?;
    end(service.workers.remove(0))?;
    let started = Instant::now();
    let worker = service.start_worker("worker")?;
    let took: Duration = started.elapsed();
    let usage = RoleUsage {
        role: "worker",
        cpu_seconds: worker.cpu_seconds()?,
        peak_memory_bytes: worker.peak_memory_bytes()?,
    };
    let bytes = held["bytes"].as_u64().context("a step says its bytes")?;
    drop((worker, service));
    std::fs::remove_dir_all(folder)?;
    Ok(Number {
        name: format!("restart with {:.1} GB in {RESTART_PARTITIONS} partitions: {name}", bytes as f64 / 1e9),
        value: took.as_secs_f64(),
        unit: "s",
        target: Some(Limit::AtMost(RESTART_SECONDS_MAX)),
        sample: Sample { seconds: took.as_secs_f64(), bytes, roles: vec![usage] },
    })
}
