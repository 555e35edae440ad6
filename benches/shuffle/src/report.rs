//! What a run found: samples, ratios, and the tables that are printed.

use std::fmt::Write;

use serde::Serialize;

const GB: f64 = 1e9;
const MIB: f64 = 1024.0 * 1024.0;

/// One process in one measurement.
#[derive(Debug, Clone, Serialize)]
pub struct RoleUsage {
    pub role: &'static str,
    pub cpu_seconds: f64,
    pub peak_memory_bytes: u64,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub seconds: f64,
    pub bytes: u64,
    pub roles: Vec<RoleUsage>,
}

impl Sample {
    pub fn gb_per_second(&self) -> f64 {
        self.bytes as f64 / GB / self.seconds
    }

    pub fn cpu_seconds_per_gb(&self) -> f64 {
        self.roles.iter().map(|role| role.cpu_seconds).sum::<f64>() / (self.bytes as f64 / GB)
    }

    /// CPU-seconds per GB, of all together and of each role, and each one's peak memory in MiB.
    fn by_role(&self) -> (String, String) {
        let roles = |of: &dyn Fn(&RoleUsage) -> String| {
            self.roles.iter().map(|role| format!("{} {}", role.role, of(role))).collect::<Vec<_>>().join(", ")
        };
        let cpu = roles(&|role| format!("{:.2}", role.cpu_seconds / (self.bytes as f64 / GB)));
        let peak = roles(&|role| format!("{:.0}", role.peak_memory_bytes as f64 / MIB));
        (format!("{:.2} ({cpu})", self.cpu_seconds_per_gb()), peak)
    }
}

/// What two samples are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    BytesPerCpuSecond,
    BytesPerSecond,
}

impl Measure {
    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::BytesPerCpuSecond => 1.0 / sample.cpu_seconds_per_gb(),
            Self::BytesPerSecond => sample.gb_per_second(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BytesPerCpuSecond => "bytes per CPU-second",
            Self::BytesPerSecond => "bytes per second",
        }
    }
}

/// A subject beside its yardstick, the best round of each.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub name: String,
    pub yardstick: Sample,
    pub measured: Sample,
    pub measure: Measure,
    pub ratio: f64,
    /// The least ratio that is wanted; none where only the cost is to be known.
    pub target: Option<f64>,
}

/// One number with its limit.
#[derive(Debug, Clone, Serialize)]
pub struct Number {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<Limit>,
    /// What it took to measure it.
    pub sample: Sample,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub machine: String,
    pub date: String,
    pub commit: String,
    pub profile: &'static str,
    pub gib: f64,
    pub rounds: u32,
    pub processors: usize,
    pub comparisons: Vec<Comparison>,
    pub numbers: Vec<Number>,
}

impl Report {
    /// Both tables in Markdown.
    pub fn tables(&self) -> String {
        let mut text = self.head();
        if !self.comparisons.is_empty() {
            text += "\n| | yardstick GB/s | GB/s | yardstick CPU-s/GB | CPU-s/GB | peak MiB | compared by | ratio | target | |\n\
                     |---|---|---|---|---|---|---|---|---|---|\n";
            self.comparisons.iter().for_each(|comparison| text += &comparison.line());
        }
        if !self.numbers.is_empty() {
            text += "\n| | value | CPU-s/GB | peak MiB | target | |\n|---|---|---|---|---|---|\n";
            self.numbers.iter().for_each(|number| text += &number.line());
        }
        text
    }

    fn head(&self) -> String {
        let machine = if self.machine.is_empty() { "an unnamed machine" } else { &self.machine };
        let date = if self.date.is_empty() { String::new() } else { format!(", {}", self.date) };
        let Self { processors, profile, commit, gib, rounds, .. } = self;
        format!(
            "{machine}, {processors} processors{date}, {profile} profile, commit {commit}; {gib} GiB per measurement, \
             best of {rounds} rounds.\n"
        )
    }
}

impl Comparison {
    fn line(&self) -> String {
        let (plain, ours) = (&self.yardstick, &self.measured);
        let (cpu, peak) = ours.by_role();
        let met = self.target.map(|target| verdict(self.ratio >= target));
        format!(
            "| {} | {:.2} | {:.2} | {:.2} | {cpu} | {peak} | {} | {:.0} % | {} | {} |\n",
            self.name,
            plain.gb_per_second(),
            ours.gb_per_second(),
            plain.cpu_seconds_per_gb(),
            self.measure.name(),
            self.ratio * 100.0,
            self.target.map_or_else(String::new, |target| format!(">= {:.0} %", target * 100.0)),
            met.unwrap_or_default(),
        )
    }
}

impl Number {
    fn line(&self) -> String {
        let (limit, met) = match self.target {
            None => (String::new(), ""),
            Some(Limit::AtLeast(least)) => (format!(">= {}", shown(least)), verdict(self.value >= least)),
            Some(Limit::AtMost(most)) => (format!("<= {}", shown(most)), verdict(self.value <= most)),
        };
        let (cpu, peak) = self.sample.by_role();
        let (name, value, unit) = (&self.name, shown(self.value), self.unit);
        format!("| {name} | {value} {unit} | {cpu} | {peak} | {limit} | {met} |\n")
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// Thousands apart, and decimals only where they say something.
fn shown(value: f64) -> String {
    if value < 100.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bytes: u64, seconds: f64, cpu: f64) -> Sample {
        let roles = vec![RoleUsage { role: "worker", cpu_seconds: cpu, peak_memory_bytes: 2 << 20 }];
        Sample { seconds, bytes, roles }
    }

    #[test]
    fn a_missed_target_is_said_in_the_table() {
        let line = |target| {
            let (yardstick, measured) = (sample(2_000_000_000, 1.0, 1.0), sample(2_000_000_000, 2.0, 2.0));
            let measure = Measure::BytesPerCpuSecond;
            let ratio = measure.of(&measured) / measure.of(&yardstick);
            Comparison { name: "push".into(), yardstick, measured, measure, ratio, target }.line()
        };
        assert!(line(Some(0.6)).contains("| 50 % | >= 60 % | **missed** |"), "{}", line(Some(0.6)));
        assert!(line(Some(0.5)).contains("| met |"));
        assert!(line(None).contains("| 50 % |  |  |"), "{}", line(None));
        assert!(line(None).contains("| 1.00 (worker 1.00) | worker 2 |"), "{}", line(None));
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [(0.5, "0.5"), (12.0, "12"), (999.6, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(shown(value), text);
        }
    }
}
