//! Times of all engines for all queries, and the ratios between them.

use std::collections::BTreeMap;

use serde::Serialize;

/// Seconds of each run, by engine.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub query: String,
    pub rows: u64,
    pub seconds: BTreeMap<&'static str, Vec<f64>>,
}

impl Line {
    /// The best run: what else the machine did only ever adds.
    pub fn best(&self, engine: &str) -> Option<f64> {
        self.seconds.get(engine)?.iter().copied().reduce(f64::min)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub scale: f64,
    pub partitions: u32,
    pub runs: u32,
    pub processors: u32,
    /// Milliseconds from `select 1` to its row, the median, by engine.
    pub first_result_ms: BTreeMap<&'static str, f64>,
    pub queries: Vec<Line>,
    pub totals: BTreeMap<&'static str, Total>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Total {
    pub seconds: f64,
    pub ratio: f64,
    pub geometric_mean_of_ratios: f64,
}

/// The engine that the others are compared with.
pub const BASE: &str = "datafusion";

pub fn totals(lines: &[Line], engines: &[&'static str]) -> BTreeMap<&'static str, Total> {
    let seconds = |engine: &str| lines.iter().filter_map(|line| line.best(engine)).sum::<f64>();
    let base = seconds(BASE);
    let total = |engine: &&'static str| {
        let ratios = lines.iter().filter_map(|line| Some(line.best(engine)? / line.best(BASE)?));
        (
            *engine,
            Total {
                seconds: seconds(engine),
                ratio: seconds(engine) / base,
                geometric_mean_of_ratios: geometric_mean(ratios),
            },
        )
    };
    engines.iter().map(total).collect()
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value.ln(), count + 1));
    (sum / f64::from(count.max(1))).exp()
}

pub fn header(engines: &[&str]) -> String {
    let mut line = format!("{:<6} {:>8}", "query", "rows");
    for engine in engines {
        line += &format!(" {engine:>12}");
        if *engine != BASE {
            line += &format!(" {:>6}", "ratio");
        }
    }
    line
}

pub fn row(line: &Line, engines: &[&str]) -> String {
    let mut shown = format!("{:<6} {:>8}", line.query, line.rows);
    for engine in engines {
        let best = line.best(engine).unwrap_or(f64::NAN);
        shown += &format!(" {best:>12.3}");
        if *engine != BASE {
            shown += &format!(" {:>6.2}", best / line.best(BASE).unwrap_or(f64::NAN));
        }
    }
    shown
}

pub fn total_rows(report: &Report, engines: &[&str]) -> String {
    let mut total = format!("{:<6} {:>8}", "total", "");
    let mut mean = format!("{:<6} {:>8}", "geo", "");
    for engine in engines {
        let Some(of) = report.totals.get(engine) else { continue };
        total += &format!(" {:>12.3}", of.seconds);
        mean += &format!(" {:>12}", "");
        if *engine != BASE {
            total += &format!(" {:>6.2}", of.ratio);
            mean += &format!(" {:>6.2}", of.geometric_mean_of_ratios);
        }
    }
    format!("{total}\n{mean}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(query: &str, base: &[f64], other: &[f64]) -> Line {
        let seconds = BTreeMap::from([(BASE, base.to_vec()), ("penstock", other.to_vec())]);
        Line { query: query.to_owned(), rows: 1, seconds }
    }

    #[test]
    fn totals_take_the_best_run_of_each_query() {
        let lines = [line("q01", &[1.0, 2.0], &[2.0, 9.0]), line("q02", &[4.0, 3.0], &[1.5])];
        let totals = totals(&lines, &[BASE, "penstock"]);
        assert_eq!((totals[BASE].seconds, totals["penstock"].seconds), (4.0, 3.5));
        assert_eq!(totals["penstock"].ratio, 0.875);
        assert!((totals["penstock"].geometric_mean_of_ratios - 1.0).abs() < 1e-9);
    }
}
