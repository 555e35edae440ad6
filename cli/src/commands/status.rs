//! `penstock status`

use clap::Args;

use crate::{args::Global, client::JobStatus, exit::Exit, output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock status 01890a5d-ac96-774b-bcce-b302099a8057
  penstock status JOB --json | jq .totals")]
pub struct Arguments {
    /// The job's id
    job: String,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let job = global.client()?.job(&arguments.job).await?;
    if global.json {
        output::print_json(&job)?;
    } else {
        show(&job);
    }
    Ok(Exit::Ok)
}

pub fn show(job: &JobStatus) {
    let line = |name: &str, value: &str| println!("{name:<11}{value}");
    line("job", &job.job_id);
    if let Some(name) = job.name.as_deref().filter(|name| !name.is_empty()) {
        line("name", name);
    }
    line("state", &job.state);
    let moments =
        [("submitted", &job.submitted_at), ("started", &job.started_at), ("finished", &job.finished_at)];
    for (name, moment) in moments {
        if let Some(moment) = moment {
            line(name, moment);
        }
    }
    let progress = &job.progress;
    line(
        "progress",
        &format!(
            "{}/{} statements, {}/{} stages, {}/{} tasks ({} running)",
            progress.statements_finished,
            progress.statements_total,
            progress.stages_finished,
            progress.stages_total,
            progress.tasks_finished,
            progress.tasks_total,
            progress.tasks_running
        ),
    );
    let totals = &job.totals;
    line(
        "totals",
        &format!(
            "{} rows, {} read, {} shuffled, {} spilled, {} written, {:.1} slot-seconds",
            output::rows(totals.rows),
            output::bytes(totals.scanned_bytes),
            output::bytes(totals.shuffled_bytes),
            output::bytes(totals.spilled_bytes),
            output::bytes(totals.written_bytes),
            totals.slot_seconds
        ),
    );
    for rerun in &job.reruns {
        line("again", &format!("stage {} ({}) {}", rerun.stage, rerun.stage_name, rerun.message));
    }
    if let Some(waiting) = &job.waiting {
        line("waiting", waiting);
    }
    if let Some(failure) = &job.failure {
        line("failure", &format!("{} ({})", failure.message, failure.class));
        if let Some(advice) = &failure.advice {
            line("", advice);
        }
    }
    if let Some(url) = &job.history_url {
        line("history", url);
    }
}
