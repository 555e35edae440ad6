//! A cluster of which each process has a host of its own in a [`Network`].

use std::{
    fs,
    process::{Child, Stdio},
};

use crate::{
    network::{Host, Network},
    support::{Coordinator, World, until},
};

const REST: u16 = 7070;
const GRPC: u16 = 7071;
const MASTER: u16 = 7072;
const MASTER_ADMIN: u16 = 7073;
/// Any free one.
const ANY: u16 = 0;

/// The processes run as long as the value lives.
pub struct SpreadCluster<'a> {
    world: &'a World,
    network: Network,
    url: String,
    processes: Vec<Child>,
}

impl<'a> SpreadCluster<'a> {
    /// A coordinator, a shuffle master, three shuffle workers and two executors with this configuration. The world's
    /// commands go to it.
    pub fn up(world: &'a World, config: &str) -> Self {
        let one = ["shuffle-master-1", "coordinator-1"].map(str::to_owned);
        let workers = (1..=3).map(|number| format!("shuffle-worker-{number}"));
        let executors = (1..=2).map(|number| format!("executor-{number}"));
        let network = Network::of(one.into_iter().chain(workers).chain(executors));
        world.file("penstock.toml", config);
        let url = format!("http://{}", network.host("coordinator-1").at(REST));
        world.talks_to(&url);
        let mut cluster = Self { world, network, url, processes: Vec::new() };
        cluster.start_all();
        cluster
    }

    pub fn host(&self, name: &str) -> &Host {
        self.network.host(name)
    }

    /// What the shuffle master says of a worker.
    pub fn state_of_worker(&self, name: &str) -> String {
        let masters = self.host("shuffle-master-1").at(MASTER_ADMIN);
        let listed = self.world.json(&["shuffle", "workers", "--json", "--masters", &masters]);
        let workers = listed["workers"].as_array().expect("a list");
        let worker = workers.iter().find(|worker| worker["worker"] == name).expect("a worker of this name");
        worker["state"].as_str().expect("a state").to_owned()
    }

    fn start_all(&mut self) {
        let master = self.host("shuffle-master-1").clone();
        let admin = master.at(MASTER_ADMIN);
        self.start(
            &master,
            "shuffle-master",
            &[("control-listen", &master.at(MASTER)), ("admin-listen", &admin)],
        );
        for number in 1..=3 {
            let host = self.host(&format!("shuffle-worker-{number}")).clone();
            let (name, any) = (format!("worker-{number}"), host.at(ANY));
            let listen = [("control-listen", &*any), ("data-listen", &*any), ("admin-listen", &*any)];
            let flags =
                [("name", &*name), ("masters", &master.at(MASTER)), ("data-dirs", &self.folder("shuffle"))];
            self.start(&host, "shuffle-worker", &[&listen[..], &flags].concat());
        }
        let coordinator = self.host("coordinator-1").clone();
        let flags = [
            ("rest-addr", &*coordinator.at(REST)),
            ("grpc-addr", &coordinator.at(GRPC)),
            ("shuffle-masters", &master.at(MASTER)),
            ("state-dir", &self.folder("coordinator")),
        ];
        self.start(&coordinator, "coordinator", &flags);
        for number in 1..=2 {
            let host = self.host(&format!("executor-{number}")).clone();
            let flags = [
                ("name", &*host.name),
                ("coordinator-addr", &coordinator.at(GRPC)),
                ("scratch-dir", &self.folder("scratch")),
                ("slots", "2"),
                ("memory", "512MiB"),
            ];
            self.start(&host, "executor", &flags);
        }
    }

    fn folder(&self, name: &str) -> String {
        self.world.cluster_state().join(name).display().to_string()
    }

    /// Starts a process and waits until it is ready.
    fn start(&mut self, host: &Host, role: &str, flags: &[(&str, &str)]) {
        let state = self.world.cluster_state();
        fs::create_dir_all(&state).expect("created");
        let (ready, log) =
            (state.join(format!("{}.ready", host.name)), state.join(format!("{}.log", host.name)));
        let output = fs::File::create(&log).expect("created");
        let mut command = self.world.at_home(host.penstock());
        command.args([role, "--config", "penstock.toml", "--ready-file"]).arg(&ready);
        command.args(flags.iter().flat_map(|(flag, value)| [format!("--{flag}"), (*value).to_owned()]));
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file")).stderr(output);
        self.processes.push(command.spawn().expect("it starts"));
        until(&format!("{} is ready", host.name), || {
            let ended = self.processes.last_mut().and_then(|process| process.try_wait().expect("is ours"));
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(ended, None, "{} did not start: {}", host.name, said());
            ready.exists().then_some(())
        });
    }
}

impl Coordinator for SpreadCluster<'_> {
    fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for SpreadCluster<'_> {
    fn drop(&mut self) {
        // They have nothing to say to each other any more, and some could not.
        for process in &mut self.processes {
            process.kill().and_then(|()| process.wait()).ok();
        }
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

impl SpreadCluster<'_> {
    fn show_logs(&self) {
        let entries = fs::read_dir(self.world.cluster_state()).into_iter().flatten().flatten();
        for path in
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "log"))
        {
            let text = fs::read_to_string(&path).unwrap_or_default();
            eprintln!("--- {}\n{text}", path.display());
        }
    }
}
