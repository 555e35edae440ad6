//! Runs seeds of the simulation: `penstock-sim --seeds 200`, or one of them again: `--seed 17 --log`.

use std::process::ExitCode;

use clap::Parser;
use penstock_sim::{
    run::Report,
    summary::{Summary, run_all},
};

/// Simulates a cluster under faults, once for each seed.
#[derive(Debug, Parser)]
#[command(name = "penstock-sim")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed and no other.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print the log of each run. `PENSTOCK_LOG=debug` adds what the roles say.
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Ok(filter) = std::env::var("PENSTOCK_LOG") {
        penstock_common::telemetry::init(Default::default(), &filter);
    }
    let seeds = match args.seed {
        Some(seed) => seed..seed + 1,
        None => args.from..args.from + args.seeds,
    };
    let started = std::time::Instant::now();
    let summary = run_all(seeds, args.log, print_report);
    print_summary(&summary);
    println!("{:.1} s", started.elapsed().as_secs_f64());
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_report(report: &Report) {
    report.lines.iter().for_each(|line| println!("{line}"));
    let jobs: Vec<_> = report.jobs().iter().map(|(state, count)| format!("{count} {state:?}")).collect();
    let faults: u64 = report.faults().values().sum();
    println!(
        "seed {} jobs: {}; {faults} faults; {:.1} s simulated; digest {}",
        report.seed,
        jobs.join(", ").to_lowercase(),
        report.simulated.as_secs_f64(),
        report.digest,
    );
    for violation in &report.violations {
        println!("  seed {} broke {violation}", report.seed);
    }
    if !report.violations.is_empty() {
        println!("  again: cargo run -p penstock-sim -- --seed {} --log", report.seed);
    }
}

fn print_summary(summary: &Summary) {
    println!("{} runs, {:.0} s simulated", summary.runs, summary.simulated.as_secs_f64());
    summary.faults.iter().for_each(|(kind, count)| println!("  {count:>6} {kind}"));
    for (state, count) in &summary.jobs {
        println!("  {count:>6} jobs {}", format!("{state:?}").to_lowercase());
    }
    match &summary.failed[..] {
        [] => println!("nothing was broken"),
        failed => println!("broken by seeds {failed:?}"),
    }
}
