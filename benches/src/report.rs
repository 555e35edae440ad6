//! What all engines took for all queries, and the ratios to the first of them.

mod tables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engines::{Kind, Run};

pub use self::tables::{docs, header, row, summary};

/// One query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub query: String,
    pub rows: u64,
    /// Of each run.
    pub seconds: BTreeMap<Kind, Vec<f64>>,
    pub cpu_seconds: BTreeMap<Kind, Vec<f64>>,
    /// Bytes of payloads that went through exchanges.
    pub shuffled_bytes: BTreeMap<Kind, u64>,
}

impl Line {
    pub fn new(query: String) -> Self {
        let (seconds, cpu_seconds, shuffled_bytes) = Default::default();
        Self { query, rows: 0, seconds, cpu_seconds, shuffled_bytes }
    }

    pub fn add(&mut self, kind: Kind, run: Run) {
        self.rows = run.rows;
        self.seconds.entry(kind).or_default().push(run.seconds);
        self.cpu_seconds.entry(kind).or_default().push(run.cpu_seconds);
        self.shuffled_bytes.insert(kind, run.shuffled_bytes);
    }

    /// The best run: what else the machine did only ever adds.
    pub fn best(&self, kind: Kind) -> Option<f64> {
        least(self.seconds.get(&kind)?)
    }

    pub fn least_cpu(&self, kind: Kind) -> Option<f64> {
        least(self.cpu_seconds.get(&kind)?)
    }

    pub fn ratio(&self, kind: Kind, base: Kind) -> Option<f64> {
        Some(self.best(kind)? / self.best(base)?)
    }
}

fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::min)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub machine: String,
    pub date: String,
    pub scale: f64,
    pub partitions: u32,
    pub runs: u32,
    pub processors: u32,
    /// The others are compared with the first one.
    pub engines: Vec<Kind>,
    /// Milliseconds from `select 1` to its row, the median, by engine.
    pub first_result_ms: BTreeMap<Kind, f64>,
    /// Milliseconds of a query that is next to nothing but an exchange between two stages, the median, by engine.
    pub short_query_ms: BTreeMap<Kind, f64>,
    pub queries: Vec<Line>,
    pub totals: BTreeMap<Kind, Total>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Total {
    pub seconds: f64,
    pub ratio: f64,
    pub geometric_mean_of_ratios: f64,
    pub worst_ratio: f64,
    pub cpu_seconds: f64,
    pub shuffled_bytes: u64,
}

impl Report {
    pub fn base(&self) -> Kind {
        self.engines[0]
    }

    /// Takes over the queries of an earlier run that this one did not measure; false if it measured something else.
    pub fn add(&mut self, earlier: Self) -> bool {
        let what = |of: &Self| (of.scale.to_bits(), of.partitions, of.processors, of.engines.clone());
        if what(self) != what(&earlier) {
            return false;
        }
        let is_new = |line: &Line| self.queries.iter().all(|mine| mine.query != line.query);
        let mut kept: Vec<_> = earlier.queries.into_iter().filter(is_new).collect();
        self.queries.append(&mut kept);
        self.queries.sort_by(|one, other| one.query.cmp(&other.query));
        self.total();
        true
    }

    /// Adds everything up.
    pub fn total(&mut self) {
        let base = self.base();
        self.totals = self.engines.iter().map(|kind| (*kind, total(&self.queries, *kind, base))).collect();
    }
}

fn total(lines: &[Line], kind: Kind, base: Kind) -> Total {
    let seconds = |kind| lines.iter().filter_map(|line| line.best(kind)).sum::<f64>();
    let ratios = || lines.iter().filter_map(|line| line.ratio(kind, base));
    Total {
        seconds: seconds(kind),
        ratio: seconds(kind) / seconds(base),
        geometric_mean_of_ratios: geometric_mean(ratios()),
        worst_ratio: ratios().fold(0.0, f64::max),
        cpu_seconds: lines.iter().filter_map(|line| line.least_cpu(kind)).sum(),
        shuffled_bytes: lines.iter().filter_map(|line| line.shuffled_bytes.get(&kind)).sum(),
    }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value.ln(), count + 1));
    (sum / f64::from(count.max(1))).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Kind = Kind::Memory;
    const OTHER: Kind = Kind::Service;

    fn line(query: &str, base: &[f64], other: &[f64]) -> Line {
        let mut line = Line::new(query.to_owned());
        for (kind, runs) in [(BASE, base), (OTHER, other)] {
            for seconds in runs {
                let shuffled_bytes = if kind == OTHER { 1_500_000_000 } else { 0 };
                line.add(
                    kind,
                    Run { rows: 1, seconds: *seconds, cpu_seconds: 2.0 * seconds, shuffled_bytes },
                );
            }
        }
        line
    }

    fn report(queries: Vec<Line>) -> Report {
        let mut report = Report {
            machine: "a machine".to_owned(),
            date: String::new(),
            scale: 10.0,
            partitions: 2,
            runs: 2,
            processors: 2,
            engines: vec![BASE, OTHER],
            first_result_ms: BTreeMap::new(),
            short_query_ms: BTreeMap::from([(BASE, 7.0), (OTHER, 8.26)]),
            queries,
            totals: BTreeMap::new(),
        };
        report.total();
        report
    }

    #[test]
    fn totals_take_the_best_run_of_each_query() {
        let report = report(vec![line("q01", &[1.0, 2.0], &[2.0, 9.0]), line("q02", &[4.0, 3.0], &[1.5])]);
        let other = &report.totals[&OTHER];
        assert_eq!((report.totals[&BASE].seconds, other.seconds), (4.0, 3.5));
        assert_eq!((other.ratio, other.worst_ratio), (0.875, 2.0));
        assert_eq!((other.cpu_seconds, other.shuffled_bytes), (7.0, 3_000_000_000));
        assert!((other.geometric_mean_of_ratios - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_in_parts_adds_up_to_one_report() {
        let (first, again) = (line("q01", &[1.0], &[1.1]), line("q02", &[1.0], &[1.2]));
        let mut parts = report(vec![again.clone()]);
        assert!(parts.add(report(vec![first.clone(), line("q02", &[9.0], &[9.0])])));
        assert_eq!(parts, report(vec![first, again]));
        assert!(!parts.add(Report { scale: 1.0, ..parts.clone() }));
    }

    #[test]
    fn the_documents_table_says_what_was_met() {
        let text = docs(&report(vec![line("q01", &[1.0], &[1.1]), line("q02", &[1.0], &[1.3])]));
        let expected = "\
a machine, 2 processors; TPC-H at scale 10, 2 partitions, best of 2 runs.

| | memory s | CPU-s | service s | CPU-s | ratio | GB that crossed |
|---|---|---|---|---|---|---|
| q01 | 1.00 | 2.0 | 1.10 | 2.2 | 1.10 | 1.50 |
| q02 | 1.00 | 2.0 | 1.30 | 2.6 | 1.30 | 1.50 |
| **total** | 2.00 | 4.0 | 2.40 | 4.8 | **1.20** | 3.00 |

| | value | target | |
|---|---|---|---|
| service: total against memory | +20.0 % | <= 15 % | **missed** |
| service: worst query against memory | +30.0 % | <= 25 % | **missed** |
| service: geometric mean against memory | +19.6 % |  |  |
| service: one exchange of a short query against memory, median | +1.3 ms | <= 5 ms | met |
";
        assert_eq!(text, expected);
    }
}
