use crate::Error;

/// A text that contains `{credentials}` once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    before: Box<str>,
    after: Box<str>,
}

const CREDENTIALS: &str = "{credentials}";

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Result<Self, Error> {
        match pattern.split_once(CREDENTIALS) {
            Some((before, after)) if !after.contains(CREDENTIALS) => {
                Ok(Self { before: before.into(), after: after.into() })
            }
            _ => Err(Error::Pattern(pattern.to_owned())),
        }
    }

    /// `Bearer {credentials}`.
    pub(crate) fn bearer() -> Self {
        Self { before: "Bearer ".into(), after: "".into() }
    }

    /// The credentials of a value that matches the pattern. Empty credentials do not match.
    pub(crate) fn exact<'a>(&self, value: &'a str) -> Option<&'a str> {
        let rest = value.strip_prefix(&*self.before)?;
        rest.strip_suffix(&*self.after).filter(|found| !found.is_empty())
    }

    /// The same for the value of a header. A scheme before the first space is compared without regard to case
    /// (RFC 9110, 11.1), and any number of spaces may follow it.
    pub(crate) fn with_scheme<'a>(&self, value: &'a str) -> Option<&'a str> {
        let Some((scheme, before)) = self.before.split_once(' ') else { return self.exact(value) };
        let (known, rest) = value.split_once(' ')?;
        if !known.eq_ignore_ascii_case(scheme) {
            return None;
        }
        let rest = rest.trim_start_matches(' ').strip_prefix(before.trim_start_matches(' '))?;
        rest.strip_suffix(&*self.after).filter(|found| !found.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_holds_its_credentials_once() {
        for pattern in ["", "Bearer", "{credential}", "{credentials}{credentials}", "{credentials"]
        {
            assert_eq!(Pattern::new(pattern), Err(Error::Pattern(pattern.to_owned())));
        }
    }

    #[test]
    fn a_scheme_is_compared_without_case_and_the_rest_with_it() {
        let rows = [
            ("Bearer {credentials}", "Bearer abc", Some("abc")),
            ("Bearer {credentials}", "bearer abc", Some("abc")),
            ("bearer {credentials}", "BEARER   abc", Some("abc")),
            ("Bearer {credentials}", "Bearer", None),
            ("Bearer {credentials}", "Bearer ", None),
            ("Bearer {credentials}", "Bearerabc", None),
            ("Bearer {credentials}", "Basic abc", None),
            ("Bearer {credentials}", " Bearer abc", None),
            ("Token t={credentials};", "token t=abc;", Some("abc")),
            ("Token t={credentials};", "token T=abc;", None),
            ("Token t={credentials};", "token t=abc", None),
            ("t={credentials}", "t=abc", Some("abc")),
            ("t={credentials}", "T=abc", None),
            ("{credentials}", "abc", Some("abc")),
            ("{credentials}", "", None),
            ("aa{credentials}aa", "aaa", None),
        ];
        for (pattern, value, found) in rows {
            let parsed = Pattern::new(pattern).unwrap();
            assert_eq!(parsed.with_scheme(value), found, "{pattern} of {value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_found(before in "[a-z=]{0,4}", after in "[;.]{0,3}", token in "[A-Za-z0-9_.-]{1,40}") {
            let pattern = Pattern::new(&format!("{before}{{credentials}}{after}")).unwrap();
            let value = format!("{before}{token}{after}");
            prop_assert_eq!(pattern.exact(&value), Some(&*token));
            prop_assert_eq!(pattern.with_scheme(&value), Some(&*token));
        }

        #[test]
        fn what_is_found_makes_the_value_again(pattern in "[Aa ]{0,3}\\{credentials\\}[Aa ]{0,3}", value in "[Aa ]{0,9}") {
            let (before, after) = pattern.split_once("{credentials}").unwrap();
            let parsed = Pattern::new(&pattern).unwrap();
            match parsed.exact(&value) {
                Some(found) => prop_assert_eq!(format!("{before}{found}{after}"), value),
                None => prop_assert!(
                    value.len() <= before.len() + after.len() || !value.starts_with(before) || !value.ends_with(after)
                ),
            }
        }
    }
}
