//! Which hosts there are, and under which addresses they find each other.

use std::{fmt, sync::Arc};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Coordinator,
    Master,
    Worker,
    Executor,
    Client,
}

/// A host by its name in the simulated network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    pub role: Role,
    pub name: Arc<str>,
}

impl Host {
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub const REST: &str = "coordinator:7070";
pub const GRPC: &str = "coordinator:7071";
pub const MASTER_PORT: u16 = 7072;
pub const MASTER_ADMIN_PORT: u16 = 7073;
pub const WORKER_CONTROL_PORT: u16 = 7080;
pub const WORKER_DATA_PORT: u16 = 7081;

#[derive(Debug, Clone)]
pub struct Topology {
    hosts: Vec<Host>,
}

impl Topology {
    pub fn new(masters: u64, workers: u64, executors: u64) -> Self {
        let host = |role, name: String| Host { role, name: name.into() };
        let mut hosts =
            vec![host(Role::Coordinator, "coordinator".to_owned()), host(Role::Client, "client".to_owned())];
        hosts.extend((1..=masters).map(|number| host(Role::Master, format!("master-{number}"))));
        hosts.extend((1..=workers).map(|number| host(Role::Worker, format!("worker-{number}"))));
        hosts.extend((1..=executors).map(|number| host(Role::Executor, format!("executor-{number}"))));
        Self { hosts }
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Everybody but the client.
    pub fn servers(&self) -> Vec<Host> {
        self.hosts.iter().filter(|host| host.role != Role::Client).cloned().collect()
    }

    /// `host:port` of each master.
    pub fn masters(&self) -> Vec<String> {
        self.of(Role::Master).iter().map(|master| master.at(MASTER_PORT)).collect()
    }

    pub fn of(&self, role: Role) -> Vec<Host> {
        self.hosts.iter().filter(|host| host.role == role).cloned().collect()
    }
}
