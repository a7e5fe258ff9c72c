//! Escapes foreign text, so that it stays one line and controls no terminal.

use std::borrow::Cow;
use std::error::Error;
use std::iter::successors;

/// Escapes the characters that end a line, control a terminal, or are invisible.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        if is_hidden(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// An error and its causes, in one line.
#[must_use]
pub fn error_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&error| error.source()) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    one_line(&text).into_owned()
}

/// Whether a character is invisible or a control character (Unicode: Cc, Zl, Zp, and those of Cf without a
/// shape).
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_rules_no_terminal() {
        for (text, expected) in [
            ("Zürich \"東京\" e\u{301} 🎉", "Zürich \"東京\" e\u{301} 🎉"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\x1b[2J\u{9b}2J", "\\u{1b}[2J\\u{9b}2J"),
            ("a\u{202e}b\u{2028}c", "a\\u{202e}b\\u{2028}c"),
        ] {
            assert_eq!(one_line(text), expected);
        }
    }
}
