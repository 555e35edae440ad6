//! A shuffle master and its workers, each in a process of its own.

use std::time::{Duration, Instant};

use crate::{
    child::Child,
    role::{Listen, Role, Work, WorkerSettings},
};

/// What each worker is called in a report.
const NAMES: [&str; 3] = ["worker", "worker-2", "worker-3"];

pub struct Service {
    pub masters: Vec<Child>,
    pub workers: Vec<Child>,
    settings: WorkerSettings,
}

impl Service {
    /// Starts a master and so many workers.
    pub fn start(workers: usize, settings: WorkerSettings) -> anyhow::Result<Self> {
        Self::start_with(1, workers, settings)
    }

    /// Starts so many masters and workers.
    pub fn start_with(masters: usize, workers: usize, settings: WorkerSettings) -> anyhow::Result<Self> {
        let master = || Child::start(&Role::Master { protection: settings.protection.clone() });
        let masters = (0..masters).map(|_| master()).collect::<anyhow::Result<_>>()?;
        let mut service = Self { masters, workers: Vec::new(), settings };
        for name in &NAMES[..workers] {
            let worker = service.start_worker(name, None)?;
            service.workers.push(worker);
        }
        Ok(service)
    }

    fn start_worker(&self, name: &str, listen: Option<Listen>) -> anyhow::Result<Child> {
        let mut settings = self.settings.clone();
        settings.folder = settings.folder.map(|folder| folder.join(name));
        let (masters, name) = (self.addresses()?, name.to_owned());
        Child::start(&Role::Worker { masters, name, settings, listen })
    }

    /// Ends the worker of this position and starts it again where it was, on what it left.
    pub fn restart(
        &mut self,
        position: usize,
        end: impl FnOnce(Child) -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let worker = self.workers.remove(position);
        let listen = Listen { control: worker.text("control")?, data: worker.text("data")? };
        end(worker)?;
        let started = Instant::now();
        self.workers.insert(position, self.start_worker(NAMES[position], Some(listen))?);
        Ok(started.elapsed())
    }

    pub fn client(&self, copies: u32, work: Work) -> anyhow::Result<Child> {
        let protection = self.settings.protection.clone();
        Child::start(&Role::Client { masters: self.addresses()?, protection, copies, work })
    }

    fn addresses(&self) -> anyhow::Result<Vec<String>> {
        self.masters.iter().map(|master| master.text("master")).collect()
    }

    /// The workers with the names that a report gives them.
    pub fn roles(&self) -> Vec<(&'static str, &Child)> {
        NAMES.into_iter().zip(&self.workers).collect()
    }
}
