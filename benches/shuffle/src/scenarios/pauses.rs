//! How long nothing goes on when a worker goes or stands still, and how long one takes to come back: each the worst round.

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
const IN_ORDER: &str = "a worker that left in order, until it serves again";
const KILLED: &str =
    "one killed with -9 right after the commit, until it has cleaned up and takes pushes again";
const KILLED_SYNCED: &str =
    "one with fsync = commit killed with -9 right after the commit, until it serves again";

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

fn settings(folder: &std::path::Path) -> WorkerSettings {
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

/// A worker with committed data that stops in order and keeps it, and one that is killed before a manifest names any of it.
pub fn of_restart(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let target = Some(Limit::AtMost(RESTART_SECONDS_MAX));
    let kill = |mut worker: Child| worker.kill();
    let in_order = restart(setup, IN_ORDER, target, false, Child::leave)?;
    let killed = restart(setup, KILLED, None, false, kill)?;
    Ok(vec![in_order, killed, restart(setup, KILLED_SYNCED, target, true, kill)?])
}

fn restart(
    setup: &Setup<'_>,
    name: &str,
    target: Option<Limit>,
    syncs_commits: bool,
    end: impl FnOnce(Child) -> anyhow::Result<()>,
) -> anyhow::Result<Number> {
    let folder: PathBuf = subfolder(setup, "restart")?;
    let mut service =
        Service::start(1, WorkerSettings { keeps_data: true, syncs_commits, ..settings(&folder) })?;
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
        target,
        sample: Sample { seconds: took.as_secs_f64(), bytes, roles: vec![usage] },
    })
}
