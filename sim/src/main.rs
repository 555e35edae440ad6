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
    #[arg(long, conflicts_with_all = ["seeds", "from", "faults_min"])]
    seed: Option<u64>,
    /// Fail if fewer faults were injected.
    #[arg(long, default_value_t = 0)]
    faults_min: u64,
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
    let weaknesses = weaknesses(&summary, args.faults_min);
    weaknesses.iter().for_each(|weakness| println!("too weak: {weakness}"));
    if summary.failed.is_empty() && weaknesses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// So many runs meet everything.
const RUNS_THAT_MEET_ALL: u64 = 200;

/// What keeps runs from proving what they are meant to prove, although nothing was broken.
fn weaknesses(summary: &Summary, faults_min: u64) -> Vec<String> {
    let mut weaknesses = Vec::new();
    let faults = summary.faults_total();
    if faults < faults_min {
        weaknesses.push(format!("{faults} faults where there were to be {faults_min}"));
    }
    if summary.runs >= RUNS_THAT_MEET_ALL {
        weaknesses.extend(summary.never_met().iter().map(|what| format!("no run met {what}")));
    }
    weaknesses
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
        println!("  again: make sim ARGS=\"--seed {} --log\"", report.seed);
    }
}

fn print_summary(summary: &Summary) {
    println!("{} runs, {:.0} s simulated", summary.runs, summary.simulated.as_secs_f64());
    println!("{} faults", summary.faults_total());
    summary.faults.iter().for_each(|(kind, count)| println!("  {count:>6} {kind}"));
    println!("what they led to");
    summary.exercised.iter().for_each(|(feature, count)| println!("  {count:>6} {feature}"));
    for (state, count) in &summary.jobs {
        println!("  {count:>6} jobs {}", format!("{state:?}").to_lowercase());
    }
    match &summary.failed[..] {
        [] => println!("nothing was broken"),
        failed => println!("broken by seeds {failed:?}"),
    }
}
