//! What share of new partitions a worker gets, as a number that only means something beside those of others.

use super::{Candidate, Policy};

/// A bad figure makes a worker rare, never absent: its next report may be better, and all may be bad.
const FACTOR_MIN: f64 = 0.05;
/// So many open locations make no difference between workers.
const OPEN_LOCATIONS_SLACK: f64 = 64.0;

pub(super) fn weights<'a>(
    policy: Policy,
    candidates: impl Iterator<Item = &'a Candidate> + Clone,
) -> Vec<f64> {
    let base = |candidate: &Candidate| f64::from(candidate.weight.max(1));
    match policy {
        Policy::RoundRobin => candidates.map(base).collect(),
        Policy::Load => {
            let best = Best::of(candidates.clone());
            candidates.map(|candidate| base(candidate) * best.factor(candidate)).collect()
        }
    }
}

/// The best figure of each kind, which the others are compared with.
struct Best {
    free_bytes: f64,
    flush_us: f64,
    fetch_us: f64,
    open_locations: f64,
}

impl Best {
    fn of<'a>(candidates: impl Iterator<Item = &'a Candidate> + Clone) -> Self {
        let least = |figure: fn(&Candidate) -> u64| {
            let known = candidates.clone().map(figure).filter(|figure| *figure > 0);
            known.min().unwrap_or(0) as f64
        };
        Self {
            free_bytes: candidates.clone().map(|c| c.load.free_bytes).max().unwrap_or(0) as f64,
            flush_us: least(|candidate| candidate.load.flush_us_per_mib),
            fetch_us: least(|candidate| candidate.load.fetch_us_per_mib),
            open_locations: candidates.map(|c| c.load.open_locations).min().unwrap_or(0) as f64,
        }
    }

    fn factor(&self, candidate: &Candidate) -> f64 {
        let load = &candidate.load;
        let space = if self.free_bytes > 0.0 { load.free_bytes as f64 / self.free_bytes } else { 1.0 };
        let writers = (self.open_locations + OPEN_LOCATIONS_SLACK)
            / (load.open_locations as f64 + OPEN_LOCATIONS_SLACK);
        [
            space,
            writers,
            1.0 - load.memory_used,
            speed(self.flush_us, load.flush_us_per_mib),
            speed(self.fetch_us, load.fetch_us_per_mib),
        ]
        .into_iter()
        .map(|factor| factor.clamp(FACTOR_MIN, 1.0))
        .product()
    }
}

/// Who was not measured yet counts as fast, or it would never be measured.
fn speed(best: f64, own: u64) -> f64 {
    if own == 0 { 1.0 } else { best / own as f64 }
}
