//! `penstock logs`

use std::time::Duration;

use clap::Args;

use crate::{args::Global, exit::Exit};

const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock logs JOB
  penstock logs JOB --follow")]
pub struct Arguments {
    /// The job's id
    job: String,
    /// Go on until the job ended
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let client = global.client()?;
    let mut from = 0;
    loop {
        let page = client.logs(&arguments.job, from).await?;
        for line in &page.lines {
            if global.json {
                println!("{}", serde_json::to_string(line)?);
            } else {
                println!("{} {:<5} {}", line.at, line.level.to_uppercase(), line.message);
            }
        }
        let has_news = page.next > from;
        from = page.next;
        if page.eof || (!arguments.follow && !has_news) {
            return Ok(Exit::Ok);
        }
        if !has_news {
            tokio::time::sleep(POLL).await;
        }
    }
}
