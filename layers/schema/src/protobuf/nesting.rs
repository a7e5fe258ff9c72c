//! How deep the blocks of a `.proto` file are nested.

/// The greatest depth of the braces, brackets and parentheses of a file that parses. Those in comments and strings do
/// not count: one that closes there would hide what is deep.
pub(super) fn depth(text: &str) -> usize {
    let mut depth = 0usize;
    let mut deepest = 0;
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'{' | b'[' | b'(' | b'<' => {
                depth += 1;
                deepest = deepest.max(depth);
                tail
            }
            b'}' | b']' | b')' | b'>' => {
                depth = depth.saturating_sub(1);
                tail
            }
            b'"' | b'\'' => after_string(tail, *first),
            b'#' => after_line(tail),
            b'/' if tail.first() == Some(&b'/') => after_line(tail),
            b'/' if tail.first() == Some(&b'*') => after_comment(tail.get(1..).unwrap_or_default()),
            _ => tail,
        };
    }
    deepest
}

/// A string ends with its line, too: the file does not parse then.
fn after_string(mut rest: &[u8], quote: u8) -> &[u8] {
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'"' | b'\'' | b'\\', tail @ ..]) => tail,
            (b'\n', _) => return tail,
            _ if *first == quote => return tail,
            _ => tail,
        };
    }
    rest
}

fn after_line(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.and_then(|end| rest.get(end..)).unwrap_or_default()
}

/// Comments are not nested.
fn after_comment(rest: &[u8]) -> &[u8] {
    let end = rest.windows(2).position(|bytes| bytes == b"*/");
    end.and_then(|end| rest.get(end + 2..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A part of a file, and by how much it deepens what follows.
    fn part() -> impl Strategy<Value = (String, isize)> {
        let brackets = r"[\]{}<>()\[]{0,4}";
        let inside = prop::sample::select(vec![
            "{", "}", "[", "]", "<", ">", "(", ")", "é", "//", "/*", "*/", "#", "'", "\"", "\\'",
            "\\\"", "\\\\", "\\n",
        ]);
        prop_oneof![
            prop::sample::select(vec!["{", "[", "(", "<"]).prop_map(|open| (open.to_owned(), 1)),
            prop::sample::select(vec!["}", "]", ")", ">"]).prop_map(|close| (close.to_owned(), -1)),
            r"[a-zé0-9;:=,.+\t\n -]{0,4}".prop_map(|text| (text, 0)),
            (prop::collection::vec(inside, 0..6), prop::sample::select(vec!["\"", "'"])).prop_map(
                |(inside, quote)| {
                    let inside = inside.into_iter().filter(|atom| *atom != quote);
                    (format!("{quote}{}{quote}", inside.collect::<String>()), 0)
                }
            ),
            ("(//|#)", brackets, "[\"'/*a]{0,3}")
                .prop_map(|(start, text, more)| (format!("{start}{text}{more}\n"), 0)),
            (brackets, "[\"'\n# a]{0,3}")
                .prop_map(|(text, more)| (format!("/*{text}{more}/**/"), 0)),
        ]
    }

    proptest! {
        #[test]
        fn only_what_is_neither_comment_nor_string_counts(parts in prop::collection::vec(part(), 0..40)) {
            let mut expected = 0;
            let mut depth_now = 0usize;
            let mut text = String::new();
            for (part, change) in parts {
                // A division or a fraction would begin a comment together with what follows.
                text.push(' ');
                text.push_str(&part);
                depth_now = depth_now.saturating_add_signed(change);
                expected = expected.max(depth_now);
            }
            prop_assert_eq!(depth(&text), expected, "{}", text);
        }

        #[test]
        fn any_text_has_a_depth(text in any::<String>()) {
            let brackets = text.matches(['{', '[', '(', '<']).count();
            prop_assert!(depth(&text) <= brackets);
        }
    }
}
