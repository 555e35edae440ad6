//! `penstock demo`: TPC-H on a cluster inside this process, every answer checked.

use std::time::{Duration, Instant};

use clap::Args;
use penstock_common::signal;
use serde::Serialize;
use serde_json::json;

use crate::{
    args::Global,
    client::{Batches, Client, JobStatus, Submission},
    embedded::{self, Cluster, Options},
    exit::{Exit, Failed},
    job, output, paths,
    progress::Progress,
    tpch::{
        check::{self, Verdict},
        data, queries,
        queries::Query,
    },
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock demo
  penstock demo --exit              # leave when the last query is done
  penstock demo --queries 1,9,18 --partitions 4")]
pub struct Arguments {
    /// Leave when the last query is done instead of serving its history
    #[arg(long)]
    exit: bool,
    /// Only make the data, and print the folder that holds it
    #[arg(long, conflicts_with = "exit")]
    only_data: bool,
    /// Size of the data; answers are known, and checked, for 0.1
    #[arg(long, default_value_t = 0.1, value_parser = scale)]
    scale: f64,
    /// Only these queries
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", value_parser = clap::value_parser!(u32).range(1..=22))]
    queries: Vec<u32>,
    /// Partitions of each exchange
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Port of the history server; the next best if it is in use
    #[arg(long, value_name = "PORT", default_value_t = 7080)]
    history_port: u16,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 1000.0 => Ok(scale),
        _ => Err("the scale is a number above 0, such as 0.1 or 1".to_owned()),
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
struct Line {
    query: String,
    rows: u64,
    seconds: f64,
    stages: u64,
    shuffled_bytes: u64,
    /// None where no answer is known.
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let progress = Progress::new(global.quiet || global.json);
    let tables = data::tables(arguments.scale, &progress).await?;
    if arguments.only_data {
        let folder = tables.first().and_then(|table| table.path.parent());
        println!("{}", folder.map(|folder| folder.display().to_string()).unwrap_or_default());
        return Ok(Exit::Ok);
    }
    progress.message("starting coordinator, 2 executors, 2 shuffle workers, history server");
    let options = Options {
        state: None,
        slots: embedded::processors().max(2),
        memory: None,
        event_log: paths::events()?,
        history: Some(arguments.history_port),
    };
    let cluster = Cluster::start(options).await?;
    let ended = tokio::select! {
        ended = show(&cluster, global, &arguments, &tables, progress) => ended,
        failure = cluster.failed() => Err(Failed::new(Exit::Internal, failure.to_string()).into()),
        termination = signal::terminated() => Err(super::run::interrupted(termination)),
    };
    if ended.is_ok() && !arguments.exit && !global.json {
        println!("history server: {} (Ctrl-C ends it)", cluster.history_url().unwrap_or_default());
        signal::terminated().await;
    }
    cluster.stop().await;
    ended
}

async fn show(
    cluster: &Cluster,
    global: &Global,
    arguments: &Arguments,
    tables: &[data::Table],
    mut progress: Progress,
) -> anyhow::Result<Exit> {
    let client = Client::new(&cluster.url())?;
    create_tables(&client, tables, &mut progress).await?;
    let answers_known = arguments.scale == queries::ANSWERS_SCALE;
    let started = Instant::now();
    let mut lines = Vec::new();
    if !global.json {
        progress.suspended(|| println!("{}", header()));
    }
    for query in queries::all().filter(|query| is_wanted(query, arguments)) {
        let line = run_query(&client, &query, arguments.partitions, answers_known, &mut progress).await?;
        if !global.json {
            progress.suspended(|| print_line(&line));
        }
        lines.push(line);
    }
    progress.clear();
    finish(cluster, global, &lines, started.elapsed(), answers_known)
}

fn is_wanted(query: &Query, arguments: &Arguments) -> bool {
    arguments.queries.is_empty() || arguments.queries.contains(&query.number)
}

async fn create_tables(
    client: &Client,
    tables: &[data::Table],
    progress: &mut Progress,
) -> anyhow::Result<()> {
    progress.message("creating tables");
    let statements: Vec<_> = tables.iter().map(data::Table::create_statement).collect();
    let submission = submission("tpch tables", statements.join(";\n"), 1)?;
    let job = run_job(client, &submission, progress).await?;
    job::require_success(&job)
}

async fn run_query(
    client: &Client,
    query: &Query,
    partitions: u32,
    answers_known: bool,
    progress: &mut Progress,
) -> anyhow::Result<Line> {
    progress.message(query.name());
    let started = Instant::now();
    let submission = submission(&format!("tpch {}", query.name()), query.sql.to_owned(), partitions)?;
    let job = run_job(client, &submission, progress).await?;
    let mut line = Line {
        query: query.name(),
        rows: 0,
        seconds: 0.0,
        stages: job.progress.stages_total,
        shuffled_bytes: job.totals.shuffled_bytes,
        ok: answers_known.then_some(false),
        problem: None,
    };
    match fetch(client, &job).await {
        Ok(batches) => {
            line.seconds = started.elapsed().as_secs_f64();
            line.rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            if answers_known {
                let verdict = check::check(query, &batches)?;
                line.ok = Some(verdict == Verdict::Right);
                line.problem = verdict.problem();
            }
        }
        Err(failure) => {
            line.seconds = started.elapsed().as_secs_f64();
            line.ok = Some(false);
            line.problem = Some(format!("{failure:#}"));
        }
    }
    Ok(line)
}

fn submission(name: &str, sql: String, partitions: u32) -> anyhow::Result<Submission> {
    Ok(Submission {
        sql,
        name: Some(name.to_owned()),
        settings: [("penstock.partitions".to_owned(), partitions.to_string())].into(),
        client: "cli".to_owned(),
        base_url: paths::working_directory_url()?,
        ..Submission::default()
    })
}

async fn run_job(
    client: &Client,
    submission: &Submission,
    progress: &mut Progress,
) -> anyhow::Result<JobStatus> {
    let submitted = client.submit(submission).await?;
    job::follow(client, &submitted.job_id, progress).await
}

async fn fetch(client: &Client, job: &JobStatus) -> anyhow::Result<Vec<arrow::array::RecordBatch>> {
    job::require_success(job)?;
    let statement = job.statements.iter().rev().find(|statement| statement.has_result);
    let index = statement.map_or(0, |statement| statement.index);
    let mut stream: Batches = client.results(&job.job_id, index, None).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await? {
        batches.push(batch);
    }
    Ok(batches)
}

fn header() -> String {
    format!("{:<6} {:>8} {:>9} {:>7} {:>12}  {}", "QUERY", "ROWS", "SECONDS", "STAGES", "SHUFFLED", "OK")
}

fn print_line(line: &Line) {
    let ok = match line.ok {
        Some(true) => "ok",
        Some(false) => "WRONG",
        None => "-",
    };
    println!(
        "{:<6} {:>8} {:>9.2} {:>7} {:>12}  {ok}",
        line.query,
        output::rows(line.rows),
        line.seconds,
        line.stages,
        output::bytes(line.shuffled_bytes)
    );
    if let Some(problem) = &line.problem {
        println!("       {}", problem.replace('\n', "\n       "));
    }
}

fn finish(
    cluster: &Cluster,
    global: &Global,
    lines: &[Line],
    elapsed: Duration,
    answers_known: bool,
) -> anyhow::Result<Exit> {
    let right = lines.iter().filter(|line| line.ok == Some(true)).count();
    let wrong = lines.iter().filter(|line| line.ok == Some(false)).count();
    let stages: u64 = lines.iter().map(|line| line.stages).sum();
    let shuffled: u64 = lines.iter().map(|line| line.shuffled_bytes).sum();
    if global.json {
        output::print_json(&json!({
            "queries": lines, "ok": right, "wrong": wrong, "seconds": elapsed.as_secs_f64(),
            "history_url": cluster.history_url(),
        }))?;
    } else {
        let rows = lines.iter().map(|line| line.rows).sum();
        println!(
            "{:<6} {:>8} {:>9.2} {stages:>7} {:>12}  {right} ok",
            "total",
            output::rows(rows),
            elapsed.as_secs_f64(),
            output::bytes(shuffled)
        );
        if !answers_known {
            println!("answers are known for scale {} only: nothing was checked", queries::ANSWERS_SCALE);
        }
    }
    if wrong > 0 {
        return Err(
            Failed::new(Exit::Internal, format!("{wrong} of {} answers are wrong", lines.len())).into()
        );
    }
    Ok(Exit::Ok)
}
