use std::time::Duration;

/// How long to wait before attempt number `failures` + 1 in a row: `retry`, doubled with each failure up to
/// `most`, and up to a quarter more, so that what was cut off together does not come back together.
pub(crate) fn delay(retry: Duration, failures: u32, most: Duration) -> Duration {
    let doubled = retry.saturating_mul(2_u32.saturating_pow(failures));
    let delay = doubled.min(most.max(retry));
    let quarter = u64::try_from(delay.as_nanos() / 4).unwrap_or(u64::MAX);
    delay.saturating_add(Duration::from_nanos(fastrand::u64(0..=quarter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_with_each_failure_up_to_its_bound() {
        let (retry, most) = (Duration::from_secs(3), Duration::from_secs(30));
        for (failures, seconds) in
            [(0, 3), (1, 6), (2, 12), (3, 24), (4, 30), (5, 30), (u32::MAX, 30)]
        {
            for _ in 0..100 {
                let (least, delay) = (Duration::from_secs(seconds), delay(retry, failures, most));
                assert!((least..=least * 5 / 4).contains(&delay), "{failures} failures: {delay:?}");
            }
        }
    }

    #[test]
    fn a_reconnection_time_beyond_the_bound_is_kept() {
        let retry = Duration::from_secs(60);
        assert!(delay(retry, 7, Duration::from_secs(30)) >= retry);
        assert!(delay(retry, 7, Duration::from_secs(30)) <= retry * 5 / 4);
    }

    #[test]
    fn no_duration_overflows() {
        assert_eq!(delay(Duration::ZERO, u32::MAX, Duration::ZERO), Duration::ZERO);
        assert_eq!(delay(Duration::MAX, u32::MAX, Duration::MAX), Duration::MAX);
    }
}
