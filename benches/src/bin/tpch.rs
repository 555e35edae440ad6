//! TPC-H: each query on one DataFusion process, on an embedded cluster and on real processes, in turn.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::Context;
use clap::Parser;
use penstock_benches::{
    engines::{DataFusion, Penstock, Processes, embedded},
    report::{self, BASE, Line, Report},
};
use penstock_cli::{
    embedded::processors,
    progress::Progress,
    tpch::{data, queries},
};

const EMBEDDED: &str = "embedded";
const PROCESSES: &str = "processes";
const ENGINES: [&str; 3] = [BASE, EMBEDDED, PROCESSES];
const FIRST_RESULT_RUNS: usize = 21;

/// Compare Penstock with one DataFusion process on TPC-H
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Partitions of each exchange, and target partitions of DataFusion [default: the processors]
    #[arg(long)]
    partitions: Option<u32>,
    /// Runs of each query on each engine; the best one counts
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Only these queries
    #[arg(long, value_delimiter = ',')]
    queries: Vec<u32>,
    /// Where the numbers are written as JSON
    #[arg(long, default_value = "bench-tpch.json")]
    json: PathBuf,
}

struct Engines {
    datafusion: DataFusion,
    embedded: Penstock,
    processes: Penstock,
}

impl Engines {
    async fn rows(&self, engine: &str, sql: &str) -> anyhow::Result<u64> {
        match engine {
            EMBEDDED => self.embedded.rows(sql).await,
            PROCESSES => self.processes.rows(sql).await,
            _ => self.datafusion.rows(sql).await,
        }
    }

    async fn seconds(&self, engine: &str, sql: &str) -> anyhow::Result<(u64, f64)> {
        let started = Instant::now();
        let rows = self.rows(engine, sql).await.with_context(|| format!("{engine}: {sql}"))?;
        Ok((rows, started.elapsed().as_secs_f64()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let partitions = arguments.partitions.unwrap_or_else(processors);
    let tables = data::tables(arguments.scale, &Progress::new(false)).await?;
    let events = tempfile::tempdir()?;
    let cluster = embedded(events.path()).await?;
    let processes = Processes::up()?;
    let engines = Engines {
        datafusion: DataFusion::new(&tables, partitions).await?,
        embedded: Penstock::new(&cluster.url(), &tables, partitions).await?,
        processes: Penstock::new(&processes.url, &tables, partitions).await?,
    };
    let measured = measure(&arguments, partitions, &engines).await;
    cluster.stop().await;
    let report = measured?;
    println!("{}", report::total_rows(&report, &ENGINES));
    println!("first result of `select 1` in ms: {:?}", report.first_result_ms);
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("writing {}", arguments.json.display()))?;
    Ok(())
}

async fn measure(arguments: &Arguments, partitions: u32, engines: &Engines) -> anyhow::Result<Report> {
    println!("{}", report::header(&ENGINES));
    let wanted = |number| arguments.queries.is_empty() || arguments.queries.contains(&number);
    let mut lines = Vec::new();
    for query in queries::all().filter(|query| wanted(query.number)) {
        let line = measure_query(&query, arguments.runs, engines).await?;
        println!("{}", report::row(&line, &ENGINES));
        lines.push(line);
    }
    Ok(Report {
        scale: arguments.scale,
        partitions,
        runs: arguments.runs,
        processors: processors(),
        first_result_ms: first_results(engines).await?,
        totals: report::totals(&lines, &ENGINES),
        queries: lines,
    })
}

/// The engines take turns, so that what else the machine does meets all of them.
async fn measure_query(query: &queries::Query, runs: u32, engines: &Engines) -> anyhow::Result<Line> {
    let sql = query.sql.trim().trim_end_matches(';');
    let mut line = Line { query: query.name(), rows: 0, seconds: BTreeMap::new() };
    for _ in 0..runs {
        for engine in ENGINES {
            let (rows, seconds) = engines.seconds(engine, sql).await?;
            anyhow::ensure!(
                engine == BASE || rows == line.rows,
                "{} has {rows} rows on {engine} instead of {}",
                query.name(),
                line.rows
            );
            line.rows = rows;
            line.seconds.entry(engine).or_default().push(seconds);
        }
    }
    Ok(line)
}

async fn first_results(engines: &Engines) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut medians = BTreeMap::new();
    for engine in ENGINES {
        let mut times = Vec::new();
        for _ in 0..FIRST_RESULT_RUNS {
            times.push(engines.seconds(engine, "select 1").await?.1 * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        medians.insert(engine, times[FIRST_RESULT_RUNS / 2]);
    }
    Ok(medians)
}
