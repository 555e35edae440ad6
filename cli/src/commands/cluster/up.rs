//! `penstock cluster up`

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use penstock_common::signal;

use super::{
    STOP_DEADLINE, UpArgs,
    launch::{self, READY_DEADLINE},
    ports::Ports,
    process,
    record::{self, Cluster, Process},
};
use crate::{
    args::Global,
    client::Client,
    commands::run::interrupted,
    embedded,
    exit::{Exit, Failed},
    output,
    progress::Progress,
    roles,
};

const POLL: Duration = Duration::from_millis(50);

pub async fn run(global: &Global, arguments: &UpArgs) -> anyhow::Result<Exit> {
    let folder = arguments.folder.path()?;
    if record::read(&folder)?.is_some_and(|cluster| cluster.processes.iter().any(Process::is_running)) {
        let message = format!("a cluster already runs in {}", folder.display());
        return Err(Failed::usage(message).advise("stop it with `penstock cluster down`").into());
    }
    record::remove(&folder)?;
    for part in ["run", "logs", "scratch", "shuffle", "events", "coordinator"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("creating {}", folder.display()))?;
    }
    let progress = Progress::new(global.quiet || global.json);
    let own = (0..=HISTORY_OFFSET).filter_map(|offset| arguments.port.checked_add(offset));
    let ports = Ports::without(own);
    let mut starter = Starter { arguments, folder: &folder, processes: Vec::new(), ports };
    let started = tokio::select! {
        started = starter.start_all(&progress) => started,
        termination = signal::terminated() => Err(interrupted(termination)),
    };
    progress.clear();
    let cluster = match started {
        Ok(cluster) => cluster,
        Err(cause) => {
            process::stop_all(&starter.processes, STOP_DEADLINE).await;
            record::remove(&folder)?;
            return Err(cause);
        }
    };
    if global.json {
        output::print_json(&cluster)?;
    } else if !global.quiet {
        println!("{} processes run", cluster.processes.len());
        println!("coordinator:    {}\nhistory server: {}", cluster.url, cluster.history_url);
        println!("stop them with `penstock cluster down`");
    }
    Ok(Exit::Ok)
}

/// Where the first shuffle master listens, from the first port of the cluster.
const MASTERS_OFFSET: u16 = 2;
/// Where the history server listens.
const HISTORY_OFFSET: u16 = 10;

struct Starter<'a> {
    arguments: &'a UpArgs,
    folder: &'a Path,
    /// In the order of their start.
    processes: Vec<Process>,
    ports: Ports,
}

type Addresses = BTreeMap<String, String>;

impl Starter<'_> {
    async fn start_all(&mut self, progress: &Progress) -> anyhow::Result<Cluster> {
        let events = self.path("events");
        let flags = [("listen", self.addr(HISTORY_OFFSET)), ("event-log", events.clone())];
        let history = self.start(progress, "history-server", 1, &flags).await?;
        let history_url = format!("http://{}", of(&history, "http")?);
        let masters = self.start_masters(progress).await?;
        for number in 1..=self.arguments.shuffle_workers {
            let flags = [
                ("name", format!("worker-{number}")),
                // What it has committed is looked for where it was, also when it was started again.
                ("control-listen", self.ports.free_address()),
                ("data-listen", self.ports.free_address()),
                ("masters", masters.clone()),
                ("data-dirs", self.path("shuffle")),
            ];
            self.start(progress, "shuffle-worker", number, &flags).await?;
        }
        let flags = [
            ("rest-addr", self.addr(0)),
            ("grpc-addr", self.addr(1)),
            ("shuffle-masters", masters),
            ("history-url", history_url.clone()),
            ("event-log", events),
            ("state-dir", self.path("coordinator")),
        ];
        let coordinator = self.start(progress, "coordinator", 1, &flags).await?;
        let grpc = of(&coordinator, "grpc")?;
        for number in 1..=self.arguments.executors {
            let flags = self.executor_flags(number, &grpc);
            self.start(progress, "executor", number, &flags).await?;
        }
        let url = format!("http://{}", of(&coordinator, "rest")?);
        progress.message("waiting for the executors to connect");
        self.until_executors_are_connected(&url).await?;
        self.record(url, history_url)
    }

    /// Where they are called, in the same order for everybody.
    async fn start_masters(&mut self, progress: &Progress) -> anyhow::Result<String> {
        let mut masters = Vec::new();
        for (number, port) in (1..=self.arguments.shuffle_masters).zip((MASTERS_OFFSET..).step_by(2)) {
            let flags = [("control-listen", self.addr(port)), ("admin-listen", self.addr(port + 1))];
            let master = self.start(progress, "shuffle-master", number, &flags).await?;
            masters.push(of(&master, "control")?);
        }
        Ok(masters.join(","))
    }

    fn executor_flags(&self, number: u32, coordinator: &str) -> Vec<(&'static str, String)> {
        let slots = (embedded::processors() / self.arguments.executors).max(1);
        let memory = self.arguments.memory.unwrap_or_else(embedded::default_executor_memory);
        vec![
            ("name", format!("executor-{number}")),
            ("coordinator-addr", coordinator.to_owned()),
            ("scratch-dir", self.path("scratch")),
            ("slots", self.arguments.slots.unwrap_or(slots).to_string()),
            ("memory", memory.0.to_string()),
        ]
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn addr(&mut self, offset: u16) -> String {
        match self.arguments.port {
            0 => self.ports.free_address(),
            port => format!("127.0.0.1:{}", port.saturating_add(offset)),
        }
    }

    /// Starts one process and waits until it said where it listens.
    async fn start(
        &mut self,
        progress: &Progress,
        role: &str,
        number: u32,
        flags: &[(&str, String)],
    ) -> anyhow::Result<Addresses> {
        let name = format!("{role}-{number}");
        progress.message(format!("starting {name}"));
        let mut command = vec![role.to_owned()];
        if let Some(config) = &self.arguments.config {
            command.extend(["--config".to_owned(), config.display().to_string()]);
        }
        command.extend(flags.iter().flat_map(|(flag, value)| [format!("--{flag}"), value.clone()]));
        let (process, child) = launch::spawn(self.folder, name, command)?;
        self.processes.push(process);
        let process = self.processes.last_mut().context("a process was just started")?;
        launch::until_ready(process, child, self.folder).await?;
        Ok(process.addresses.clone())
    }

    async fn until_executors_are_connected(&self, url: &str) -> anyhow::Result<()> {
        let client = Client::new(url)?;
        let connected = async {
            loop {
                let answer = client.get("executors").await?;
                let list = answer.get("executors").unwrap_or(&answer).as_array().map_or(0, Vec::len);
                if list >= self.arguments.executors as usize {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(READY_DEADLINE, connected).await.unwrap_or_else(|_| {
            let message =
                format!("the executors did not connect, see {}", self.folder.join("logs").display());
            Err(Failed::new(Exit::Infrastructure, message).into())
        })
    }

    /// That of the shuffle masters, from wherever commands run.
    fn secret_file(&self) -> anyhow::Result<PathBuf> {
        let config = self.arguments.config.as_deref();
        let file = roles::load::<roles::ShuffleMaster>(config, &BTreeMap::new())?.value.cluster_secret_file;
        Ok(if file.as_os_str().is_empty() { file } else { std::path::absolute(file)? })
    }

    fn record(&self, url: String, history_url: String) -> anyhow::Result<Cluster> {
        let secret_file = self.secret_file()?;
        let cluster = Cluster { url, history_url, secret_file, processes: self.processes.clone() };
        record::write(self.folder, &cluster)?;
        Ok(cluster)
    }
}

fn of(addresses: &Addresses, what: &str) -> anyhow::Result<String> {
    addresses.get(what).cloned().with_context(|| format!("the process does not listen for {what}"))
}
