//! Completes an assignment of the core with what the engine knows, and sends it.

use std::sync::Arc;

use penstock_protocol::{
    ids::PartitionIndex,
    shuffle::{PartitionSource, ShuffleSource},
    task::{OutputTarget, StageDefinition, StageInput, TaskAssignment},
};

use super::{Effects, ignore_if_gone, missing};
use crate::{
    effect::Dispatch,
    job::AttemptTarget,
    planning::{Held, StagePlans},
};

impl Effects {
    pub(super) fn dispatch(&self, dispatch: Dispatch) {
        let job = dispatch.attempt.task.job;
        let Some(held) = self.held(job, dispatch.statement) else {
            return missing(job, "dispatch a task");
        };
        let Some(plans) = &held.stages else { return missing(job, "dispatch a stage") };
        let assignment = assignment(&dispatch, &held, plans.as_ref());
        let Dispatch { executor, incarnation, definition: version, .. } = &dispatch;
        let sent = self.executors.run(executor, *incarnation, assignment, *version, || {
            definition(&dispatch, &held, plans.as_ref())
        });
        ignore_if_gone(sent);
    }
}

fn position(dispatch: &Dispatch, held: &Held) -> usize {
    (dispatch.attempt.task.stage.0 - held.first_stage.0) as usize
}

fn assignment(dispatch: &Dispatch, held: &Held, plans: &dyn StagePlans) -> TaskAssignment {
    let (stage, task) = (position(dispatch, held), dispatch.attempt.task.index.0);
    let reads = dispatch.inputs.iter().enumerate().map(|(input, source)| {
        let partitions = plans.reads(stage, input, task);
        partitions.filter_map(|index| partition(source, PartitionIndex(index))).collect()
    });
    TaskAssignment { attempt: dispatch.attempt, scans: plans.scans(stage, task), reads: reads.collect() }
}

/// Partitions stand in order, so the index is the position; anything else would be a bug in the commit.
fn partition(source: &Arc<ShuffleSource>, index: PartitionIndex) -> Option<PartitionSource> {
    let partition = source.partitions.get(index.0 as usize);
    debug_assert!(partition.is_some_and(|partition| partition.partition == index), "partitions are in order");
    partition.cloned()
}

fn definition(dispatch: &Dispatch, held: &Held, plans: &dyn StagePlans) -> StageDefinition {
    let input = |source: &Arc<ShuffleSource>| StageInput {
        shuffle: source.shuffle,
        winners: source.winners.to_vec(),
    };
    StageDefinition {
        job: dispatch.attempt.task.job,
        stage: dispatch.attempt.task.stage,
        plan: plans.template(position(dispatch, held)),
        settings: held.settings.as_ref().clone(),
        inputs: dispatch.inputs.iter().map(input).collect(),
        output: output(&dispatch.target, held),
    }
}

fn output(target: &AttemptTarget, held: &Held) -> OutputTarget {
    match target {
        AttemptTarget::Shuffle(target) => OutputTarget::Shuffle(target.as_ref().clone()),
        AttemptTarget::Result(target) => {
            OutputTarget::Result { target: target.as_ref().clone(), inline_bytes_max: held.inline_bytes_max }
        }
        AttemptTarget::Files => OutputTarget::Files {
            staging_url: held.sink.as_ref().map(|sink| sink.staging_url.clone()).unwrap_or_default(),
        },
    }
}
