//! A report for people: on the terminal while it grows, and as Markdown.

use std::fmt::Write;

use super::{Line, Report, Total};
use crate::engines::Kind;

const GB: f64 = 1e9;
/// What the shuffle service may cost a query, and all of them together.
const WORST_RATIO_MAX: f64 = 1.25;
const TOTAL_RATIO_MAX: f64 = 1.15;
/// What it may add to a stage.
const EXCHANGE_MS_MAX: f64 = 5.0;

pub fn header(engines: &[Kind]) -> String {
    let mut line = format!("{:<6} {:>8}", "query", "rows");
    for (number, kind) in engines.iter().enumerate() {
        line += &format!(" {kind:>12}");
        if number > 0 {
            line += &format!(" {:>6}", "ratio");
        }
    }
    line + &format!(" {:>8}", "GB")
}

pub fn row(line: &Line, engines: &[Kind]) -> String {
    let mut shown = format!("{:<6} {:>8}", line.query, line.rows);
    for (number, kind) in engines.iter().enumerate() {
        shown += &format!(" {:>12.3}", line.best(*kind).unwrap_or(f64::NAN));
        if number > 0 {
            shown += &format!(" {:>6.2}", line.ratio(*kind, engines[0]).unwrap_or(f64::NAN));
        }
    }
    shown + &format!(" {:>8.3}", crossed_gb(line, engines))
}

/// What crossed in the last of the engines.
fn crossed_gb(line: &Line, engines: &[Kind]) -> f64 {
    let bytes = engines.last().and_then(|kind| line.shuffled_bytes.get(kind));
    bytes.map_or(0.0, |bytes| *bytes as f64 / GB)
}

/// The last lines on the terminal.
pub fn summary(report: &Report) -> String {
    let line = |name: &str, of: fn(&Total) -> f64, ratio: fn(&Total, &Total) -> Option<f64>| {
        let mut line = format!("{name:<6} {:>8}", "");
        let base = &report.totals[&report.base()];
        for (number, kind) in report.engines.iter().enumerate() {
            let total = &report.totals[kind];
            let value = of(total);
            line += &if value.is_nan() { format!(" {:>12}", "") } else { format!(" {value:>12.3}") };
            if number > 0 {
                let ratio = ratio(total, base).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                line += &format!(" {ratio:>6}");
            }
        }
        line
    };
    let lines = [
        line("total", |total| total.seconds, |total, _| Some(total.ratio)),
        line("geo", |_| f64::NAN, |total, _| Some(total.geometric_mean_of_ratios)),
        line("worst", |_| f64::NAN, |total, _| Some(total.worst_ratio)),
        line("cpu s", |total| total.cpu_seconds, |total, base| Some(total.cpu_seconds / base.cpu_seconds)),
        line("GB", |total| total.shuffled_bytes as f64 / GB, |_, _| None),
    ];
    lines.join("\n")
}

/// The tables of a document.
pub fn docs(report: &Report) -> String {
    let mut text = head(report);
    text += "\n|";
    for (number, kind) in report.engines.iter().enumerate() {
        let ratio = if number > 0 { " | ratio" } else { "" };
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, " | {kind} s | CPU-s{ratio}");
    }
    let columns = 1 + 3 * report.engines.len();
    let _ = writeln!(text, " | GB that crossed |\n|{}", "---|".repeat(columns));
    for line in &report.queries {
        let values = |kind: &Kind| {
            let best = (line.best(*kind).unwrap_or(f64::NAN), line.least_cpu(*kind).unwrap_or(f64::NAN));
            (best.0, best.1, line.ratio(*kind, report.base()).unwrap_or(f64::NAN))
        };
        text += &markdown(report, &line.query, "", values, crossed_gb(line, &report.engines));
    }
    let total = |kind: &Kind| {
        let total = &report.totals[kind];
        (total.seconds, total.cpu_seconds, total.ratio)
    };
    let crossed = report.engines.last().map_or(0, |kind| report.totals[kind].shuffled_bytes);
    text += &markdown(report, "**total**", "**", total, crossed as f64 / GB);
    text + &verdicts(report)
}

fn head(report: &Report) -> String {
    let Report { machine, date, processors, scale, partitions, runs, .. } = report;
    let machine = if machine.is_empty() { "an unnamed machine" } else { machine };
    let date = if date.is_empty() { String::new() } else { format!(", {date}") };
    format!(
        "{machine}, {processors} processors{date}; TPC-H at scale {scale}, {partitions} partitions, best of {runs} runs.\n"
    )
}

fn markdown(
    report: &Report,
    name: &str,
    emphasis: &str,
    values: impl Fn(&Kind) -> (f64, f64, f64),
    crossed_gb: f64,
) -> String {
    let mut line = format!("| {name}");
    for (number, kind) in report.engines.iter().enumerate() {
        let (seconds, cpu_seconds, ratio) = values(kind);
        line += &format!(" | {seconds:.2} | {cpu_seconds:.1}");
        if number > 0 {
            line += &format!(" | {emphasis}{ratio:.2}{emphasis}");
        }
    }
    line + &format!(" | {crossed_gb:.2} |\n")
}

fn verdicts(report: &Report) -> String {
    let mut text = "\n| | value | target | |\n|---|---|---|---|\n".to_owned();
    let base = report.base();
    for kind in &report.engines[1..] {
        let total = &report.totals[kind];
        let is_judged = base == Kind::Memory && *kind == Kind::Service;
        let numbers = [
            ("total", total.ratio, Some(TOTAL_RATIO_MAX)),
            ("worst query", total.worst_ratio, Some(WORST_RATIO_MAX)),
            ("geometric mean", total.geometric_mean_of_ratios, None),
        ];
        for (name, ratio, target) in numbers {
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            let target = target.filter(|_| is_judged).map(percent);
            text += &verdict(&format!("{kind}: {name} against {base}"), percent(ratio), target, "%");
        }
        if let (Some(plain), Some(ms)) = (report.short_query_ms.get(&base), report.short_query_ms.get(kind)) {
            let name = format!("{kind}: one exchange of a short query against {base}, median");
            text += &verdict(&name, ms - plain, Some(EXCHANGE_MS_MAX).filter(|_| is_judged), "ms");
        }
    }
    text
}

fn verdict(name: &str, more: f64, target: Option<f64>, unit: &str) -> String {
    let limit = target.map_or_else(String::new, |target| format!("<= {target:.0} {unit}"));
    let met = target.map_or("", |target| if more <= target { "met" } else { "**missed**" });
    format!("| {name} | {more:+.1} {unit} | {limit} | {met} |\n")
}
