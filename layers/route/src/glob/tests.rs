use proptest::prelude::*;

use super::*;

fn find(pattern: &str, kind: Kind, text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let ranges = Glob::parse(pattern, 0, kind).unwrap().find(text)?;
    Some(ranges.into_iter().map(|range| text.get(range).unwrap().to_vec()).collect())
}

fn found(pattern: &str, kind: Kind, text: &str) -> Option<Vec<String>> {
    let values = find(pattern, kind, text.as_bytes())?;
    Some(values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect())
}

fn strings(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn each_part_takes_as_much_as_it_can() {
    for (pattern, text, expected) in [
        ("/a", "/a", Some(vec![])),
        ("/a", "/ab", None),
        ("", "", Some(vec![])),
        ("*", "", Some(vec![])),
        ("**", "/a/b", Some(vec![])),
        ("/a*b/c", "/ab/c", Some(vec![])),
        ("/a*b/c", "/a/x/b/c", Some(vec![])),
        ("/a*b/c", "/a/c", None),
        ("/ab*ba", "/aba", None), // both ends may not share a byte
        ("/{x}", "/7", Some(vec!["7"])),
        ("/{x}", "/", None),
        ("/{x}", "/7/", None),
        ("/{x}/b/{y}", "/a/b/c", Some(vec!["a", "c"])),
        ("/{x}/b/{y}", "/a/b/", None),
        ("/{x}.json", "/a.json.json", Some(vec!["a.json"])),
        ("/{x}-{y}", "/a-b-c", Some(vec!["a-b", "c"])),
        ("/*-{y}", "/a-b-c", Some(vec!["c"])),
        ("/{x}*", "/a/b", Some(vec!["a"])),
        ("*/{x}", "/a/b", Some(vec!["b"])),
        ("*{x}", "/a/b", Some(vec!["b"])),
        ("/{x}/*/{y}", "/a/b/c/d", Some(vec!["a", "d"])),
    ] {
        let expected = expected.and_then(|expected: Vec<&str>| strings(&expected));
        assert_eq!(found(pattern, Kind::Path, text), expected, "{pattern} {text}");
    }
}

#[test]
fn parameter_of_text_or_of_a_spanning_path_takes_slashes() {
    for kind in [Kind::Text, Kind::MultiSegmentPath] {
        assert_eq!(found("/{x}", kind, "/a/b"), strings(&["a/b"]));
        assert_eq!(found("/{x}/{y}", kind, "/a/b/c"), strings(&["a/b", "c"]));
        assert_eq!(found("/{x}", kind, "/"), None);
    }
}

#[test]
fn hostile_text_takes_time_in_proportion_to_its_length_times_the_pattern() {
    // A backtracking matcher takes some 10^40 steps here.
    let text = "a".repeat(32 * 1024);
    let pattern = format!("{}b", "*a".repeat(12));
    assert_eq!(found(&pattern, Kind::Path, &text), None);
    let pattern = format!("{}*c*", "*a{x}b".replace('b', "a"));
    assert_eq!(found(&pattern, Kind::Path, &text), None);
}

/// All ways to match, tried in the order of the definition: longest first, from left to right.
fn naive(pattern: &[u8], text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty().then(Vec::new) };
    let mut longest_first = (0..=text.len()).rev().map(|end| text.split_at(end));
    match first {
        b'*' => longest_first.find_map(|(_, after)| naive(rest, after)),
        b'{' => longest_first.find_map(|(value, after)| {
            let end = rest.iter().position(|byte| *byte == b'}')?;
            let mut values = naive(rest.get(end + 1..)?, after)?;
            values.insert(0, value.to_vec());
            (!value.is_empty() && !value.contains(&b'/')).then_some(values)
        }),
        literal => naive(rest, text.strip_prefix(&[*literal])?),
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "/", "*", "{", "é", "ab"]);
    prop::collection::vec(part, 0..9).prop_map(|parts| {
        let named = parts.iter().enumerate().map(|(at, part)| match *part {
            "{" => format!("{{n{at}}}"),
            other => other.to_owned(),
        });
        named.collect::<String>().replace("}{", "}/{")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_naive_matcher(pattern in pattern(), text in "[ab/é]{0,9}") {
        let expected = naive(pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(find(&pattern, Kind::Path, text.as_bytes()), expected);
    }

    #[test]
    fn any_pattern_and_any_bytes_are_survived(pattern in "[/*{}a%?2F0é]{0,12}", text: Vec<u8>) {
        for kind in [Kind::Path, Kind::MultiSegmentPath, Kind::Text, Kind::Lowercase] {
            if let Ok(glob) = Glob::parse(&pattern, 0, kind)
                && let Some(ranges) = glob.find(&text)
            {
                prop_assert_eq!(ranges.len(), glob.names().len());
                for range in ranges {
                    prop_assert!(text.get(range).is_some_and(|value| !value.is_empty()));
                }
            }
        }
    }
}
