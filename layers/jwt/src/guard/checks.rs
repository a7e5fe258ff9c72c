//! How many signatures tokens can have checked.

/// A token may always be checked against this many keys. Issuers have a few.
pub(crate) const EACH: usize = 16;
/// How many checks beyond these all tokens of a guard cause in a second. One takes some 20 µs with an
/// RSA key of 2048 bits, so that forged tokens take 2 % of a core.
const FURTHER: usize = 1000;

/// What was checked within a second.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    second: i64,
    further: usize,
}

impl Checks {
    /// Against how many keys a token may be checked at this time, in milliseconds.
    pub(crate) fn allowed(&mut self, now: i64) -> usize {
        let second = now.div_euclid(1000);
        if self.second != second {
            *self = Self { second, further: 0 };
        }
        if self.further < FURTHER { usize::MAX } else { EACH }
    }

    pub(crate) fn made(&mut self, checks: usize) {
        self.further = self.further.saturating_add(checks.saturating_sub(EACH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_checks_of_one_token_are_allowed_until_there_were_too_many_within_a_second() {
        let mut checks = Checks::default();
        for _ in 0..10_000 {
            assert_eq!(checks.allowed(5_000), usize::MAX);
            checks.made(EACH);
        }
        for _ in 0..FURTHER / 84 + 1 {
            assert_eq!(checks.allowed(5_999), usize::MAX);
            checks.made(100);
        }
        assert_eq!(checks.allowed(5_999), EACH);
        assert_eq!(checks.allowed(6_000), usize::MAX);
        // A clock that is set back is another second, too.
        checks.made(usize::MAX);
        assert_eq!(checks.allowed(6_500), EACH);
        assert_eq!(checks.allowed(-1), usize::MAX);
    }
}
