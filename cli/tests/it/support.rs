//! Runs the program in a world of its own: its own home for state and temporary files, so that what it leaves is seen.

use std::{
    cell::OnceCell,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

pub const PENSTOCK: &str = env!("CARGO_BIN_EXE_penstock");

/// Longer than anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    root: TempDir,
    /// The coordinator that commands talk to; none: that of the cluster that was started here.
    url: OnceCell<String>,
}

/// What one invocation did.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("penstock-test-").tempdir().expect("a temporary folder");
        for folder in ["tmp", "state", "work"] {
            fs::create_dir(root.path().join(folder)).expect("created");
        }
        Self { root, url: OnceCell::new() }
    }

    /// Where the program runs, and what its relative paths start from.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().expect("below the work folder")).expect("created");
        fs::write(&path, content).expect("written");
        path
    }

    /// From now on commands talk to this coordinator.
    pub fn talks_to(&self, url: &str) {
        self.url.set(url.to_owned()).expect("a world has one cluster");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.at_home(Command::new(PENSTOCK));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// With the folders and the variables of this world.
    pub fn at_home(&self, mut command: Command) -> Command {
        command
            .current_dir(self.work())
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .env("PENSTOCK_CLUSTER_STATE", self.cluster_state())
            .env_remove("PENSTOCK_URL")
            .env_remove("PENSTOCK_SHUFFLE_MASTERS")
            .env_remove("PENSTOCK_SHUFFLE_SECRET_FILE")
            .envs(self.url.get().map(|url| ("PENSTOCK_URL", url)));
        command
    }

    pub fn cluster_state(&self) -> PathBuf {
        self.root.path().join("state/cluster")
    }

    /// The event logs of jobs that ran inside the program.
    pub fn events_folder(&self) -> PathBuf {
        self.root.path().join("state/penstock/events")
    }

    pub fn penstock(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program runs"))
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// Runs what must succeed, and gives its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.penstock(arguments);
        assert_eq!(ran.exit, 0, "penstock {arguments:?}: {ran:?}");
        ran.stdout
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let stdout = self.ok(arguments);
        serde_json::from_str(&stdout).unwrap_or_else(|cause| panic!("{cause}: {stdout}"))
    }

    /// Nothing but event logs is left, in temporary folders as in the work folder.
    pub fn assert_nothing_left(&self) {
        let left = files_below(&self.root.path().join("tmp"));
        assert!(left.is_empty(), "left in the temporary folder: {left:?}");
        let left: Vec<_> = files_below(&self.root.path().join("state"))
            .into_iter()
            .filter(|path| !path.starts_with(self.root.path().join("state/penstock/events")))
            .collect();
        assert!(left.is_empty(), "left in the state folder: {left:?}");
        let hidden: Vec<_> = files_below(&self.work())
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
            .collect();
        assert!(hidden.is_empty(), "left in the work folder: {hidden:?}");
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let below = |entry: fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() { files_below(&path) } else { vec![path] }
    };
    entries.flatten().flat_map(below).collect()
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    until_ok(what, || condition().ok_or("it is not so yet"))
}

/// Waits until `condition` gives something; tells what it gave last if that takes too long.
pub fn until_ok<T, E: Display>(what: &str, mut condition: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(reason) => assert!(started.elapsed() < PATIENCE, "waited too long until {what}: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Answers REST calls.
pub trait Coordinator {
    fn url(&self) -> &str;
}

/// A cluster of real processes that goes with the value.
pub struct ProcessCluster<'a> {
    world: &'a World,
    pub url: String,
}

impl Coordinator for ProcessCluster<'_> {
    fn url(&self) -> &str {
        &self.url
    }
}

impl<'a> ProcessCluster<'a> {
    pub fn up(world: &'a World, more: &[&str]) -> Self {
        let arguments = [&["cluster", "up", "--port", "0", "--json"], more].concat();
        let cluster = world.json(&arguments);
        Self { world, url: cluster["url"].as_str().expect("a url").to_owned() }
    }

    pub fn pid_of(&self, name: &str) -> i32 {
        i32::try_from(self.process(name)["pid"].as_i64().expect("a pid")).expect("a small number")
    }

    pub fn address_of(&self, name: &str, what: &str) -> String {
        self.process(name)["addresses"][what].as_str().expect("an address").to_owned()
    }

    fn process(&self, name: &str) -> Value {
        let processes = self.processes();
        processes.into_iter().find(|process| process["name"] == name).expect("a process of this name")
    }

    /// What the shuffle masters say of a worker.
    pub fn state_of_worker(&self, name: &str) -> String {
        let listed = self.world.json(&["shuffle", "workers", "--json"]);
        let mut workers = listed["workers"].as_array().expect("a list").iter();
        let worker = workers.find(|worker| worker["worker"] == name).expect("a worker of this name");
        worker["state"].as_str().expect("a state").to_owned()
    }

    pub fn processes(&self) -> Vec<Value> {
        let status = self.world.json(&["cluster", "status", "--json"]);
        status["processes"].as_array().expect("a list").clone()
    }
}

impl Drop for ProcessCluster<'_> {
    fn drop(&mut self) {
        self.world.penstock(&["cluster", "down", "--purge"]);
    }
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("the process is there");
}

/// What a server answers.
pub fn text(url: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { reqwest::get(url).await.expect("answers").text().await.expect("is text") })
}
