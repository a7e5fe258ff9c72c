//! Untrusted text in logs and errors.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::iter::successors;

use http::Uri;

/// The maximum number of characters of a text.
const MAX_CHARACTERS: usize = 100;
/// The maximum number of causes of an error.
const MAX_CAUSES: usize = 8;

/// Displays an untrusted text on one line, without control characters, and truncated.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_CHARACTERS) {
            match character {
                '"' | '\'' => f.write_char(character)?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// Displays a URL without its user and its query: both may be secrets.
pub(crate) struct Redacted<'a>(pub(crate) &'a Uri);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.0.scheme() {
            write!(f, "{scheme}://")?;
        }
        f.write_str(self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        Escaped(self.0.path()).fmt(f)
    }
}

/// The same of a text that is no URL. Where a `?` or `#` may be part of a password, nothing is shown.
pub(crate) fn redacted_text(text: &str) -> String {
    let shown = match text.rsplit_once('@') {
        Some((user, _)) if user.contains(['?', '#']) => "…",
        Some((_, host)) => host,
        None => text,
    };
    Escaped(shown.split(['?', '#']).next().unwrap_or_default()).to_string()
}

/// An error of another crate with its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source()).take(MAX_CAUSES);
    let causes = causes.map(|error| Escaped(&error.to_string()).to_string());
    causes.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_what_is_long_is_cut() {
        assert_eq!(
            Escaped("a\r\n\u{1b}[31m\u{202e}\"é\"").to_string(),
            r#"a\r\n\u{1b}[31m\u{202e}"é""#
        );
        let exact = "x".repeat(MAX_CHARACTERS);
        assert_eq!(Escaped(&exact).to_string(), exact);
        assert_eq!(Escaped(&format!("{exact}y")).to_string(), format!("{exact}…"));
    }

    #[test]
    fn a_url_is_shown_without_its_user_and_its_query() {
        for (uri, shown) in [
            ("https://registry.example.com/apis", "https://registry.example.com/apis"),
            ("http://name:secret@[::1]:8081?token=secret", "http://[::1]:8081/"),
        ] {
            assert_eq!(Redacted(&uri.parse().unwrap()).to_string(), shown, "{uri}");
        }
        for (text, shown) in [
            ("https://name:sec/ret@ho st?token=secret", "ho st"),
            ("https://name:sec#ret@host/", "…"),
            ("https://ho st/?token=sec@ret", "…"),
            ("ho st/?token=secret", "ho st/"),
        ] {
            assert_eq!(redacted_text(text), shown);
        }
    }
}
