//! Bounds the signature checks that tokens can cause.

/// Any token may be checked with this many keys. An issuer has a few.
pub(crate) const CHECKS_PER_TOKEN: usize = 16;
/// How many further checks all tokens of a guard may cause in a second. A check with an RSA key of 2048
/// bits takes some 20 µs, so that forged tokens take at most 2 % of a core.
const EXTRA_CHECKS_PER_SECOND: usize = 1000;

/// Counts the further checks of the current second.
#[derive(Debug, Default)]
pub(crate) struct CheckBudget {
    second: i64,
    extra: usize,
}

impl CheckBudget {
    /// With how many keys a token may be checked. `now` is in milliseconds.
    pub(crate) fn allowed(&mut self, now: i64) -> usize {
        let second = now.div_euclid(1000);
        if self.second != second {
            *self = Self { second, extra: 0 };
        }
        if self.extra < EXTRA_CHECKS_PER_SECOND { usize::MAX } else { CHECKS_PER_TOKEN }
    }

    pub(crate) fn record(&mut self, checks: usize) {
        self.extra = self.extra.saturating_add(checks.saturating_sub(CHECKS_PER_TOKEN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_checks_of_one_token_are_allowed_until_there_were_too_many_within_a_second() {
        let mut budget = CheckBudget::default();
        for _ in 0..10_000 {
            assert_eq!(budget.allowed(5_000), usize::MAX);
            budget.record(CHECKS_PER_TOKEN);
        }
        for _ in 0..EXTRA_CHECKS_PER_SECOND / 84 + 1 {
            assert_eq!(budget.allowed(5_999), usize::MAX);
            budget.record(100);
        }
        assert_eq!(budget.allowed(5_999), CHECKS_PER_TOKEN);
        assert_eq!(budget.allowed(6_000), usize::MAX);
        // A clock that is set back is another second, too.
        budget.record(usize::MAX);
        assert_eq!(budget.allowed(6_500), CHECKS_PER_TOKEN);
        assert_eq!(budget.allowed(-1), usize::MAX);
    }
}
