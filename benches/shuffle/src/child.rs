//! A role in a process of its own: started with its arguments, driven step by step over its standard input and output.
//!
//! Each line that it writes is one JSON value: the first one when it is ready, then one for each step.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context;
use penstock_shuffle_bench::usage;
use serde_json::Value;

use crate::role::Role;

pub struct Child {
    process: Process,
    /// None once it is to leave.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Child {
    pub fn start(role: &Role) -> anyhow::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["role", &serde_json::to_string(role)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a role")?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("its output is piped")?);
        let mut child = Self { process, input, output, ready: Value::Null };
        child.ready = child.line()?;
        Ok(child)
    }

    /// Lets it take its next step and returns what it says about it.
    pub fn step(&mut self) -> anyhow::Result<Value> {
        self.begin_step()?;
        self.line()
    }

    /// As [`Self::step`], and calls `half_way` when the role says that it has done half of it.
    pub fn step_with(&mut self, half_way: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Value> {
        self.half_step()?;
        half_way()?;
        self.line()
    }

    /// As [`Self::step_with`] for work that goes on until `half_way` is over.
    pub fn step_through(&mut self, half_way: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Value> {
        self.half_step()?;
        half_way()?;
        self.begin_step()?;
        self.line()
    }

    fn half_step(&mut self) -> anyhow::Result<()> {
        self.begin_step()?;
        let half = self.line()?;
        anyhow::ensure!(half["half"] == true, "a role says when it is half way, not {half}");
        Ok(())
    }

    fn begin_step(&mut self) -> anyhow::Result<()> {
        Ok(writeln!(self.input.as_mut().context("its input is open")?, "next")?)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Lets it stand still, as on a machine that hangs, for as long as it lives.
    pub fn stand_still(&mut self) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-STOP", &self.process.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "a role was not stopped: kill says {status}");
        Ok(())
    }

    /// Lets it leave in order.
    pub fn leave(mut self) -> anyhow::Result<()> {
        // Its input ends.
        drop(self.input.take());
        let status = self.process.wait()?;
        anyhow::ensure!(status.success(), "a role left with {status}");
        Ok(())
    }

    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        usage::cpu_seconds(self.process.id())
    }

    pub fn peak_memory_bytes(&self) -> anyhow::Result<u64> {
        usage::peak_memory_bytes(self.process.id())
    }

    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        usage::memory_bytes(self.process.id())
    }

    /// A text that it gave when it was ready.
    pub fn text(&self, field: &str) -> anyhow::Result<String> {
        Ok(self.ready[field].as_str().with_context(|| format!("a role says its {field}"))?.to_owned())
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a role ended early; its error stands above");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It would leave at the end of its input too, but the next measurement must not share the machine with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
