//! The form in which paths and path patterns are compared: percent-decoded once.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The position of the first encoded `/` or NUL.
pub(crate) fn separator(path: &[u8]) -> Option<usize> {
    path.windows(3).position(is_separator)
}

/// The path percent-decoded. An encoded `/` or NUL stays encoded, so that each `/` of the result
/// separates segments. Invalid percent-encoding stays as it is.
pub(crate) fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if separator(path).is_none() {
        return percent_decode(path).into();
    }
    let mut escaped = Vec::with_capacity(path.len() + 2);
    for (at, byte) in path.iter().enumerate() {
        escaped.push(*byte);
        if path.get(at..at + 3).is_some_and(is_separator) {
            escaped.extend_from_slice(b"25"); // `%2F` as `%252F`, which decodes to `%2F`
        }
    }
    Cow::Owned(percent_decode(&escaped).collect())
}

fn is_separator(bytes: &[u8]) -> bool {
    matches!(bytes, b"%2F" | b"%2f" | b"%00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_decoded_once_and_keeps_its_segments() {
        for (path, expected) in [
            ("/events", "/events"),
            ("/%65vents", "/events"),
            ("/%2565vents", "/%65vents"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb%20c", "/a%2fb c"),
            ("/a%00b", "/a%00b"),
            ("/100%", "/100%"),
            ("/100%25", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%%2F", "/%%2F"),
        ] {
            assert_eq!(decoded(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
