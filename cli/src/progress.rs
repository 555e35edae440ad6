//! Shows how a job goes: a line that moves on a terminal, nothing in a pipe but what the user must know.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{client::JobStatus, output};

const TICK: Duration = Duration::from_millis(120);

pub struct Progress {
    bar: Option<ProgressBar>,
    waiting: Option<String>,
}

impl Progress {
    /// Moves on a terminal, unless `quiet`.
    pub fn new(quiet: bool) -> Self {
        let moves = !quiet && io::stderr().is_terminal();
        Self { bar: moves.then(spinner), waiting: None }
    }

    pub fn message(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.into());
        }
    }

    pub fn show(&mut self, job: &JobStatus) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(job));
        } else if job.waiting.is_some() && job.waiting != self.waiting && !job.is_finished() {
            eprintln!("waiting: {}", job.waiting.as_deref().unwrap_or_default());
        }
        self.waiting.clone_from(&job.waiting);
    }

    /// Lets `print` write lines that the moving one would garble.
    pub fn suspended(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn line(job: &JobStatus) -> String {
    let progress = &job.progress;
    let mut parts = vec![job.state.to_lowercase()];
    if progress.statements_total > 1 {
        parts.push(format!("statement {}/{}", progress.statements_finished + 1, progress.statements_total));
    }
    if progress.stages_total > 0 {
        parts.push(format!("stages {}/{}", progress.stages_finished, progress.stages_total));
        parts.push(format!("tasks {}/{}", progress.tasks_finished, progress.tasks_total));
    }
    if job.totals.shuffled_bytes > 0 {
        parts.push(format!("shuffled {}", output::bytes(job.totals.shuffled_bytes)));
    }
    if let Some(waiting) = &job.waiting {
        parts.push(format!("waiting: {waiting}"));
    }
    parts.join(" · ")
}
