use std::fmt;
use std::str::FromStr;

/// An interval of numbers, such as `[0,10)`.
///
/// `[` and `]` include the bound, `(` and `)` exclude it. Either bound may be absent; beside an absent bound the two
/// are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Range<T> {
    low: Option<Bound<T>>,
    high: Option<Bound<T>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound<T> {
    at: T,
    included: bool,
}

impl<T> Default for Range<T> {
    /// All numbers.
    fn default() -> Self {
        Self { low: None, high: None }
    }
}

impl<T: PartialOrd> Range<T> {
    /// Whether a number lies within the interval. NaN lies in none.
    #[must_use]
    pub fn contains(&self, number: &T) -> bool {
        let above = match &self.low {
            Some(low) => *number > low.at || low.included && *number == low.at,
            None => true,
        };
        let below = match &self.high {
            Some(high) => *number < high.at || high.included && *number == high.at,
            None => true,
        };
        above && below && number.partial_cmp(number).is_some()
    }
}

impl<T: FromStr + PartialOrd> FromStr for Range<T> {
    type Err = RangeError;

    /// Parses an interval.
    ///
    /// # Errors
    ///
    /// The text is not a bracket, a number, a comma, a number and a bracket, a number is none of the type, or no
    /// number lies between the bounds.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = || RangeError(text.to_owned());
        let (low_included, rest) = match text.strip_prefix('[') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('(').ok_or_else(error)?),
        };
        let (high_included, rest) = match rest.strip_suffix(']') {
            Some(rest) => (true, rest),
            None => (false, rest.strip_suffix(')').ok_or_else(error)?),
        };
        let (low, high) = rest.split_once(',').ok_or_else(error)?;
        let bound = |digits: &str, included| -> Result<Option<Bound<T>>, RangeError> {
            if digits.is_empty() {
                return Ok(None);
            }
            // What `FromStr` of floats takes beyond numbers: `inf`, `NaN`, `1e5`, a plus.
            let plain = digits.strip_prefix('-').unwrap_or(digits);
            if !plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return Err(error());
            }
            let at = digits.parse().map_err(|_| error())?;
            // `FromStr` of floats makes infinity of a number that is too large.
            let is = |text: &str| text.parse().is_ok_and(|infinity: T| infinity == at);
            if is("inf") || is("-inf") {
                return Err(error());
            }
            Ok(Some(Bound { at, included }))
        };
        let low = bound(low, low_included)?;
        let high = bound(high, high_included)?;
        if let (Some(low), Some(high)) = (&low, &high) {
            let is_one = low.at == high.at && low.included && high.included;
            if low.at >= high.at && !is_one {
                return Err(error());
            }
        }
        Ok(Self { low, high })
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.low {
            Some(low) => write!(f, "{}{},", if low.included { '[' } else { '(' }, low.at)?,
            None => f.write_str("(,")?,
        }
        match &self.high {
            Some(high) => write!(f, "{}{}", high.at, if high.included { ']' } else { ')' }),
            None => f.write_str(")"),
        }
    }
}

/// The text of a range is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a range such as `[0,10)` of numbers of the type", .0.escape_debug())]
pub struct RangeError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_included_or_not() {
        let rows: [(&str, &[i32], &[i32]); 5] = [
            ("[0,10)", &[0, 9], &[-1, 10]),
            ("(0,10]", &[1, 10], &[0, 11]),
            ("(,5]", &[i32::MIN, 5], &[6]),
            ("[-5,)", &[-5, i32::MAX], &[-6]),
            ("(,)", &[i32::MIN, i32::MAX], &[]),
        ];
        for (text, inside, outside) in rows {
            let range: Range<i32> = text.parse().expect(text);
            assert!(inside.iter().all(|number| range.contains(number)), "{text}");
            assert!(!outside.iter().any(|number| range.contains(number)), "{text}");
        }
        let range: Range<f64> = "[-0.5,1.5)".parse().expect("decimals");
        assert!(range.contains(&-0.5) && !range.contains(&1.5) && !range.contains(&f64::NAN));
        assert!(!Range::default().contains(&f64::NAN));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "[",
            "[]",
            "[1]",
            "0,10",
            "[0,10",
            "[+1,)",
            "[a,b]",
            "[0 ,1]",
            "[1,2,3]",
            "[2147483648,)",
            "[1.5,)",
        ] {
            assert!(text.parse::<Range<i32>>().is_err(), "{text}");
        }
        for text in ["[inf,)", "[NaN,)", "[1e5,)", "[.,)"] {
            assert!(text.parse::<Range<f64>>().is_err(), "{text}");
        }
        let large = format!("(,-{}]", f64::from(f32::MAX) * 2.0);
        assert!(large.parse::<Range<f32>>().is_err() && large.parse::<Range<f64>>().is_ok());
    }
}
