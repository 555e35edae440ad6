//! A job as clients see it.

use std::sync::Arc;

use penstock_protocol::ids::StageId;

use super::{
    Job, JobStatus, Phase, Progress, Rerun, StageStatus, TaskStatus,
    stage::{Counts, Stage},
};
use crate::executors::Shortage;

impl Job {
    /// The newest snapshot, if it differs visibly from the one before.
    pub fn publish(&mut self, waiting: Option<String>) -> Option<Arc<JobStatus>> {
        let version = self.published.as_ref().map_or(0, |published| published.version);
        let mut status = self.snapshot(version, waiting);
        if self.published.as_deref() == Some(&status) {
            return None;
        }
        status.version += 1;
        let status = Arc::new(status);
        self.published = Some(status.clone());
        Some(status)
    }

    /// What was published last.
    pub fn status(&self) -> Arc<JobStatus> {
        self.published.clone().expect("published when it was submitted")
    }

    fn snapshot(&self, version: u64, waiting: Option<String>) -> JobStatus {
        JobStatus {
            job: self.id,
            spec: self.spec.clone(),
            definition_hash: self.definition_hash.clone(),
            try_number: self.try_number,
            continues: self.continues,
            state: self.state(),
            version,
            waiting,
            submitted_at: self.submitted_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            progress: self.progress(),
            totals: self.totals.clone(),
            failure: self.failure.clone(),
            statements: self.statements.iter().map(|statement| statement.status()).collect(),
            reruns: self.reruns.clone(),
        }
    }

    fn progress(&self) -> Progress {
        let mut progress = Progress {
            statements_total: self.statements.len() as u32,
            statements_finished: self.statements.iter().filter(|statement| statement.rows.is_some()).count()
                as u32,
            ..Progress::default()
        };
        for stage in self.stages.values() {
            let Counts { total, won, running, .. } = stage.counts();
            progress.stages_total += 1;
            progress.stages_finished += u32::from(stage.is_done());
            progress.tasks_total += total;
            progress.tasks_finished += won;
            progress.tasks_running += running;
        }
        progress
    }

    /// Why nothing happens right now, as far as the job itself knows.
    pub fn waits_for(&self, shortage: impl FnOnce() -> Option<Shortage>) -> Option<String> {
        if self.phase != Phase::Running {
            return None;
        }
        if let Some(trouble) =
            self.stages.values().filter(|stage| !stage.is_done()).find_map(|s| s.trouble.as_ref())
        {
            return Some(format!("the shuffle service, since {}: {}", trouble.since, trouble.message));
        }
        let has_ready = self.runnable().next().is_some();
        let is_running = self.running() > 0;
        if !has_ready && !is_running {
            return None;
        }
        match shortage() {
            // What runs on an executor whose stream is cut may be lost already.
            Some(shortage) if !is_running || shortage != Shortage::Draining => Some(shortage.to_string()),
            _ if is_running => None,
            _ => Some("all slots are in use".to_owned()),
        }
    }

    pub fn stage_statuses(&self) -> Vec<StageStatus> {
        let status =
            |stage: &Stage| StageStatus { reruns: self.reruns_of(stage.spec.stage), ..stage.status() };
        self.stages.values().map(status).collect()
    }

    fn reruns_of(&self, stage: StageId) -> Vec<Rerun> {
        self.reruns.iter().filter(|rerun| rerun.stage == stage).cloned().collect()
    }

    pub fn task_statuses(&self, stage: StageId) -> Option<Vec<TaskStatus>> {
        self.stages.get(&stage).map(|stage| stage.task_statuses())
    }

    /// Whether something happened since it was last asked that the store should know.
    pub fn reached_milestone(&mut self) -> bool {
        let reached = (self.state(), self.current);
        std::mem::replace(&mut self.stored, reached) != reached
    }
}
