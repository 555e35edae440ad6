//! What the shell holds for each job that is not over: its spec and its planned statements.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use penstock_engine::sink::SinkTarget;
use penstock_protocol::ids::{JobId, StatementIndex};

use crate::{job::JobSpec, planning::Held, secrets::SecretValues};

#[derive(Debug, Default)]
pub struct Jobs {
    jobs: Mutex<HashMap<JobId, Job>>,
}

#[derive(Debug)]
struct Job {
    spec: Arc<JobSpec>,
    secrets: Arc<SecretValues>,
    statements: BTreeMap<StatementIndex, Arc<Held>>,
}

impl Jobs {
    pub fn insert(&self, job: JobId, spec: Arc<JobSpec>) {
        let secrets = Arc::new(SecretValues::of(&spec));
        self.lock().entry(job).or_insert_with(|| Job { spec, secrets, statements: BTreeMap::new() });
    }

    /// What must not turn up in the job's log.
    pub fn secrets(&self, job: JobId) -> Option<Arc<SecretValues>> {
        self.lock().get(&job).map(|job| Arc::clone(&job.secrets)).filter(|secrets| !secrets.is_empty())
    }

    pub fn spec(&self, job: JobId) -> Option<Arc<JobSpec>> {
        self.lock().get(&job).map(|job| Arc::clone(&job.spec))
    }

    pub fn hold(&self, job: JobId, statement: StatementIndex, held: Held) {
        if let Some(job) = self.lock().get_mut(&job) {
            job.statements.insert(statement, Arc::new(held));
        }
    }

    pub fn held(&self, job: JobId, statement: StatementIndex) -> Option<Arc<Held>> {
        self.lock().get(&job)?.statements.get(&statement).cloned()
    }

    /// The sinks of the statements that were planned so far.
    pub fn sinks(&self, job: JobId) -> Vec<(StatementIndex, SinkTarget)> {
        let jobs = self.lock();
        let statements = jobs.get(&job).into_iter().flat_map(|job| &job.statements);
        statements.filter_map(|(index, held)| Some((*index, held.sink.clone()?))).collect()
    }

    /// Nothing of the job is dispatched any more: its stage plans go, which are the bulk.
    pub fn ended(&self, job: JobId) {
        if let Some(job) = self.lock().get_mut(&job) {
            for held in job.statements.values_mut() {
                *held = Arc::new(held.without_stages());
            }
        }
    }

    pub fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
