//! A pattern (first line) matches a path (the rest) exactly if a matcher that tries everything says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_route::Pattern;

fuzz_target!(|input: &str| {
    let Some((text, path)) = input.split_once('\n') else { return };
    let holes = text.bytes().filter(|byte| b"*{".contains(byte)).count();
    let Ok(pattern) = Pattern::new(text) else { return };
    if holes > 4 || path.len() > 60 {
        return;
    }
    let encoded = ["%2f", "%2F", "%00"].iter().any(|separator| path.contains(separator));
    assert_eq!(pattern.matches(path), !encoded && naive(text, &decoded(path)));
});

fn naive(pattern: &str, path: &[u8]) -> bool {
    let Some(hole) = pattern.find(['*', '{']) else { return decoded(pattern) == path };
    let Some(path) = path.strip_prefix(&*decoded(&pattern[..hole])) else { return false };
    if pattern[hole..].starts_with('*') {
        return (0..=path.len()).any(|end| naive(&pattern[hole + 1..], &path[end..]));
    }
    let rest = pattern[hole..].split_once('}').expect("the pattern is accepted").1;
    let segment = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    (1..=segment).any(|end| naive(rest, &path[end..]))
}

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.filter(|_| *first == b'%').and_then(|two| str::from_utf8(two).ok());
        out.push(byte.map_or(*first, |two| u8::from_str_radix(two, 16).expect("hex digits")));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}
