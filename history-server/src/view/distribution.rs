//! How a metric is spread over tasks.

use penstock_protocol::event::Quantiles;
use serde::Serialize;
use utoipa::ToSchema;

/// Quantiles by nearest rank, so that each is a value that some task had.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Distribution {
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p95: f64,
    pub max: f64,
}

impl Distribution {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Self::default() };
        let rank = |quantile: f64| {
            let position = (quantile * values.len() as f64).ceil() as usize;
            values[position.clamp(1, values.len()) - 1]
        };
        Self {
            count: values.len() as u64,
            sum: values.iter().sum(),
            min,
            p25: rank(0.25),
            median: rank(0.5),
            p75: rank(0.75),
            p95: rank(0.95),
            max,
        }
    }

    /// What a log tells of more values than it names.
    pub fn of_quantiles(quantiles: Quantiles, count: u64, sum: f64) -> Self {
        let Quantiles { min, p25, median, p75, p95, max } = quantiles;
        let [min, p25, median, p75, p95, max] = [min, p25, median, p75, p95, max].map(|value| value as f64);
        Self { count, sum, min, p25, median, p75, p95, max }
    }

    pub fn of_integers(values: impl IntoIterator<Item = u64>) -> Self {
        Self::of(values.into_iter().map(|value| value as f64))
    }

    /// How much longer the largest is than the middle one; 1 if there is nothing to compare.
    pub fn skew(&self) -> f64 {
        if self.count > 1 && self.median > 0.0 { self.max / self.median } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let spread = Distribution::of_integers([40, 10, 30, 20]);
        assert_eq!(
            (spread.min, spread.p25, spread.median, spread.p75, spread.max),
            (10., 10., 20., 30., 40.)
        );
        assert_eq!((spread.count, spread.sum), (4, 100.0));
        assert_eq!(spread.skew(), 2.0);
    }

    #[test]
    fn nothing_and_one_value_have_no_skew() {
        assert_eq!(Distribution::of([]).skew(), 1.0);
        assert_eq!(Distribution::of([7.0]).skew(), 1.0);
        assert_eq!(Distribution::of([7.0]).p95, 7.0);
    }
}
