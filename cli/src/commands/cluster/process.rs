//! Starts and stops processes of our own.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use futures::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::record::Process;

const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    Running,
    Gone,
}

pub fn liveness(pid: u32, started: u64) -> Liveness {
    if start_of(pid) == Some(started) { Liveness::Running } else { Liveness::Gone }
}

/// When the process started; none if it is gone or only waits to be reaped.
pub fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state follows it, and the start is the 20th field from there.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Starts `penstock <arguments>` apart from this process's terminal, its output in `log`.
pub fn spawn(arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().context("finding this program's file")?;
    let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting penstock {}", arguments.join(" ")))
}

/// Asks each process to leave, the role that was started last first, and kills what is left after the deadline.
pub async fn stop_all(processes: &[Process], deadline: Duration) {
    // Executors hand over while the coordinator still listens, and so on down to the shuffle master.
    for of_role in processes.chunk_by(|one, next| one.role() == next.role()).rev() {
        join_all(of_role.iter().map(|process| stop(process, deadline))).await;
    }
}

async fn stop(process: &Process, deadline: Duration) {
    if process.is_running() {
        signal(process, Signal::SIGTERM);
        if !ended_within(process, deadline).await {
            signal(process, Signal::SIGKILL);
            ended_within(process, Duration::from_secs(2)).await;
        }
    }
}

fn signal(process: &Process, signal: Signal) {
    if let Ok(pid) = i32::try_from(process.pid) {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

async fn ended_within(process: &Process, deadline: Duration) -> bool {
    let ended = async {
        while process.is_running() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(deadline, ended).await.is_ok()
}
