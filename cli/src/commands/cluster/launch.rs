//! Starts one process of the cluster and waits until it is ready.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use anyhow::Context;

use super::{process, record::Process};
use crate::exit::{Exit, Failed};

pub const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Starts `penstock <command>`, whose output goes to the log of this name.
pub fn spawn(folder: &Path, name: String, command: Vec<String>) -> anyhow::Result<(Process, Child)> {
    let log = folder.join("logs").join(format!("{name}.log"));
    let ready_file = ready_file(folder, &name);
    if let Err(cause) = fs::remove_file(&ready_file)
        && cause.kind() != std::io::ErrorKind::NotFound
    {
        return Err(cause).with_context(|| format!("removing {}", ready_file.display()));
    }
    let ready = ["--ready-file".to_owned(), ready_file.display().to_string()];
    let child = process::spawn(&[&command[..], &ready].concat(), &log)?;
    let pid = child.id();
    let started = process::start_of(pid).unwrap_or_default();
    Ok((Process { name, pid, started, log, command, addresses: Default::default() }, child))
}

fn ready_file(folder: &Path, name: &str) -> PathBuf {
    folder.join("run").join(format!("{name}.ready"))
}

/// Waits until the process said where it listens, and takes note of it.
pub async fn until_ready(process: &mut Process, mut child: Child, folder: &Path) -> anyhow::Result<()> {
    let (name, log) = (&process.name, &process.log);
    let ready_file = ready_file(folder, name);
    let ready = async {
        loop {
            if let Ok(text) = fs::read(&ready_file) {
                return serde_json::from_slice(&text).context("reading where a process listens");
            }
            if child.try_wait()?.is_some() {
                return Err(could_not_start(name, log));
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let late = |_| {
        let message =
            format!("{name} was not ready after {} s, see {}", READY_DEADLINE.as_secs(), log.display());
        Err(Failed::new(Exit::Infrastructure, message).into())
    };
    let addresses = tokio::time::timeout(READY_DEADLINE, ready).await.unwrap_or_else(late)?;
    process.listens_on(addresses);
    Ok(())
}

/// What the process said last, which is why it left.
fn could_not_start(name: &str, log: &Path) -> anyhow::Error {
    let text = fs::read_to_string(log).unwrap_or_default();
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let reason = reason.or_else(|| text.lines().last()).unwrap_or("it said nothing");
    Failed::new(Exit::Infrastructure, format!("{name} did not start: {reason}"))
        .advise(format!("its log is {}", log.display()))
        .into()
}
