//! Escapes lines of the log, since clients, peers and files determine parts of them.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::escape::{is_hidden, one_line};
use crate::telemetry::LogFormat;

/// Escapes the characters of a line that control a terminal or make it look like other text: control bytes, line
/// breaks, changes of direction, invisible characters. The end of the line stays.
pub(super) fn escaped(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    if text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(text);
    if matches!(text, Cow::Borrowed(_)) && !text.contains(is_hidden) {
        return Cow::Borrowed(line);
    }
    let mut escaped = match format {
        LogFormat::Text => one_line(&text).into_owned(),
        LogFormat::Json => String::with_capacity(line.len() + 32),
    };
    if format == LogFormat::Json {
        for character in text.chars() {
            if !is_hidden(character) {
                escaped.push(character);
                continue;
            }
            // Such characters are only within the strings of the object.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped.push('\n');
    Cow::Owned(escaped.into_bytes())
}

/// Colours the time and the level of a line of text. It runs after the escaping, which could not distinguish the
/// colours of the formatter from those in foreign text.
pub(super) fn coloured(line: &[u8]) -> Cow<'_, [u8]> {
    let parts = || {
        let (time, rest) = str::from_utf8(line).ok()?.split_once(' ')?;
        let (level, rest) = rest.split_at_checked(5)?;
        let colour = match level.trim_start() {
            "ERROR" => 31,
            "WARN" => 33,
            "INFO" => 32,
            "DEBUG" => 34,
            "TRACE" => 35,
            _ => return None,
        };
        Some(format!("\x1b[2m{time}\x1b[0m \x1b[{colour}m{level}\x1b[0m{rest}"))
    };
    parts().map_or(Cow::Borrowed(line), |line| Cow::Owned(line.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> String {
        String::from_utf8(escaped(line.as_bytes(), LogFormat::Text).into_owned()).unwrap()
    }

    #[test]
    fn a_line_of_text_is_what_it_was() {
        for line in ["a \"b\" ~\n", "Zürich 東京 e\u{301} 🎉\n", "\n", "no end"] {
            assert_eq!(text(line), line);
        }
    }

    #[test]
    fn nothing_in_a_line_ends_it_or_rules_a_terminal() {
        for (foreign, expected) in [
            ("a\nb", "a\\nb"),
            ("a\r\nb\t", "a\\r\\nb\\t"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("\0\x07\x7f", "\\u{0}\\u{7}\\u{7f}"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202e}gpj.exe\u{2066}\u{2069}", "\\u{202e}gpj.exe\\u{2066}\\u{2069}"),
            ("\u{2028}\u{200b}\u{feff}\u{e0041}", "\\u{2028}\\u{200b}\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(text(&format!("{foreign}\n")), format!("{expected}\n"));
        }
    }

    #[test]
    fn an_object_stays_one_and_means_the_same() {
        let value = serde_json::json!({ "a": "\u{202e}x\u{7f}\u{9b}\u{e0041}\n\x1b" });
        let line = format!("{value}\n");
        let shown = escaped(line.as_bytes(), LogFormat::Json);
        let shown = std::str::from_utf8(&shown).unwrap();
        assert!(
            shown.trim_end_matches('\n').bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(shown).unwrap(), value);
    }

    #[test]
    fn colours_are_those_of_the_level() {
        for (line, expected) in [
            ("2026 ERROR a WARN b\n", "\x1b[2m2026\x1b[0m \x1b[31mERROR\x1b[0m a WARN b\n"),
            ("2026  WARN a\n", "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\n"),
            ("2026  ü\n", "2026  ü\n"),
            ("text\n", "text\n"),
            ("\n", "\n"),
        ] {
            let shown = coloured(line.as_bytes());
            assert_eq!(String::from_utf8_lossy(&shown), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_none() {
        assert_eq!(&*escaped(b"a\xff\n", LogFormat::Text), "a\u{fffd}\n".as_bytes());
    }
}
