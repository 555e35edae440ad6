//! A process that says where it listens when it is ready, and ends when it is dropped.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;

use super::Settings;

const POLL: Duration = Duration::from_millis(20);

pub struct Child {
    process: Process,
    ready: Value,
}

impl Child {
    /// This program once more, as a host.
    pub fn host(settings: &Settings) -> anyhow::Result<Self> {
        let process = Command::new(env::current_exe()?)
            .args(["host", &serde_json::to_string(settings)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a host")?;
        let mut child = Self { process, ready: Value::Null };
        let output = child.process.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a host ended early; its error stands above");
        child.ready = serde_json::from_str(&line)?;
        Ok(child)
    }

    /// This program once more, as a role of `penstock`.
    pub fn role(role: &str, name: &str, folder: &Path, flags: &[(&str, String)]) -> anyhow::Result<Self> {
        let ready_file = folder.join(format!("{name}.ready"));
        let flags = flags.iter().flat_map(|(flag, value)| [format!("--{flag}"), value.clone()]);
        let process = Command::new(env::current_exe()?)
            .args(["penstock", role])
            .args(flags)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let mut child = Self { process, ready: Value::Null };
        child.ready = child.until_ready(&ready_file).with_context(|| format!("starting {name}"))?;
        Ok(child)
    }

    /// The file appears complete.
    fn until_ready(&mut self, file: &Path) -> anyhow::Result<Value> {
        loop {
            match fs::read(file) {
                Ok(text) => return Ok(serde_json::from_slice(&text)?),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Err(_) => thread::sleep(POLL),
            }
            anyhow::ensure!(self.process.try_wait()?.is_none(), "it ended early; its error stands above");
        }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A text that it gave when it was ready.
    pub fn says(&self, field: &str) -> anyhow::Result<String> {
        Ok(self.ready[field].as_str().with_context(|| format!("a process says its {field}"))?.to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing that it holds is wanted any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells who started this process that it is ready.
pub fn say(value: &Value) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{value}")?;
    Ok(output.flush()?)
}

/// `penstock`, beside this program.
pub fn program() -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    let program = own.parent().context("this program has a folder")?.join("penstock");
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: build it with the same profile first",
        program.display()
    );
    Ok(program)
}
