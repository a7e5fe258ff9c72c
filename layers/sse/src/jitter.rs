use std::time::Duration;

/// A random time between `percent.0` and `percent.1` hundredths of `duration`.
pub(crate) fn spread(duration: Duration, percent: (u32, u32)) -> Duration {
    let least = duration.saturating_mul(percent.0) / 100;
    let most = duration.saturating_mul(percent.1) / 100;
    least + up_to(most.saturating_sub(least))
}

/// A random time between 0 and `duration`.
pub(crate) fn up_to(duration: Duration) -> Duration {
    Duration::from_nanos(fastrand::u64(0..=u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_duration_lies_within_its_bounds() {
        let second = Duration::from_secs(1);
        for _ in 0..1000 {
            assert!((second * 8 / 10..=second * 12 / 10).contains(&spread(second, (80, 120))));
            assert!(up_to(second) <= second);
        }
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
        assert!(spread(Duration::MAX, (90, 100)) <= Duration::MAX);
    }
}
