//! The parameters of a request.

use std::collections::BTreeMap;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::response::Refusal;

/// The parameters that are not taken yet.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query, in the form that pages send (`application/x-www-form-urlencoded`).
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let mut parameters = BTreeMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.contains_key(&name) {
                return Err(Refusal::bad_request(format!("{name} is given twice")));
            }
            parameters.insert(name, value);
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a parameter that has to be there.
    pub(super) fn require(&mut self, name: &str) -> Result<String, Refusal> {
        self.take(name).ok_or_else(|| Refusal::bad_request(format!("{name} is missing")))
    }

    /// Takes a number in this range.
    pub(super) fn number<N>(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<N>,
    ) -> Result<Option<N>, Refusal>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.take(name) else { return Ok(None) };
        // `+1` is no number here.
        let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_decimal && range.contains(number));
        let wrong = || {
            let (start, end) = (range.start(), range.end());
            Refusal::bad_request(format!("{name} is a number from {start} to {end}"))
        };
        number.map(Some).ok_or_else(wrong)
    }

    /// Takes one of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        let wrong = || {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Refusal::bad_request(format!("{name} is one of {}", words.join(", ")))
        };
        found.map(|(_, value)| Some(*value)).ok_or_else(wrong)
    }

    /// Checks that no parameter is left.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::bad_request(format!("unknown parameter {name}"))),
        }
    }
}

fn decode(text: &str) -> Result<String, Refusal> {
    let spaces = text.replace('+', " ");
    let decoded = percent_decode_str(&spaces).decode_utf8();
    let wrong = |_| Refusal::bad_request("a parameter is not UTF-8".to_owned());
    decoded.map(std::borrow::Cow::into_owned).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_each_is_there_once() {
        let mut query = Query::parse(Some("a=1&b=x%26y+z&c&&d=%C3%A4&e=f=g")).unwrap();
        assert_eq!(query.number("a", 1..=2).unwrap(), Some(1));
        assert_eq!(query.take("b").as_deref(), Some("x&y z"));
        assert_eq!(query.take("c").as_deref(), Some(""));
        assert_eq!(query.take("d").as_deref(), Some("\u{e4}"));
        assert_eq!(query.take("e").as_deref(), Some("f=g"));
        assert!(query.take("f").is_none());
        query.finish().unwrap();
        assert!(Query::parse(None).unwrap().finish().is_ok());
        for wrong in ["a=1&a=1", "a=1&%61=2", "a=%ff"] {
            assert!(Query::parse(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Query::parse(Some("a=1")).unwrap().finish().is_err());
    }

    #[test]
    fn a_number_is_in_its_range() {
        for (text, expected) in [
            ("1", Some(1)),
            ("1000", Some(1000)),
            ("0", None),
            ("1001", None),
            ("+1", None),
            ("%2B1", None),
            ("-1", None),
            ("1.0", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            let mut query = Query::parse(Some(&format!("limit={text}"))).unwrap();
            assert_eq!(query.number("limit", 1..=1000_u32).ok().flatten(), expected, "{text}");
        }
    }
}
