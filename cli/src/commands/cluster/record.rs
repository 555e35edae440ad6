//! `cluster.json`: which processes belong to the cluster of a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::{self, Liveness};

/// Flags that say where a role listens, and what the role calls it.
const LISTENING: [(&str, &str); 6] = [
    ("--rest-addr", "rest"),
    ("--grpc-addr", "grpc"),
    ("--control-listen", "control"),
    ("--data-listen", "data"),
    ("--admin-listen", "admin"),
    ("--listen", "http"),
];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    pub url: String,
    pub history_url: String,
    /// The `cluster_secret_file` of its shuffle masters, which orders are given with; empty: none.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub secret_file: PathBuf,
    pub processes: Vec<Process>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub pid: u32,
    /// In clock ticks since boot: with it a pid is never taken for another process.
    pub started: u64,
    pub log: PathBuf,
    /// The role and its flags; started again, it listens where it did.
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub addresses: BTreeMap<String, String>,
}

impl Process {
    pub fn liveness(&self) -> Liveness {
        process::liveness(self.pid, self.started)
    }

    /// Its name without the number.
    pub fn role(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
    }

    pub fn is_running(&self) -> bool {
        self.liveness() == Liveness::Running
    }

    /// Takes note of where it listens. What others know stays where it is when the process is started again.
    pub fn listens_on(&mut self, addresses: BTreeMap<String, String>) {
        let of_flag = |flag: &str| LISTENING.iter().find(|(known, _)| *known == flag).map(|(_, what)| *what);
        for position in 1..self.command.len() {
            let known = of_flag(&self.command[position - 1]).and_then(|what| addresses.get(what));
            if let Some(address) = known {
                self.command[position].clone_from(address);
            }
        }
        self.addresses = addresses;
    }

    pub fn addresses_shown(&self) -> String {
        let shown: Vec<_> = self.addresses.iter().map(|(what, addr)| format!("{what} {addr}")).collect();
        shown.join(", ")
    }

    pub fn shown(&self) -> Value {
        json!({
            "name": self.name, "pid": self.pid, "running": self.is_running(),
            "addresses": self.addresses, "log": self.log,
        })
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}

pub fn read(folder: &Path) -> anyhow::Result<Option<Cluster>> {
    let path = path(folder);
    match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).map(Some).with_context(|| format!("reading {}", path.display()))
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause).with_context(|| format!("reading {}", path.display())),
    }
}

/// Replaces the record in one step.
pub fn write(folder: &Path, cluster: &Cluster) -> anyhow::Result<()> {
    let path = path(folder);
    let aside = path.with_extension("part");
    fs::write(&aside, serde_json::to_vec_pretty(cluster)?)
        .and_then(|()| fs::rename(&aside, &path))
        .with_context(|| format!("writing {}", path.display()))
}

/// Removes the record and what only the processes needed.
pub fn remove(folder: &Path) -> anyhow::Result<()> {
    fs::remove_file(path(folder)).ok();
    for transient in ["run", "scratch", "shuffle"] {
        let folder = folder.join(transient);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}
