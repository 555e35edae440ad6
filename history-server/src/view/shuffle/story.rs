//! Losses and what followed, a sentence each, in the order of time.

use serde::Serialize;
use utoipa::ToSchema;

use super::why;
use crate::{
    model::{JobModel, Move, Stage},
    view::rfc3339,
};

/// Sentences shown; a job that loses more is told of by its first losses.
const MOMENTS_MAX: usize = 200;

/// How the reason of a run begins whose own loss is a sentence of its own.
const OWN_LOSS: &str = "its shuffle data was lost";

/// Something that happened to the shuffles of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Moment {
    pub at: String,
    /// Milliseconds from the job's submission.
    pub at_ms: i64,
    /// `lost`, `rerun`, `moved` or `failed_copies`.
    pub kind: String,
    pub stage: u32,
    pub text: String,
}

pub fn story(model: &JobModel) -> Vec<Moment> {
    let base_ms = model.submitted_at_ms.unwrap_or_default();
    let mut moments = Vec::new();
    for (id, stage) in &model.stages {
        let name = stage.planned.as_ref().map_or_else(String::new, |planned| format!(" ({})", planned.name));
        for (at_ms, kind, text) in moments_of(&format!("stage {id}{name}"), stage) {
            moments.push(Moment {
                at: rfc3339(at_ms),
                at_ms: at_ms - base_ms,
                kind: kind.to_owned(),
                stage: id.0,
                text,
            });
        }
    }
    moments.sort_by_key(|moment| moment.at_ms);
    moments.truncate(MOMENTS_MAX);
    moments
}

fn moments_of(stage_name: &str, stage: &Stage) -> Vec<(i64, &'static str, String)> {
    let mut moments = Vec::new();
    for shuffle in stage.shuffles.values() {
        for one in shuffle.growth.moves.iter().filter(|one| !one.suspects.is_empty()) {
            moments.push((one.at_ms, "moved", moved(stage_name, one)));
        }
        if let Some(committed) = &shuffle.committed {
            for worker in committed.what.workers.iter().filter(|worker| worker.failed > 0) {
                let copies = if worker.failed == 1 { "copy" } else { "copies" };
                let reason = worker.reason.as_deref().unwrap_or("it did not say why");
                let text = format!(
                    "Worker {} could not commit {} {copies} of what {stage_name} wrote: {reason}. Another copy of each was good.",
                    worker.worker, worker.failed
                );
                moments.push((committed.at_ms, "failed_copies", text));
            }
        }
        if let Some(lost) = &shuffle.lost {
            let text = format!("What {stage_name} wrote was lost: {}.", lost.what);
            moments.push((lost.at_ms, "lost", text));
        }
    }
    let losses_are_told = stage.shuffles.values().any(|shuffle| shuffle.lost.is_some());
    for rerun in &stage.reruns {
        let text = match losses_are_told && rerun.reason.starts_with(OWN_LOSS) {
            true => format!("{} ran again from its first task.", capital(stage_name)),
            false => format!("{} ran again because {}.", capital(stage_name), rerun.reason),
        };
        moments.push((rerun.at_ms, "rerun", text));
    }
    moments
}

fn moved(stage_name: &str, one: &Move) -> String {
    let workers: Vec<&str> = one.suspects.iter().map(|worker| worker.as_str()).collect();
    let partitions = why::plural(one.partitions, "partition");
    format!(
        "{partitions} of {stage_name} went on elsewhere {}: {}.",
        why::reason(one.why),
        workers.join(", ")
    )
}

fn capital(text: &str) -> String {
    text.strip_prefix("stage").map_or_else(|| text.to_owned(), |rest| format!("Stage{rest}"))
}
