//! Histograms of Zilla: their limits are powers of two.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::family::Histogram;

/// 2 to 2^62.
static LIMITS: LazyLock<Vec<f64>> =
    LazyLock::new(|| (1..=62).map(|power| 2_f64.powi(power)).collect());

const BUCKETS: usize = 63;

/// A histogram that counts.
#[derive(Debug)]
pub(crate) struct PowersOfTwo {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    /// The number of parts that make a unit of the limits.
    parts: u64,
}

impl PowersOfTwo {
    /// A histogram of values in parts of the unit of the limits.
    pub(crate) fn new(parts: u64) -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            parts,
        }
    }

    /// Counts a value, in parts of the unit.
    pub(crate) fn record(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket(value.div_ceil(self.parts))) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
        self.min.fetch_min(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
    }

    pub(crate) fn read(&self) -> Histogram {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        let in_units = |parts: &AtomicU64| parts.load(Relaxed) as f64 / self.parts as f64;
        let any = counts.iter().any(|count| *count > 0);
        Histogram {
            limits: LIMITS.as_slice().into(),
            counts,
            sum: in_units(&self.sum),
            range: any.then(|| (in_units(&self.min), in_units(&self.max))),
        }
    }
}

/// The bucket of a value: the first whose limit is not less.
fn bucket(value: u64) -> usize {
    let power = u64::BITS - value.saturating_sub(1).leading_zeros();
    (power as usize).clamp(1, BUCKETS) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive() {
        for (value, expected) in [
            (0, 0),
            (1, 0),
            (2, 0),
            (3, 1),
            (4, 1),
            (5, 2),
            (8, 2),
            (9, 3),
            (1 << 62, 61),
            ((1 << 62) + 1, 62),
            (u64::MAX, 62),
        ] {
            assert_eq!(bucket(value), expected, "{value}");
            let limit = LIMITS.get(expected).copied().unwrap_or(f64::INFINITY);
            assert!(value as f64 <= limit, "{value}");
        }
    }

    #[test]
    fn sums_are_true_and_parts_of_a_unit_are_in_its_bucket() {
        let sizes = PowersOfTwo::new(1);
        assert_eq!(sizes.read().range, None);
        sizes.record(0);
        sizes.record(5);
        let read = sizes.read();
        assert_eq!((read.sum, read.range), (5.0, Some((0.0, 5.0))));
        // 4.001 ms are more than 4 ms.
        let durations = PowersOfTwo::new(1000);
        durations.record(4000);
        durations.record(4001);
        let read = durations.read();
        assert_eq!(read.counts.iter().take(3).copied().collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(read.sum, 8.001);
    }
}
