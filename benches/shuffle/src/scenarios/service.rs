//! A shuffle master and its workers, each in a process of its own.

use crate::{
    child::Child,
    role::{Role, Work, WorkerSettings},
};

/// What each worker is called in a report.
const NAMES: [&str; 3] = ["worker", "worker-2", "worker-3"];

pub struct Service {
    master: Child,
    pub workers: Vec<Child>,
    settings: WorkerSettings,
}

impl Service {
    /// Starts a master and so many workers.
    pub fn start(workers: usize, settings: WorkerSettings) -> anyhow::Result<Self> {
        let master = Child::start(&Role::Master { protection: settings.protection.clone() })?;
        let mut service = Self { master, workers: Vec::new(), settings };
        for name in &NAMES[..workers] {
            let worker = service.start_worker(name)?;
            service.workers.push(worker);
        }
        Ok(service)
    }

    /// Starts a worker in its folder, whatever is in it.
    pub fn start_worker(&self, name: &str) -> anyhow::Result<Child> {
        let mut settings = self.settings.clone();
        settings.folder = settings.folder.map(|folder| folder.join(name));
        Child::start(&Role::Worker { master: self.master.text("master")?, name: name.to_owned(), settings })
    }

    pub fn client(&self, copies: u32, work: Work) -> anyhow::Result<Child> {
        let protection = self.settings.protection.clone();
        Child::start(&Role::Client { master: self.master.text("master")?, protection, copies, work })
    }

    /// The workers with the names that a report gives them.
    pub fn roles(&self) -> Vec<(&'static str, &Child)> {
        NAMES.into_iter().zip(&self.workers).collect()
    }
}
