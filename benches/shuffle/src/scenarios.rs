//! The measurements of a run, each with its yardstick, taken in turns.

mod local;
mod numbers;
mod pauses;
mod restart;
mod service;
mod takeover;
mod transfers;

use std::{fs, path::PathBuf};

use anyhow::Context;
use serde_json::Value;

use self::service::Service;
use crate::{
    Run,
    child::Child,
    report::{Comparison, Measure, Report, RoleUsage, Sample},
};

pub fn run(run: &Run) -> anyhow::Result<Report> {
    let parent = run.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("penstock-bench-").tempdir_in(parent)?;
    let setup = Setup { run, folder: folder.path().to_owned() };
    Ok(Report {
        machine: run.machine.clone(),
        date: run.date.clone(),
        commit: commit(),
        profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        gib: run.gib,
        rounds: run.rounds,
        processors: std::thread::available_parallelism()?.get(),
        comparisons: [transfers::all(&setup)?, local::all(&setup)?].concat(),
        numbers: numbers::all(&setup)?,
    })
}

/// What all measurements of a run share.
pub struct Setup<'a> {
    run: &'a Run,
    folder: PathBuf,
}

impl Setup<'_> {
    fn bytes(&self) -> u64 {
        (self.run.gib * (1_u64 << 30) as f64) as u64
    }

    fn rounds(&self) -> std::ops::Range<u32> {
        0..self.run.rounds.max(1)
    }

    fn wants(&self, name: &str) -> bool {
        self.run.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// Runs both in turns and compares the best rounds.
    fn compare(
        &self,
        name: &str,
        measure: Measure,
        target: Option<f64>,
        mut yardstick: impl FnMut() -> anyhow::Result<Sample>,
        mut subject: impl FnMut() -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Comparison> {
        eprintln!("measuring {name}");
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in self.rounds() {
            plain.push(yardstick().with_context(|| format!("the yardstick of {name}"))?);
            ours.push(subject().with_context(|| name.to_owned())?);
        }
        let best = |samples: Vec<Sample>| {
            samples.into_iter().max_by(|a, b| measure.of(a).total_cmp(&measure.of(b))).context("a round")
        };
        let (yardstick, measured) = (best(plain)?, best(ours)?);
        let ratio = measure.of(&measured) / measure.of(&yardstick);
        Ok(Comparison { name: name.to_owned(), yardstick, measured, measure, ratio, target })
    }
}

/// Lets the first role take a step and counts what it and the others used meanwhile.
fn step(actor: (&'static str, &mut Child), others: &[(&'static str, &Child)]) -> anyhow::Result<Sample> {
    Ok(measured(actor, others, Child::step)?.0)
}

/// As [`step`], with a step of another kind and with all that the role says about it.
fn measured(
    (role, actor): (&'static str, &mut Child),
    others: &[(&'static str, &Child)],
    step: impl FnOnce(&mut Child) -> anyhow::Result<Value>,
) -> anyhow::Result<(Sample, Value)> {
    let own_before = actor.cpu_seconds()?;
    let before = others.iter().map(|(_, child)| child.cpu_seconds()).collect::<anyhow::Result<Vec<_>>>()?;
    let answer = step(actor)?;
    let used = |role, child: &Child, before: f64| {
        let cpu_seconds = child.cpu_seconds()? - before;
        anyhow::Ok(RoleUsage { role, cpu_seconds, peak_memory_bytes: child.peak_memory_bytes()? })
    };
    let mut roles = vec![used(role, actor, own_before)?];
    for ((role, child), before) in others.iter().zip(before) {
        roles.push(used(role, child, before)?);
    }
    let sample = Sample {
        seconds: answer["seconds"].as_f64().context("a step says its seconds")?,
        bytes: answer["bytes"].as_u64().context("a step says its bytes")?,
        roles,
    };
    Ok((sample, answer))
}

fn subfolder(setup: &Setup<'_>, name: &str) -> anyhow::Result<PathBuf> {
    let folder = setup.folder.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The commit that this program was built in, if the source is still there.
fn commit() -> String {
    let git = std::process::Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"])
        .output();
    match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
