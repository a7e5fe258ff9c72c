//! The parts of a client's request that are sent to the server.

use std::borrow::Cow;

use http::header::CONNECTION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri};
use percent_encoding::percent_decode_str;
use tailwater_sse::LAST_EVENT_IDS;

/// Path and query, without the parameters with these names and without those for the last event id,
/// which is forwarded as a header. The names are compared after decoding.
pub(crate) fn path_and_query(uri: &Uri, stripped: &[String]) -> Option<PathAndQuery> {
    let path = uri.path();
    let Some(query) = uri.query() else { return path.parse().ok() };
    let stays = |parameter: &&str| {
        let name = parameter.split_once('=').map_or(*parameter, |(name, _)| name);
        let is = |other: &str| percent_decode_str(name).eq(other.bytes());
        !LAST_EVENT_IDS.iter().any(|name| is(name)) && !stripped.iter().any(|name| is(name))
    };
    let query = query.split('&').filter(stays).collect::<Vec<_>>().join("&");
    if query.is_empty() { path.parse().ok() } else { format!("{path}?{query}").parse().ok() }
}

/// The part of the path because of which a server may interpret it as another path. The routes in front of
/// the server do not: where a server resolves `..`, or treats `\` as `/`, a client could bypass a guard
/// with `/open/../guarded`.
pub(crate) fn ambiguity(path: &str) -> Option<&'static str> {
    let Some(mut segments) = path.strip_prefix('/').map(|path| path.split('/').peekable()) else {
        return Some("no `/` at its start");
    };
    while let Some(segment) = segments.next() {
        let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
        // Tomcat removes the parameters of a segment before it resolves dot segments.
        let name = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
        if matches!(name, b"." | b"..") {
            return Some("a dot segment");
        }
        if decoded.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
            return Some("a backslash or an encoded slash");
        }
        if decoded.iter().any(u8::is_ascii_control) {
            return Some("a control character");
        }
        if decoded.is_empty() && segments.peek().is_some() {
            return Some("an empty segment before its last");
        }
    }
    None
}

/// Copies the headers with these names, except for those that the `connection` header lists.
pub(crate) fn headers(from: &HeaderMap, names: &[HeaderName], to: &mut HeaderMap) {
    let of_connection = |name: &HeaderName| {
        from.get_all(CONNECTION).iter().any(|value| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_ref()))
        })
    };
    for name in names.iter().filter(|name| !of_connection(name)) {
        for value in from.get_all(name) {
            to.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_query_goes_on_but_for_ids_and_what_is_stripped() {
        let stripped = ["access_token".to_owned(), "a b".to_owned()];
        for (uri, expected) in [
            ("/", "/"),
            ("/a%20b/c", "/a%20b/c"),
            ("/?", "/"),
            ("/?x=1&y=%26&z", "/?x=1&y=%26&z"),
            ("/?x=1&access_token=secret&y=2", "/?x=1&y=2"),
            ("/?access_token=secret", "/"),
            ("/?access_token", "/"),
            ("/?access_token=a&access_token=b=c", "/"),
            ("/?access%5Ftoken=secret&%61%63cess_token=secret", "/"),
            ("/?a%20b=secret", "/"),
            ("/?access_tokens=1&Access_Token=2", "/?access_tokens=1&Access_Token=2"),
            ("/?lastEventId=7&x=1&last_event_id=8&Last-Event-ID=9&last%45ventId=1", "/?x=1"),
        ] {
            let uri = Uri::builder().path_and_query(uri).build().unwrap();
            assert_eq!(path_and_query(&uri, &stripped).unwrap(), expected, "{uri}");
        }
    }

    #[test]
    fn a_path_that_a_server_may_read_as_another_is_ambiguous() {
        let dot = Some("a dot segment");
        let slash = Some("a backslash or an encoded slash");
        let control = Some("a control character");
        let empty = Some("an empty segment before its last");
        let start = Some("no `/` at its start");
        for (path, expected) in [
            ("/", None),
            ("/a/", None),
            ("/a.b/..c/...", None),
            ("/a../.b/c./.../%2e%2e%2e", None),
            ("/a%20b", None),
            ("/%E2%80%A6/\u{2026}", None),
            ("/a;b=..;c/d;/;e", None),
            // Decoded once, as routes do.
            ("/%252e%252e/%252F", None),
            // No encoding, but text.
            ("/a%/b%2/%zz", None),
            ("/.", dot),
            ("/..", dot),
            ("/a/./b", dot),
            ("/public/../private/x", dot),
            ("/public/..", dot),
            ("/public/%2e%2E/private/x", dot),
            ("/public/.%2e/private/x", dot),
            ("/public/%2e/private/x", dot),
            ("/public/..;/private/x", dot),
            ("/public/..;a=b/private/x", dot),
            ("/public/..%3B/private/x", dot),
            ("/public/.;/private/x", dot),
            ("/public/..%5cprivate/x", slash),
            ("/public/..%5C..%5Cprivate", slash),
            ("/public/..\\private/x", slash),
            ("/public/a\\b", slash),
            ("/public/..%2fprivate/x", slash),
            ("/public%2F..%2Fprivate/x", slash),
            ("/a%2Fb", slash),
            ("/a%00b", control),
            ("/..%00/b", control),
            ("/a%0D%0Ab", control),
            ("/a%1f", control),
            ("/a%7F", control),
            ("/a\u{7f}", control),
            ("//", empty),
            ("//a", empty),
            ("/a//b", empty),
            ("/a//", empty),
            ("*", start),
            ("", start),
        ] {
            assert_eq!(ambiguity(path), expected, "{path}");
        }
    }

    #[test]
    fn headers_go_on_by_name_unless_they_are_of_the_connection() {
        let mut from = HeaderMap::new();
        for (name, value) in [
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x-hop", "c"),
            ("authorization", "Bearer secret"),
            ("connection", "close, X-Hop"),
        ] {
            from.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let names = ["x-tenant", "x-hop", "x-other"].map(HeaderName::from_static);
        let mut to = HeaderMap::new();
        headers(&from, &names, &mut to);
        assert_eq!(to.get_all("x-tenant").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(to.len(), 2, "{to:?}");
    }
}
