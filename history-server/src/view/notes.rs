//! What stands out in a job, in words. Pure.
//!
//! Only facts that the log proves. How much time each cost, and why one run was slower than another, is not here.

use serde::Serialize;
use utoipa::ToSchema;

use super::StageView;
use crate::model::JobModel;

/// Below this, a slow task is not worth a word.
const SKEW_MS_MIN: f64 = 500.0;
const SKEW_RATIO_MIN: f64 = 3.0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Note {
    /// `skew`, `spill`, `retries`, `rerun`, `executor_lost`, `warning` or `samples_dropped`.
    pub kind: String,
    pub text: String,
    /// The stage that it is about.
    pub stage: Option<u32>,
}

pub fn notes(model: &JobModel, stages: &[StageView]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |kind: &str, stage: Option<u32>, text: String| {
        notes.push(Note { kind: kind.to_owned(), text, stage });
    };
    for (id, executor) in &model.executors {
        if let Some((_, reason)) = &executor.lost {
            note("executor_lost", None, format!("Executor {id} was lost: {reason}"));
        }
    }
    for stage in stages {
        for rerun in &stage.reruns {
            note("rerun", Some(stage.stage), format!("{} {}", stage.name, rerun.message));
        }
        let retries = stage.attempts_failed + stage.attempts_lost;
        if retries > 0 {
            let (attempts, seconds) = (plural(retries, "attempt"), stage.totals.lost_work_ms as f64 / 1000.0);
            let text =
                format!("{attempts} of {} ended without a result ({seconds:.1} s of work lost)", stage.name);
            note("retries", Some(stage.stage), text);
        }
        if let Some(text) = skew(stage) {
            note("skew", Some(stage.stage), text);
        }
        if stage.totals.spilled_bytes > 0 {
            let mib = stage.totals.spilled_bytes as f64 / f64::from(1 << 20);
            note("spill", Some(stage.stage), format!("{} spilled {mib:.1} MiB to disk", stage.name));
        }
    }
    for warning in &model.warnings {
        note("warning", None, warning.message.clone());
    }
    if model.samples_dropped > 0 {
        note("samples_dropped", None, format!("{} samples were dropped from the log", model.samples_dropped));
    }
    notes
}

fn skew(stage: &StageView) -> Option<String> {
    let run = stage.quantiles.get("run_ms")?;
    if run.skew() < SKEW_RATIO_MIN || run.max - run.median < SKEW_MS_MIN {
        return None;
    }
    let rows = stage.quantiles.get("rows_in").map_or(1.0, |rows| rows.skew());
    let cause =
        if rows >= SKEW_RATIO_MIN { format!(": it read {rows:.1} times the rows") } else { String::new() };
    Some(format!(
        "The slowest task of {} took {:.1} s, {:.1} times the median{cause}",
        stage.name,
        run.max / 1000.0,
        run.skew()
    ))
}

fn plural(count: u32, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
