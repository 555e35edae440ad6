//! How long a worker with committed data takes to come back, and until a client that knew it before has read all of it.

use std::time::Duration;

use anyhow::Context;

use super::{Service, Setup, pauses, subfolder};
use crate::{
    child::Child,
    report::{Limit, Number, RoleUsage, Sample},
    role::{Work, WorkerSettings},
};

/// As many locations as a large job leaves on one worker.
const PARTITIONS: u32 = 5000;
const SECONDS_MAX: f64 = 5.0;
const IN_ORDER: &str = "a worker that left in order";
const KILLED: &str =
    "one killed with -9 right after the commit, until it has cleaned up and takes pushes again";
const KILLED_SYNCED: &str = "one with fsync = commit killed with -9 right after the commit";

/// A worker that stops in order and keeps its data, and one that is killed before a manifest names any of it, or after.
pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    let kill = |mut worker: Child| worker.kill();
    let in_order = read_after(setup, IN_ORDER, false, Child::leave)?;
    // The folder is that of the next one, too: each goes before the next one comes.
    let killed = serving_after(setup, KILLED, kill)?;
    Ok([in_order, vec![killed], read_after(setup, KILLED_SYNCED, true, kill)?].concat())
}

/// Nothing of what it had is served.
fn serving_after(
    setup: &Setup<'_>,
    what: &str,
    end: impl FnOnce(Child) -> anyhow::Result<()>,
) -> anyhow::Result<Number> {
    let restarted = Restarted::after(setup, false, end)?;
    restarted.number(what, restarted.serves_after, None)
}

/// All that was committed is read again; each partition's rows and checksum are those that were written, or it fails.
fn read_after(
    setup: &Setup<'_>,
    what: &str,
    syncs_commits: bool,
    end: impl FnOnce(Child) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Number>> {
    let mut restarted = Restarted::after(setup, syncs_commits, end)?;
    let read = restarted.client.step_with(|| Ok(()))?;
    anyhow::ensure!(read["bytes"] == restarted.bytes, "all that was committed is read, not {read}");
    let seconds = read["seconds"].as_f64().context("a step says its seconds")?;
    let first = read["first_payload_ms"].as_f64().context("a step says when something came")? / 1e3;
    let target = Some(Limit::AtMost(SECONDS_MAX));
    let number = |until: &str, seconds| {
        let after = restarted.serves_after + Duration::from_secs_f64(seconds);
        restarted.number(&format!("{what}, until {until}"), after, target)
    };
    Ok(vec![number("a reader has its first bytes", first)?, number("all is read", seconds)?])
}

/// A worker that has come back.
struct Restarted {
    folder: std::path::PathBuf,
    service: Service,
    client: Child,
    bytes: u64,
    serves_after: Duration,
}

impl Restarted {
    fn after(
        setup: &Setup<'_>,
        syncs_commits: bool,
        end: impl FnOnce(Child) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = subfolder(setup, "restart")?;
        let settings = WorkerSettings { keeps_data: true, syncs_commits, ..pauses::settings(&folder) };
        let mut service = Service::start(1, settings)?;
        let block = usize::try_from(setup.bytes() / u64::from(PARTITIONS))?;
        let bytes = block as u64 * u64::from(PARTITIONS);
        let mut client = service.client(1, Work::ReadThrough { block, bytes, partitions: PARTITIONS })?;
        client.step()?;
        let serves_after = service.restart(0, end)?;
        Ok(Self { folder, service, client, bytes, serves_after })
    }

    fn number(&self, what: &str, took: Duration, target: Option<Limit>) -> anyhow::Result<Number> {
        let worker = &self.service.workers[0];
        let usage = RoleUsage {
            role: "worker",
            cpu_seconds: worker.cpu_seconds()?,
            peak_memory_bytes: worker.peak_memory_bytes()?,
        };
        let (seconds, bytes) = (took.as_secs_f64(), self.bytes);
        Ok(Number {
            name: format!("restart with {:.1} GB in {PARTITIONS} partitions: {what}", bytes as f64 / 1e9),
            value: seconds,
            unit: "s",
            target,
            sample: Sample { seconds, bytes, roles: vec![usage] },
        })
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        // The worker has to be gone before its folder; what is left goes with the run's own folder.
        self.service.workers.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
