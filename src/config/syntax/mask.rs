//! Replaces text that the YAML parser does not accept by characters that it accepts everywhere.
//!
//! `${{env.NAME}}` is not a plain scalar in a flow list or mapping. JSON writes a character beyond U+FFFF as two
//! escapes, which YAML does not have. Both are replaced by as many private-use characters, so that places stay
//! the same. After parsing, the texts of the tree get back the original text. Variables are replaced after that,
//! so their values cannot change the tree.

/// The distance from an ASCII character to its replacement, in a private-use plane.
const BASE: u32 = 0x10_0000;
/// A replacement that stands for no character. It keeps the length of a pair of escapes.
const FILLER: char = '\u{10007f}';
/// The number of characters of a pair of escapes, as `\ud83d\ude00`.
const PAIR: usize = 12;

/// The text to parse instead of `text`. `None` if nothing has to be replaced, or if the text already contains
/// private-use characters.
pub(crate) fn mask(text: &str, json: bool) -> Option<String> {
    if text.chars().any(|character| (BASE..=u32::from(FILLER)).contains(&u32::from(character))) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    let mut quoted = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((expression, after)) = expression(rest) {
            out.extend(
                expression
                    .chars()
                    .filter_map(|character| char::from_u32(BASE + u32::from(character))),
            );
            (rest, changed) = (after, true);
            continue;
        }
        if json && quoted && first == '\\' {
            if let Some((joined, after)) = pair(rest) {
                out.push(joined);
                out.extend(std::iter::repeat_n(FILLER, PAIR - 1));
                (rest, changed) = (after, true);
                continue;
            }
            // An escaped character neither ends the string nor escapes the next one.
            let mut two = rest.chars();
            out.extend(two.by_ref().take(2));
            rest = two.as_str();
            continue;
        }
        quoted ^= first == '"';
        out.push(first);
        rest = rest.split_at(first.len_utf8()).1;
    }
    changed.then_some(out)
}

/// The original text of what [`mask`] replaced.
pub(crate) fn unmask(text: &str) -> String {
    let was = |character: char| match u32::from(character).checked_sub(BASE).map(u8::try_from) {
        Some(Ok(ascii)) if ascii.is_ascii() => char::from(ascii),
        _ => character,
    };
    text.chars().filter(|character| *character != FILLER).map(was).collect()
}

/// The expression at the start of a text, and the rest.
fn expression(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix("${{")?;
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | ' ')
    };
    let after = inside.trim_start_matches(plain).strip_prefix("}}")?;
    text.split_at_checked(text.len() - after.len())
}

/// The character of the surrogate pair at the start of a text, and the rest.
fn pair(text: &str) -> Option<(char, &str)> {
    let (pair, after) = text.split_at_checked(PAIR)?;
    let (high, low) = pair.split_at_checked(PAIR / 2)?;
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?, 16).ok();
    let joined = char::decode_utf16([unit(high)?, unit(low)?]).next()?.ok()?;
    (joined.len_utf16() == 2).then_some((joined, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_pairs_keep_their_length_and_come_back() {
        for (text, json, back) in [
            ("[${{env.A}}, ${{ env.B_1 }}]", false, "[${{env.A}}, ${{ env.B_1 }}]"),
            ("{a: ${{env.A}}}", false, "{a: ${{env.A}}}"),
            ("\u{e4}${{}}${{secrets.x}}", false, "\u{e4}${{}}${{secrets.x}}"),
            (r#""\ud83d\ude00""#, true, "\"\u{1f600}\""),
            (r#""\"\\\uD83D\uDE00""#, true, "\"\\\"\\\\\u{1f600}\""),
        ] {
            let masked = mask(text, json).unwrap();
            assert_eq!(masked.chars().count(), text.chars().count(), "{text}");
            assert!(!masked.contains("${{") && !masked.contains("\\u"), "{masked}");
            assert_eq!(unmask(&masked), back, "{text}");
        }
    }

    #[test]
    fn the_rest_stays_as_it_is() {
        for (text, json) in [
            ("", false),
            ("${params.a} {{}} ${{env.A", false),
            ("${{env.A\n}}", false),
            ("${{'a'}}", false),
            ("\u{100041} ${{env.A}}", false),
            (r#""\ud83d\ude00""#, false),
            (r#""\\ud83d\\ude00""#, true),
            (r#"\ud83d\ude00"#, true),
            (r#""\ud83d" "\ude00\ud83d" "\u0041\u0042" "\u+41\u+42" "\ud83d\u00"#, true),
        ] {
            assert_eq!(mask(text, json), None, "{text}");
        }
    }
}
