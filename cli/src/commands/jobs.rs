//! `penstock jobs`

use clap::Args;

use crate::{args::Global, client::JobStatus, exit::Exit, output};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock jobs
  penstock jobs --state failed --limit 5
  penstock jobs --name daily --json | jq -r '.jobs[].job_id'")]
pub struct Arguments {
    /// Only jobs in this state: queued, planning, running, succeeded, failed or cancelled
    #[arg(long)]
    state: Option<String>,
    /// Only jobs of this name
    #[arg(long)]
    name: Option<String>,
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let mut query = vec![("limit", arguments.limit.to_string())];
    query.extend(arguments.state.map(|state| ("state", state.to_uppercase())));
    query.extend(arguments.name.map(|name| ("name", name)));
    let page = global.client()?.jobs(&query).await?;
    if global.json {
        output::print_json(&page)?;
    } else {
        let header = ["job", "name", "state", "submitted", "tasks", "rows"];
        println!("{}", output::table(&header, &[4, 5], page.jobs.iter().map(row).collect()));
    }
    Ok(Exit::Ok)
}

fn row(job: &JobStatus) -> Vec<String> {
    vec![
        job.job_id.clone(),
        job.name.clone().unwrap_or_default(),
        job.state.clone(),
        job.submitted_at.clone().unwrap_or_default(),
        format!("{}/{}", job.progress.tasks_finished, job.progress.tasks_total),
        output::rows(job.totals.rows),
    ]
}
