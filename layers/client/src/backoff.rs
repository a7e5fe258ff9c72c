use std::time::Duration;

/// The delay before attempt number `failures` + 1 in a row: `retry`, doubled with each failure up to `max`. A
/// random part of up to a quarter is added, so that clients that were disconnected together do not reconnect
/// together.
pub(crate) fn delay(retry: Duration, failures: u32, max: Duration) -> Duration {
    let doubled = retry.saturating_mul(2_u32.saturating_pow(failures));
    let delay = doubled.min(max.max(retry));
    let quarter = u64::try_from(delay.as_nanos() / 4).unwrap_or(u64::MAX);
    delay.saturating_add(Duration::from_nanos(fastrand::u64(0..=quarter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_with_each_failure_up_to_its_bound() {
        let retry = Duration::from_secs(3);
        let max = Duration::from_secs(30);
        for (failures, seconds) in
            [(0, 3), (1, 6), (2, 12), (3, 24), (4, 30), (5, 30), (u32::MAX, 30)]
        {
            for _ in 0..100 {
                let least = Duration::from_secs(seconds);
                let delay = delay(retry, failures, max);
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
