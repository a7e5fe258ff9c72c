//! Reads the last event id and the accepted media types from the head of a request.

use bytes::Bytes;
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The query parameters from which [`Sse`](crate::Sse) takes a last event id, by descending priority. A
/// proxy that forwards the id as a header removes them.
pub const LAST_EVENT_IDS: [&str; 3] = ["lastEventId", "last_event_id", "Last-Event-ID"];

/// The last event id of the header, else that of the query. An empty id is none.
pub(crate) fn last_event_id(parts: &Parts) -> Option<Bytes> {
    let header =
        parts.headers.get(LAST_EVENT_ID).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    header.filter(|id| !id.is_empty()).or_else(|| from_query(parts.uri.query()?.as_bytes()))
}

/// A `+` is a plus, not a space: ids are often pasted as they were received, and `URLSearchParams` and
/// `encodeURIComponent` write a plus as `%2B`.
fn from_query(query: &[u8]) -> Option<Bytes> {
    LAST_EVENT_IDS.iter().find_map(|wanted| {
        query.split(|byte| *byte == b'&').find_map(|parameter| {
            let (name, value) =
                parameter.split_at_checked(parameter.iter().position(|byte| *byte == b'=')?)?;
            let value = value.strip_prefix(b"=")?;
            (percent_decode(name).eq(wanted.bytes()) && !value.is_empty())
                .then(|| percent_decode(value).collect())
        })
    })
}

/// Whether one of the accepted media ranges is `text/event-stream;ext=timestamp`. The rest of `accept` is
/// ignored: the response is always an event stream.
pub(crate) fn timestamps(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|range| {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"text/event-stream"))
                && parts.any(is_ext_timestamp)
        })
}

fn is_ext_timestamp(parameter: &[u8]) -> bool {
    let mut halves = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    let (Some(name), Some(value)) = (halves.next(), halves.next()) else { return false };
    let value =
        value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    name.eq_ignore_ascii_case(b"ext") && value.eq_ignore_ascii_case(b"timestamp")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn id(uri: &str, headers: &[&[u8]]) -> Option<Bytes> {
        let mut request = Request::builder().uri(uri);
        for header in headers {
            request = request.header(LAST_EVENT_ID, *header);
        }
        last_event_id(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_last_event_id_is_the_headers_or_the_querys() {
        for (uri, headers, expected) in [
            ("/", &[][..], None),
            ("/", &[&b"AQQABAIC"[..]], Some(&b"AQQABAIC"[..])),
            ("/", &[b""], None),
            ("/", &[b"\xE2\x80\xA6"], Some(b"\xE2\x80\xA6")),
            (
                "/",
                &[br#"["a2V5","AQQABAIC/revision=42"]"#],
                Some(br#"["a2V5","AQQABAIC/revision=42"]"#),
            ),
            ("/?lastEventId=query", &[b"header"], Some(b"header")),
            ("/?lastEventId=query", &[b""], Some(b"query")),
            ("/?lastEventId=AQIAAg==", &[], Some(b"AQIAAg==")),
            ("/?lastEventId=AQIAAg%3D%3D%2Frevision%3d42", &[], Some(b"AQIAAg==/revision=42")),
            ("/?lastEventId=%5B%22a%22,%22b%22%5D", &[], Some(br#"["a","b"]"#)),
            ("/?last_event_id=a", &[], Some(b"a")),
            ("/?Last-Event-ID=a", &[], Some(b"a")),
            ("/?last%45ventId=a", &[], Some(b"a")),
            ("/?Last-Event-ID=c&last_event_id=b&x=1&lastEventId=a", &[], Some(b"a")),
            ("/?lastEventId=&last_event_id=b", &[], Some(b"b")),
            ("/?lastEventId=", &[], None),
            ("/?lastEventId", &[], None),
            ("/?lasteventid=a", &[], None),
            ("/?xlastEventId=a&lastEventIdx=a", &[], None),
            ("/?lastEventId=a+b%2Bc", &[], Some(b"a+b+c")),
            ("/?lastEventId=%FF%00%0", &[], Some(b"\xFF\0%0")),
        ] {
            assert_eq!(id(uri, headers).as_deref(), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn timestamps_are_asked_for_by_a_parameter_of_the_media_type() {
        for (accept, expected) in [
            (&[][..], false),
            (&["text/event-stream"][..], false),
            (&["text/event-stream;ext=timestamp"], true),
            (&["Text/Event-Stream ; Ext = Timestamp"], true),
            (&["text/event-stream;ext=\"timestamp\""], true),
            (&["text/event-stream;charset=utf-8;ext=timestamp;q=0.9"], true),
            (&["text/html, text/event-stream;ext=timestamp, */*;q=0.1"], true),
            (&["text/html", "text/event-stream;ext=timestamp"], true),
            (&["text/html;ext=timestamp, text/event-stream"], false),
            (&["text/event-stream;ext=timestamps"], false),
            (&["text/event-stream;ext"], false),
            (&["text/event-stream,ext=timestamp"], false),
            (&[";;,=,"], false),
        ] {
            let mut headers = HeaderMap::new();
            for accept in accept {
                headers.append(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(timestamps(&headers), expected, "{accept:?}");
        }
    }
}
