/// A histogram: how many values there are between limits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// The upper limits of the buckets, ascending. A value that equals a limit is in the bucket of that limit.
    pub limits: &'static [f64],
    /// The number of values in each bucket, not those in the buckets before it. The last bucket has the values
    /// that exceed all limits.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    pub(crate) fn new(limits: &'static [f64]) -> Self {
        Self { limits, counts: vec![0; limits.len() + 1], sum: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let bucket = self.limits.partition_point(|limit| *limit < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.sum += value;
        }
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_the_first_limit_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[0.0, 1.0, 10.0]);
        [0.0, 1.0, 1.5, 10.0, 11.0, 1e9].into_iter().for_each(|value| histogram.add(value));
        assert_eq!(histogram.counts, [1, 1, 2, 2]);
        assert_eq!((histogram.count(), histogram.sum), (6, 1e9 + 23.5));
    }
}
