//! Any text is a pattern, or is refused at a place in it; a pattern matches what its holes are filled with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_route::{Error, Pattern};

fuzz_target!(|text: &str| {
    let pattern = match Pattern::new(text) {
        Ok(pattern) => pattern,
        Err(Error::Start(whole)) => return assert_eq!(whole, text),
        Err(Error::Name { at, .. } | Error::Duplicate { at, .. }) => {
            return assert_eq!(text.as_bytes()[at], b'{');
        }
        Err(
            Error::Unclosed(at)
            | Error::Unopened(at)
            | Error::Nameless(at)
            | Error::Adjacent(at)
            | Error::Query(at)
            | Error::Separator(at),
        ) => return assert!(text.is_char_boundary(at) && at < text.len()),
        Err(error) => panic!("not an error of a path pattern: {error}"),
    };
    assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));

    // `~`, so that what the holes part does not become a percent-encoding.
    let mut path = text.replace('*', "~");
    for name in pattern.names() {
        path = path.replace(&format!("{{{name}}}"), "~");
    }
    assert!(pattern.matches(&path), "{path}");
    assert!(Pattern::multi_segment(text).is_ok_and(|spanning| spanning.matches(&path)), "{path}");
});
