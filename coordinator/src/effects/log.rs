//! The event log's records and summaries, with secrets hidden.

use std::collections::BTreeMap;

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    build,
    event::{self, Event, SCHEMA_VERSION, SettingValue, Summary},
    ids::JobId,
    task::Failure,
};

use super::Effects;
use crate::{
    job::{JobSpec, JobStatus},
    metrics,
    secrets::{MASK, SecretValues, looks_secret, mask_script},
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
        self.event_log.record(job, at, self.without_secrets(job, self.presentable(event))).await;
    }

    pub(super) async fn write_summary(&self, job: JobId, now: Timestamp) {
        if let Some(status) = self.board.get(job) {
            self.event_log.summary(summary(&status, now)).await;
        }
    }

    /// Plans and messages quote values: those of secret parameters go.
    fn without_secrets(&self, job: JobId, event: Event) -> Event {
        let Some(secrets) = self.jobs.secrets(job) else { return event };
        let hidden = serde_json::to_value(&event).and_then(|mut value| {
            secrets.hide_in(&mut value);
            serde_json::from_value(value)
        });
        hidden
            .unwrap_or_else(|error| Event::Warning { message: format!("an event was not written: {error}") })
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

fn without_secrets(failure: &Failure, spec: &JobSpec) -> Failure {
    let secrets = SecretValues::of(spec);
    Failure { message: secrets.hide(&failure.message), ..failure.clone() }
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
        failure: status.failure.as_ref().map(|failure| without_secrets(&failure.failure, &status.spec)),
        build: build().to_owned(),
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
