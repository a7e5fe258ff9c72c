//! What of a client's request goes to the server.

use http::header::CONNECTION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri};
use percent_encoding::percent_decode_str;

/// The query parameters that the sse crate takes a last event id from, which goes on as a header.
const LAST_EVENT_IDS: [&str; 3] = ["lastEventId", "last_event_id", "Last-Event-ID"];

/// Path and query, but for the parameters of these names, however they are encoded.
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

/// The headers that have these names, but for those that `connection` says are of the connection.
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
            ("/a/b%2Fc", "/a/b%2Fc"),
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
            ("//host/path?x", "//host/path?x"),
        ] {
            let uri = Uri::builder().path_and_query(uri).build().unwrap();
            assert_eq!(path_and_query(&uri, &stripped).unwrap(), expected, "{uri}");
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
