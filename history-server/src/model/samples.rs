//! How busy an executor was over time, in bounded memory however long the job ran.

/// Samples kept of one executor; beyond it they are thinned out evenly.
const SAMPLES_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub at_ms: i64,
    /// Cores.
    pub cpu_used: f64,
    pub memory_used_bytes: u64,
    pub memory_limit_bytes: u64,
    pub scratch_used_bytes: u64,
}

/// In the order of time.
#[derive(Debug, Default)]
pub struct Samples {
    kept: Vec<Sample>,
    /// Grows as samples are thinned out.
    spacing_ms: i64,
}

impl Samples {
    pub fn add(&mut self, sample: Sample) {
        let next_at_ms = self.kept.last().map_or(i64::MIN, |last| last.at_ms.saturating_add(self.spacing_ms));
        if sample.at_ms < next_at_ms {
            return;
        }
        if self.kept.len() >= SAMPLES_MAX {
            self.thin_out();
        }
        self.kept.push(sample);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Sample> {
        self.kept.iter()
    }

    fn thin_out(&mut self) {
        let mut keep = false;
        self.kept.retain(|_| {
            keep = !keep;
            keep
        });
        if let (Some(first), Some(last)) = (self.kept.first(), self.kept.last()) {
            self.spacing_ms = (last.at_ms - first.at_ms) / (SAMPLES_MAX as i64 / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: i64) -> Sample {
        Sample { at_ms, cpu_used: 1.0, memory_used_bytes: 1, memory_limit_bytes: 2, scratch_used_bytes: 0 }
    }

    #[test]
    fn a_long_job_is_covered_from_its_beginning_to_its_end() {
        let mut samples = Samples::default();
        let day_ms = 24 * 3_600_000;
        (0..=day_ms).step_by(10_000).for_each(|at_ms| samples.add(sample(at_ms)));
        let times: Vec<i64> = samples.iter().map(|sample| sample.at_ms).collect();
        assert!((SAMPLES_MAX / 4..=SAMPLES_MAX).contains(&times.len()), "{}", times.len());
        assert_eq!(times[0], 0);
        let gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (1..=day_ms / 50).contains(gap)), "{gaps:?}");
        assert!(day_ms - times[times.len() - 1] <= day_ms / 50);
    }

    #[test]
    fn a_short_job_keeps_every_sample() {
        let mut samples = Samples::default();
        (0..SAMPLES_MAX as i64).for_each(|n| samples.add(sample(n * 10_000)));
        assert_eq!(samples.iter().count(), SAMPLES_MAX);
    }
}
