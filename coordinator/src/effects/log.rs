//! The event log's records and summaries, with secrets hidden.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    BUILD,
    event::{self, Event, SCHEMA_VERSION, SettingValue, Summary},
    ids::JobId,
};

use super::Effects;
use crate::{
    job::JobStatus,
    metrics,
    secrets::{MASK, looks_secret, mask_script},
};

/// Characters of the script in a summary.
const SCRIPT_HEAD_CHARS: usize = 2_000;

impl Effects {
    pub(super) async fn log(
        &self,
        job: JobId,
        at: Timestamp,
        event: Event,
        summaries: &mut BTreeMap<JobId, Timestamp>,
    ) {
        if matches!(event, Event::JobSubmitted(_) | Event::StageFinished(_) | Event::JobFinished(_)) {
            summaries.insert(job, at);
        }
        if matches!(event, Event::JobSubmitted(_)) {
            ::metrics::counter!(metrics::JOBS_SUBMITTED).increment(1);
        }
        self.event_log.record(job, at, self.presentable(event)).await;
    }

    pub(super) async fn write_summary(&self, job: JobId, now: Timestamp) {
        if let Some(status) = self.board.get(job) {
            self.event_log.summary(summary(&status, now)).await;
        }
    }

    fn presentable(&self, event: Event) -> Event {
        match event {
            Event::JobSubmitted(mut submitted) => {
                hide_secrets(&mut submitted);
                for (key, value) in &self.settings {
                    let value = if looks_secret(key) { MASK.to_owned() } else { value.clone() };
                    let layer = "config".to_owned();
                    submitted.settings.entry(key.clone()).or_insert(SettingValue { value, layer });
                }
                Event::JobSubmitted(submitted)
            }
            Event::StatementPlanned(mut planned) => {
                planned.sql = mask_script(&planned.sql);
                Event::StatementPlanned(planned)
            }
            other => other,
        }
    }
}

fn hide_secrets(submitted: &mut event::JobSubmitted) {
    submitted.script = mask_script(&submitted.script);
    for (name, value) in &mut submitted.parameters {
        if looks_secret(name) {
            MASK.clone_into(value);
        }
    }
    for (name, setting) in &mut submitted.settings {
        if looks_secret(name) {
            MASK.clone_into(&mut setting.value);
        }
    }
}

/// What lists show of a job.
pub fn summary(status: &JobStatus, now: Timestamp) -> Summary {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    Summary {
        v: SCHEMA_VERSION,
        job: status.job,
        name: status.spec.name.clone(),
        state: status.state,
        owner: status.spec.owner.clone(),
        client: status.spec.client.clone(),
        script_head: mask_script(&status.spec.sql).chars().take(SCRIPT_HEAD_CHARS).collect(),
        labels: status.spec.labels.clone(),
        source: status.spec.source.clone(),
        try_number: status.try_number,
        continues: status.continues,
        submitted_at_ms: status.submitted_at.as_millis(),
        started_at_ms: millis(status.started_at),
        finished_at_ms: millis(status.finished_at),
        updated_at_ms: now.as_millis(),
        stages_total: status.progress.stages_total,
        stages_finished: status.progress.stages_finished,
        tasks_total: status.progress.tasks_total,
        tasks_finished: status.progress.tasks_finished,
        totals: status.totals.clone(),
        failure: status.failure.as_ref().map(|failure| failure.failure.clone()),
        build: BUILD.to_owned(),
    }
}

pub(super) fn count_finished(status: &JobStatus) {
    let state = format!("{:?}", status.state).to_lowercase();
    ::metrics::counter!(metrics::JOBS_FINISHED, "state" => state.clone()).increment(1);
    if let Some(finished_at) = status.finished_at {
        let seconds = (finished_at - status.submitted_at).as_secs_f64();
        ::metrics::histogram!(metrics::JOB_SECONDS, "state" => state).record(seconds);
    }
}
