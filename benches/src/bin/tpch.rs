//! TPC-H: each query on each engine in turn, the first of which is what the others are compared with.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use penstock_benches::{
    engines::{Engine, Kind, Sizes},
    host,
    report::{self, Line, Report},
};
use penstock_cli::{
    embedded::processors,
    progress::Progress,
    tpch::{data, queries},
};
use penstock_shuffle_bench::docs;

const FIRST_RESULT_RUNS: usize = 21;
const SHORT_RUNS: usize = 101;
/// Next to nothing but an exchange between two stages.
const SHORT_QUERY: &str =
    "select value % 4 as k, count(*) as n from generate_series(1, 1000) group by value % 4";

/// As in the program `penstock`: see there for why.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As in the program `penstock`.
#[cfg(not(target_env = "msvc"))]
#[allow(unsafe_code, reason = "jemalloc finds its options by the name of a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Compare Penstock with one DataFusion process on TPC-H, or its shuffle with batches that stay in memory
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// What runs the queries; the others are compared with the first one
    #[arg(long, value_delimiter = ',', default_value = "datafusion,embedded,processes")]
    engines: Vec<Kind>,
    #[command(flatten)]
    sizes: Sizes,
    /// Runs of each query on each engine; the best one counts
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Only these queries
    #[arg(long, value_delimiter = ',')]
    queries: Vec<u32>,
    /// Where the numbers are written as JSON
    #[arg(long, default_value = "bench-tpch.json")]
    json: PathBuf,
    /// Keep what that file says of other queries, so that a long run may be done in parts
    #[arg(long)]
    add: bool,
    /// Rewrite the tables in this file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/shuffle-numbers.md")]
    docs: Option<PathBuf>,
    /// What it ran on, for the tables
    #[arg(long, default_value = "")]
    machine: String,
    /// The day of the run, for the tables
    #[arg(long, default_value = "")]
    date: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A process of an engine, started by the run
    #[command(hide = true)]
    Host { settings: String },
    /// The program `penstock` within this one: processes of different builds refuse each other
    #[command(hide = true)]
    Penstock {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Host { settings }) => host::run(settings),
        Some(Command::Penstock { arguments }) => host::run_role(arguments),
        None => tokio::runtime::Runtime::new()?.block_on(compare(&arguments)),
    }
}

async fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let tables = data::tables(arguments.scale, &Progress::new(false)).await?;
    let mut engines = Vec::new();
    for kind in &arguments.engines {
        engines.push(Engine::start(*kind, &arguments.sizes, &tables).await?);
    }
    let measured = measure(arguments, &engines).await;
    for engine in engines {
        engine.stop().await;
    }
    let mut report = measured?;
    if arguments.add && arguments.json.is_file() {
        let earlier = serde_json::from_slice(&fs::read(&arguments.json)?);
        let shown = arguments.json.display();
        let added = report.add(earlier.with_context(|| format!("reading {shown}"))?);
        anyhow::ensure!(added, "{shown} is of other engines or sizes");
    }
    println!("{}", report::summary(&report));
    println!("first result of `select 1` in ms: {:?}", report.first_result_ms);
    println!("a short query with an exchange in ms: {:?}", report.short_query_ms);
    fs::write(&arguments.json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("writing {}", arguments.json.display()))?;
    match &arguments.docs {
        Some(path) => docs::rewrite(path, "tpch", &report::docs(&report)),
        None => Ok(()),
    }
}

async fn measure(arguments: &Arguments, engines: &[Engine]) -> anyhow::Result<Report> {
    println!("{}", report::header(&arguments.engines));
    let wanted = |number| arguments.queries.is_empty() || arguments.queries.contains(&number);
    let mut lines = Vec::new();
    for query in queries::all().filter(|query| wanted(query.number)) {
        let line = measure_query(&query, arguments.runs, engines).await?;
        println!("{}", report::row(&line, &arguments.engines));
        lines.push(line);
    }
    let mut report = Report {
        machine: arguments.machine.clone(),
        date: arguments.date.clone(),
        scale: arguments.scale,
        partitions: arguments.sizes.partitions(),
        runs: arguments.runs,
        processors: processors(),
        engines: arguments.engines.clone(),
        first_result_ms: medians_ms(engines, "select 1", FIRST_RESULT_RUNS).await?,
        short_query_ms: medians_ms(engines, SHORT_QUERY, SHORT_RUNS).await?,
        queries: lines,
        totals: BTreeMap::new(),
    };
    report.total();
    Ok(report)
}

/// The engines take turns, so that what else the machine does meets all of them.
async fn measure_query(query: &queries::Query, runs: u32, engines: &[Engine]) -> anyhow::Result<Line> {
    let sql = query.sql.trim().trim_end_matches(';');
    let mut line = Line::new(query.name());
    for _ in 0..runs {
        for engine in engines {
            let run = engine.run(sql).await?;
            anyhow::ensure!(
                line.seconds.is_empty() || run.rows == line.rows,
                "{} has {} rows on {} instead of {}",
                query.name(),
                run.rows,
                engine.kind,
                line.rows
            );
            line.add(engine.kind, run);
        }
    }
    Ok(line)
}

/// The engines take turns.
async fn medians_ms(engines: &[Engine], sql: &str, runs: usize) -> anyhow::Result<BTreeMap<Kind, f64>> {
    let mut times: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        for engine in engines {
            times.entry(engine.kind).or_default().push(engine.run(sql).await?.seconds * 1000.0);
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[runs / 2]
    };
    Ok(times.into_iter().map(|(kind, times)| (kind, median(times))).collect())
}
