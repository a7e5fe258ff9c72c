//! Untrusted text in logs and errors.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::iter::successors;

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
        for (text, shown) in [
            ("RS256", "RS256"),
            ("it's \"Zürich\"", "it's \"Zürich\""),
            ("a\r\nb\tc\0", r"a\r\nb\tc\0"),
            ("\u{1b}[31m\u{9b}2J", r"\u{1b}[31m\u{9b}2J"),
            // The character changes the direction of the text after it.
            ("a\u{202e}b\u{2028}c", r"a\u{202e}b\u{2028}c"),
            ("", ""),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
        let exact = "x".repeat(MAX_CHARACTERS);
        assert_eq!(Escaped(&exact).to_string(), exact);
        assert_eq!(Escaped(&format!("{exact}y")).to_string(), format!("{exact}…"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("line\nend")]
    struct Endless(#[source] Option<Box<Endless>>);

    #[test]
    fn an_error_is_shown_with_its_first_causes() {
        let error = (0..20).fold(Endless(None), |cause, _| Endless(Some(Box::new(cause))));
        assert_eq!(chain(&error), [r"line\nend"; MAX_CAUSES].join(": "));
    }
}
