//! Executors and shuffle workers as the logs of jobs saw them, and shuffle workers as the log of the cluster knows them. Pure.
//!
//! Nobody asks the cluster: what is here is as new as the newest record that speaks of it, and says when that was. An
//! executor that no job met is not here.

mod standing;

use std::collections::BTreeMap;

use penstock_protocol::{event::ClusterLog, ids::JobId};
use serde::Serialize;
use utoipa::ToSchema;

use self::standing::{Standing, Told, Watched, told};
use super::rfc3339;
use crate::model::{Executor, JobModel, Stage};

#[derive(Debug, Serialize, ToSchema)]
pub struct Cluster {
    /// Jobs whose logs were read for this, the newest.
    pub jobs_read: usize,
    /// Jobs that were left out because their logs are long.
    pub jobs_skipped: usize,
    pub jobs_total: usize,
    /// Of these jobs, those that run.
    pub jobs_live: usize,
    /// The submission of the oldest job that was read.
    pub since: Option<String>,
    /// The newest record.
    pub until: Option<String>,
    /// The log of the cluster, if there is one.
    pub watched: Option<Watched>,
    pub executors: Vec<ExecutorSeen>,
    pub shuffle_workers: Vec<WorkerSeen>,
    /// Newest first.
    pub events: Vec<ClusterEvent>,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ExecutorSeen {
    pub executor: String,
    pub host: Option<String>,
    pub slots: Option<u32>,
    /// `in_use` (a job that runs has attempts there), `draining`, `lost`, or `seen`: nothing is known since then.
    pub state: String,
    /// Of attempts that run, as far as the logs are written.
    pub running: u32,
    #[serde(flatten)]
    pub met: Met,
    pub lost_reason: Option<String>,
    /// Jobs that ran there.
    pub jobs: u32,
    pub attempts: u64,
    pub attempts_failed: u64,
    pub run_ms: u64,
    /// The newest sample.
    pub load: Option<Load>,
    #[serde(skip)]
    lost_ms: Option<i64>,
    #[serde(skip)]
    draining_ms: Option<i64>,
}

/// When jobs met a machine.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Met {
    pub first_seen: Option<String>,
    pub last_seen: Option<String>,
    /// The newest job that met it; none if no job did.
    pub last_job: Option<String>,
    #[serde(skip)]
    first_ms: i64,
    #[serde(skip)]
    last_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Load {
    pub at: String,
    /// Cores.
    pub cpu_used: f64,
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
    pub scratch_used_bytes: u64,
    #[serde(skip)]
    at_ms: i64,
}

#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct WorkerSeen {
    pub worker: String,
    /// `host:port` of its data plane.
    pub address: Option<String>,
    /// As jobs tell: `holds_data` (of a job that runs), `trouble` if the newest that is told of it is trouble, `seen`, or
    /// `unmet` if no job that was read met it.
    pub state: String,
    /// As a shuffle master tells; none if the log of the cluster does not know it.
    pub standing: Option<Standing>,
    #[serde(flatten)]
    pub met: Met,
    pub jobs: u32,
    pub exchanges: u64,
    /// Locations that it was given.
    pub locations: u64,
    /// Bytes that it had stored when exchanges were committed.
    pub stored_bytes: u64,
    /// Copies that it could not commit.
    pub failed: u64,
    /// How often writers could not push to it.
    pub suspected: u64,
    pub trouble: Option<Trouble>,
    #[serde(skip)]
    live_exchanges: u64,
}

/// The newest trouble with a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trouble {
    pub at: String,
    pub job: String,
    pub text: String,
    #[serde(skip)]
    at_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClusterEvent {
    pub at: String,
    /// `executor_joined`, `executor_draining`, `executor_lost`; `worker_joined`, `worker_serving`, `worker_leaves`,
    /// `worker_lost`, `worker_gone`, `worker_trouble`, `disk_trouble`, `disk_healthy`, `masters_silent` or `masters_back`.
    pub kind: String,
    /// The executor or worker.
    pub node: String,
    pub text: String,
    /// Until when it is so, or when the machine goes, if that is known.
    pub until: Option<String>,
    /// A job that met it; none if the log of the cluster tells it.
    pub job: Option<String>,
    #[serde(skip)]
    at_ms: i64,
}

/// Events shown.
const EVENTS_MAX: usize = 100;

/// Adds up what jobs saw.
#[derive(Debug, Default)]
pub struct Sightings {
    executors: BTreeMap<String, ExecutorSeen>,
    workers: BTreeMap<String, WorkerSeen>,
    /// By time, kind, node and text: jobs that ran together saw the same.
    events: BTreeMap<(i64, &'static str, String, String), ClusterEvent>,
    watched: Option<Watched>,
    jobs_read: usize,
    jobs_live: usize,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl Sightings {
    pub fn add(&mut self, job: JobId, model: &JobModel, is_live: bool) {
        self.jobs_read += 1;
        self.jobs_live += usize::from(is_live);
        let submitted_ms = model.submitted_at_ms.unwrap_or(model.last_at_ms);
        self.since_ms = Some(self.since_ms.map_or(submitted_ms, |since| since.min(submitted_ms)));
        self.until_ms = self.until_ms.max(Some(model.last_at_ms));
        for (id, executor) in &model.executors {
            self.add_executor(job, id.as_str(), executor, submitted_ms);
        }
        let mut met: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, _, attempt) in model.stages.values().flat_map(Stage::attempts) {
            let name = attempt.executor.as_str();
            let last_ms = attempt.finished_at_ms.unwrap_or(attempt.started_at_ms);
            let met = met.entry(name).or_insert(last_ms);
            *met = last_ms.max(*met);
            let seen = self.executors.entry(name.to_owned()).or_default();
            seen.attempts += 1;
            seen.attempts_failed += u64::from(attempt.failure.is_some());
            seen.run_ms += attempt.metrics.as_ref().map_or(0, |metrics| metrics.run_ms);
            seen.running += u32::from(is_live && attempt.finished_at_ms.is_none());
        }
        for (name, last_ms) in met {
            let seen = self.executors.entry(name.to_owned()).or_default();
            seen.jobs += 1;
            seen.met.at(job, last_ms);
        }
        let mut workers: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for stage in model.stages.values() {
            self.add_shuffles(job, stage, is_live, &mut workers);
        }
        for (name, (first_ms, last_ms)) in workers {
            let seen = self.workers.entry(name.to_owned()).or_default();
            seen.jobs += 1;
            seen.met.at(job, first_ms);
            seen.met.at(job, last_ms);
        }
    }

    fn add_executor(&mut self, job: JobId, name: &str, executor: &Executor, submitted_ms: i64) {
        let seen = self.executors.entry(name.to_owned()).or_default();
        // A job's log begins with those that are there, whenever they had joined.
        let joined_ms = executor.joined_at_ms.unwrap_or(submitted_ms);
        seen.met.at(job, joined_ms);
        if seen.met.last_ms == joined_ms || seen.host.is_none() {
            seen.host = executor.host.clone().or(seen.host.take());
            seen.slots = executor.slots.or(seen.slots);
        }
        if let Some(sample) = executor.samples.iter().last() {
            seen.met.at(job, sample.at_ms);
            if seen.load.as_ref().is_none_or(|load| load.at_ms < sample.at_ms) {
                seen.load = Some(Load {
                    at: rfc3339(sample.at_ms),
                    cpu_used: sample.cpu_used,
                    memory_used_bytes: sample.memory_used_bytes,
                    memory_limit_bytes: sample.memory_limit_bytes,
                    scratch_used_bytes: sample.scratch_used_bytes,
                    at_ms: sample.at_ms,
                });
            }
        }
        if let Some(at_ms) = executor.draining_at_ms {
            seen.draining_ms = seen.draining_ms.max(Some(at_ms));
            seen.met.at(job, at_ms);
            self.job_event(at_ms, "executor_draining", name, "takes no new work".to_owned(), job);
        }
        let seen = self.executors.entry(name.to_owned()).or_default();
        if let Some((at_ms, reason)) = &executor.lost {
            if seen.lost_ms.is_none_or(|lost_ms| lost_ms <= *at_ms) {
                seen.lost_ms = Some(*at_ms);
                seen.lost_reason = Some(reason.clone());
            }
            self.job_event(*at_ms, "executor_lost", name, format!("was lost: {reason}"), job);
        }
        let has_joined_later = executor.joined_at_ms.filter(|at_ms| at_ms - submitted_ms > JOINED_LATER_MS);
        if let Some(at_ms) = has_joined_later {
            let host = executor.host.as_deref().unwrap_or("an unknown host");
            self.job_event(at_ms, "executor_joined", name, format!("joined from {host}"), job);
        }
    }

    fn add_shuffles<'a>(
        &mut self,
        job: JobId,
        stage: &'a Stage,
        is_live: bool,
        met: &mut BTreeMap<&'a str, (i64, i64)>,
    ) {
        let mut meet = |worker: &'a str, at_ms: i64| {
            let (first_ms, last_ms) = met.entry(worker).or_insert((at_ms, at_ms));
            (*first_ms, *last_ms) = (at_ms.min(*first_ms), at_ms.max(*last_ms));
        };
        for shuffle in stage.shuffles.values() {
            if let Some(placed) = &shuffle.placed {
                for worker in &placed.what.workers {
                    meet(worker.worker.as_str(), placed.at_ms);
                    let seen = self.workers.entry(worker.worker.to_string()).or_default();
                    seen.address = Some(worker.address.clone());
                    seen.exchanges += 1;
                    seen.live_exchanges += u64::from(is_live && shuffle.released_at_ms.is_none());
                    seen.locations += u64::from(worker.primaries) + u64::from(worker.replicas);
                }
            }
            for worker in shuffle.growth.workers.values() {
                let seen = self.workers.entry(worker.worker.to_string()).or_default();
                seen.locations += u64::from(worker.primaries) + u64::from(worker.replicas);
            }
            for (worker, (times, at_ms)) in &shuffle.growth.suspects {
                let seen = self.workers.entry(worker.to_string()).or_default();
                seen.suspected += times;
                self.trouble(worker.as_str(), *at_ms, "writers could not push to it".to_owned(), job);
            }
            if let Some(committed) = &shuffle.committed {
                for worker in &committed.what.workers {
                    let seen = self.workers.entry(worker.worker.to_string()).or_default();
                    seen.stored_bytes += worker.stored_bytes;
                    seen.failed += u64::from(worker.failed);
                    if worker.failed == 0 {
                        meet(worker.worker.as_str(), committed.at_ms);
                    } else {
                        let reason = worker.reason.as_deref().unwrap_or("it did not say why");
                        let text = format!("could not commit {}: {reason}", copies(worker.failed));
                        self.trouble(worker.worker.as_str(), committed.at_ms, text, job);
                    }
                }
            }
        }
        // Logs of versions that recorded nothing of shuffles name the workers all the same.
        for exchange in stage.exchange.iter().filter(|_| stage.shuffles.is_empty()) {
            let mut here: BTreeMap<&str, u64> = BTreeMap::new();
            for partition in &exchange.partitions {
                for worker in &partition.workers {
                    *here.entry(worker.as_str()).or_default() += 1;
                }
            }
            for (worker, locations) in here {
                meet(worker, exchange.committed_at_ms);
                let seen = self.workers.entry(worker.to_owned()).or_default();
                seen.exchanges += 1;
                seen.locations += locations;
            }
        }
    }

    fn trouble(&mut self, worker: &str, at_ms: i64, text: String, job: JobId) {
        let seen = self.workers.entry(worker.to_owned()).or_default();
        if seen.trouble.as_ref().is_none_or(|known| known.at_ms <= at_ms) {
            let trouble = Trouble { at: rfc3339(at_ms), job: job.to_string(), text: text.clone(), at_ms };
            seen.trouble = Some(trouble);
        }
        self.job_event(at_ms, "worker_trouble", worker, text, job);
    }

    fn job_event(&mut self, at_ms: i64, kind: &'static str, node: &str, text: String, job: JobId) {
        self.event(at_ms, Told { kind, node: node.to_owned(), text, until_ms: None }, Some(job));
    }

    fn event(&mut self, at_ms: i64, told: Told, job: Option<JobId>) {
        let Told { kind, node, text, until_ms } = told;
        let key = (at_ms, kind, node.clone(), text.clone());
        let event = || ClusterEvent {
            at: rfc3339(at_ms),
            kind: kind.to_owned(),
            node,
            text,
            until: until_ms.map(rfc3339),
            job: job.map(|job| job.to_string()),
            at_ms,
        };
        self.events.entry(key).or_insert_with(event);
        while self.events.len() > EVENTS_MAX {
            self.events.pop_first();
        }
    }

    /// Takes what the log of the cluster knows.
    pub fn watched(&mut self, log: ClusterLog) {
        for record in &log.events {
            if let Some(told) = told(record) {
                self.event(record.at_ms, told, None);
            }
        }
        for worker in log.workers {
            let seen = self.workers.entry(worker.worker.to_string()).or_default();
            seen.address = Some(worker.address.clone());
            seen.standing = Some(worker.into());
        }
        self.watched = Some(Watched {
            looked_at: rfc3339(log.looked_at_ms),
            silent_since: log.silent.as_ref().map(|silent| rfc3339(silent.since_ms)),
            silent_because: log.silent.map(|silent| silent.reason),
        });
    }

    pub fn cluster(self, jobs_total: usize, jobs_skipped: usize) -> Cluster {
        Cluster {
            jobs_read: self.jobs_read,
            jobs_skipped,
            jobs_total,
            jobs_live: self.jobs_live,
            since: self.since_ms.map(rfc3339),
            until: self.until_ms.map(rfc3339),
            watched: self.watched,
            executors: self.executors.into_iter().map(ExecutorSeen::told).collect(),
            shuffle_workers: self.workers.into_iter().map(WorkerSeen::told).collect(),
            events: self.events.into_values().rev().collect(),
        }
    }
}

fn copies(count: u32) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

/// Who joins so long after a job was submitted was not there before.
const JOINED_LATER_MS: i64 = 1000;

impl Met {
    fn at(&mut self, job: impl ToString, at_ms: i64) {
        let is_first = self.last_job.is_none();
        if is_first || at_ms < self.first_ms {
            self.first_ms = at_ms;
        }
        if is_first || at_ms > self.last_ms {
            self.last_ms = at_ms;
            self.last_job = Some(job.to_string());
        }
    }

    fn told(&mut self) {
        if self.last_job.is_some() {
            self.first_seen = Some(rfc3339(self.first_ms));
            self.last_seen = Some(rfc3339(self.last_ms));
        }
    }
}

impl ExecutorSeen {
    fn told((name, mut seen): (String, Self)) -> Self {
        seen.executor = name;
        seen.met.told();
        let since = |at_ms: Option<i64>| at_ms.is_some_and(|at_ms| at_ms >= seen.met.last_ms);
        let state = match () {
            () if since(seen.lost_ms) => "lost",
            () if since(seen.draining_ms) => "draining",
            () if seen.running > 0 => "in_use",
            () => "seen",
        };
        state.clone_into(&mut seen.state);
        seen
    }
}

impl WorkerSeen {
    fn told((name, mut seen): (String, Self)) -> Self {
        seen.worker = name;
        if let Some(trouble) = &seen.trouble
            && seen.met.last_job.is_none()
        {
            // Only trouble is told of it.
            seen.met.at(&trouble.job, trouble.at_ms);
        }
        seen.met.told();
        let state = match &seen.trouble {
            Some(trouble) if trouble.at_ms >= seen.met.last_ms => "trouble",
            _ if seen.live_exchanges > 0 => "holds_data",
            _ if seen.met.last_job.is_none() => "unmet",
            _ => "seen",
        };
        state.clone_into(&mut seen.state);
        seen
    }
}
