//! Runs the program in a world of its own: its own home for state and temporary files, so that what it leaves is seen.

use std::{
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
        Self { root }
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

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PENSTOCK);
        command
            .args(arguments)
            .current_dir(self.work())
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("XDG_STATE_HOME", self.root.path().join("state"))
            .env("PENSTOCK_CLUSTER_STATE", self.cluster_state())
            .env_remove("PENSTOCK_URL")
            .env_remove("PENSTOCK_SHUFFLE_MASTERS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
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

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let below = |entry: fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() { files_below(&path) } else { vec![path] }
    };
    entries.flatten().flat_map(below).collect()
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A cluster of real processes that goes with the value.
pub struct ProcessCluster<'a> {
    world: &'a World,
    pub url: String,
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
        let status = self.world.json(&["cluster", "status", "--json"]);
        let processes = status["processes"].as_array().expect("a list");
        processes.iter().find(|process| process["name"] == name).expect("a process of this name").clone()
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
