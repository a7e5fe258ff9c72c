use std::io::Write;

use memchr::{memchr2, memchr3};

use crate::EventRef;

/// Appends an event to `out`, with the empty line that dispatches it.
///
/// The `id` field is the last one. Some clients remember an id as soon as they have read its line, and
/// would lose an event that is cut off after it. An event without fields is an empty line.
///
/// ```
/// use tailwater_sse::{Event, encode_event};
///
/// let mut out = Vec::new();
/// encode_event(&Event::data("a\r\n b").id("AQQC"), &mut out);
/// assert_eq!(out, b"data:a\ndata:  b\nid:AQQC\n\n");
/// ```
pub fn encode_event<'a>(event: impl Into<EventRef<'a>>, out: &mut Vec<u8>) {
    event_fields(&event.into(), out);
    out.push(b'\n');
}

fn event_fields(event: &EventRef<'_>, out: &mut Vec<u8>) {
    // Space for the names, colons and line ends of an event with one line of data.
    const FRAME: usize = 64;
    let payload = [event.event, event.data, event.id]
        .iter()
        .flatten()
        .map(|field| field.len())
        .sum::<usize>();
    out.reserve(payload + FRAME);

    if let Some(timestamp) = event.timestamp {
        writeln!(out, "timestamp:{timestamp:#x}").expect("writing to a Vec does not fail");
    }
    if let Some(name) = event.event {
        let (name, _) = split_line(name).unwrap_or((name, &[]));
        field(b"event:", name, out);
    }
    if let Some(data) = event.data {
        lines(data, |line| field(b"data:", line, out));
    }
    if let Some(id) = event.id {
        id_field(id, out);
    }
}

/// Encodes the `data` fields of an event piece by piece, if the payload is too long to be encoded at once.
///
/// ```
/// use tailwater_sse::DataFields;
///
/// let mut fields = DataFields::default();
/// let mut out = Vec::new();
/// while !fields.encode(b"a\r\n b", 4, &mut out) {}
/// assert_eq!(out, b"data:a\ndata:  b\n"); // as encode_event writes them
/// ```
#[derive(Clone, Debug, Default)]
pub struct DataFields {
    /// The number of bytes of the payload that are encoded.
    at: usize,
    /// The name of the first field was written.
    is_begun: bool,
}

impl DataFields {
    /// Appends about `limit` more bytes. `data` must be the same at each call. Returns true after the last
    /// field. The cost depends on the bytes that are appended, not on their place in `data`.
    pub fn encode(&mut self, data: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        let mut rest = data.get(self.at..).unwrap_or_default();
        let end = out.len().saturating_add(limit.max(1));
        if !std::mem::replace(&mut self.is_begun, true) {
            out.extend_from_slice(b"data:");
            double_space(rest, out);
        }
        let is_last = loop {
            let left = end.saturating_sub(out.len());
            if left == 0 {
                break false;
            }
            let part = &rest[..rest.len().min(left)];
            let Some(line) = line_bytes(part) else {
                out.extend_from_slice(part);
                rest = &rest[part.len()..];
                if rest.is_empty() {
                    out.push(b'\n');
                    break true;
                }
                continue;
            };
            out.extend_from_slice(&part[..line]);
            rest = match &rest[line..] {
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
            // One write for the end of this line and the name of the next field halves the time for empty
            // lines.
            out.extend_from_slice(b"\ndata:");
            double_space(rest, out);
        };
        self.at = data.len() - rest.len();
        is_last
    }
}

/// The length of the first line of `text`, if the line ends there.
fn line_bytes(text: &[u8]) -> Option<usize> {
    // In so few bytes a loop is faster than a call of memchr.
    const SHORT: usize = 8;
    let short = &text[..text.len().min(SHORT)];
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    short.iter().position(is_end).or_else(|| {
        let end = memchr2(b'\r', b'\n', text.get(SHORT..)?)?;
        Some(SHORT + end)
    })
}

/// Clients remove one leading space of a value.
fn double_space(value: &[u8], out: &mut Vec<u8>) {
    if value.first() == Some(&b' ') {
        out.push(b' ');
    }
}

/// Appends an id-only block to `out`: clients remember the id and dispatch nothing. Appends nothing if `id`
/// contains CR, LF or NUL.
pub fn encode_id(id: &[u8], out: &mut Vec<u8>) {
    if id_field(id, out) {
        out.push(b'\n');
    }
}

/// Appends a comment line for each line of `text`, without an empty line after it.
pub fn encode_comment(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    // Clients do not remove a leading space of a comment.
    lines(text, |line| {
        out.push(b':');
        out.extend_from_slice(line);
        out.push(b'\n');
    });
}

fn id_field(id: &[u8], out: &mut Vec<u8>) -> bool {
    let sound = memchr3(b'\r', b'\n', 0, id).is_none();
    if sound {
        field(b"id:", id, out);
    }
    sound
}

fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    double_space(value, out);
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Calls `line` for each line of `text`. After a line end at the end of `text` there is one more line,
/// which is empty.
fn lines(mut text: &[u8], mut line: impl FnMut(&[u8])) {
    while let Some((first, rest)) = split_line(text) {
        line(first);
        text = rest;
    }
    line(text);
}

/// The first line without its line end (HTML 9.2.5: CRLF, LF or CR), and the text after it. `None` if there
/// is no line end.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr2(b'\r', b'\n', text)?;
    let (line, rest) = text.split_at(end);
    let rest = rest.strip_prefix(b"\r\n").unwrap_or_else(|| rest.get(1..).unwrap_or_default());
    Some((line, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(event: EventRef<'_>) -> String {
        let mut out = Vec::new();
        encode_event(event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_stand_in_order_with_the_id_last() {
        let event = EventRef {
            timestamp: Some(1_700_000_000_000),
            event: Some(b"delete"),
            data: Some(b"x"),
            id: Some(b"AQQC"),
        };
        assert_eq!(encoded(event), "timestamp:0x18bcfe56800\nevent:delete\ndata:x\nid:AQQC\n\n");
    }

    #[test]
    fn data_is_split_at_every_line_end_of_the_grammar() {
        for (data, wire) in [
            ("", "data:\n\n"),
            ("a", "data:a\n\n"),
            ("a\nb", "data:a\ndata:b\n\n"),
            ("a\rb", "data:a\ndata:b\n\n"),
            ("a\r\nb", "data:a\ndata:b\n\n"),
            ("a\n\rb", "data:a\ndata:\ndata:b\n\n"),
            ("a\r\r\nb", "data:a\ndata:\ndata:b\n\n"),
            ("\n", "data:\ndata:\n\n"),
            ("a\r", "data:a\ndata:\n\n"),
            ("a\r\n", "data:a\ndata:\n\n"),
            (
                "x\rid:forged\r\revent:forged",
                "data:x\ndata:id:forged\ndata:\ndata:event:forged\n\n",
            ),
        ] {
            assert_eq!(
                encoded(EventRef { data: Some(data.as_bytes()), ..EventRef::default() }),
                wire,
                "{data:?}"
            );
        }
    }

    #[test]
    fn fields_that_are_encoded_piece_by_piece_are_the_same() {
        for data in
            ["", "a", " a", "a\nb", "a\r\n b\r\n", "\r\r\n\n", "a\r", "  \n  ", "abcdefgh\r\nij"]
        {
            for limit in [0, 1, 2, 3, 7, 100] {
                let mut fields = DataFields::default();
                let mut out = Vec::new();
                loop {
                    let before = out.len();
                    let ended = fields.encode(data.as_bytes(), limit, &mut out);
                    assert!(out.len() - before <= limit.max(1) + 7, "{data:?} {limit}");
                    if ended {
                        break;
                    }
                }
                let expected =
                    encoded(EventRef { data: Some(data.as_bytes()), ..EventRef::default() });
                assert_eq!(String::from_utf8(out).unwrap() + "\n", expected, "{data:?} {limit}");
            }
        }
    }

    #[test]
    fn a_leading_space_is_doubled() {
        let event = EventRef {
            timestamp: None,
            event: Some(b" e"),
            data: Some(b" a\n\tb\n  c"),
            id: Some(b" i"),
        };
        assert_eq!(encoded(event), "event:  e\ndata:  a\ndata:\tb\ndata:   c\nid:  i\n\n");
    }

    #[test]
    fn an_id_with_a_line_end_or_nul_is_left_out() {
        for id in [&b"a\rb"[..], b"a\nb", b"a\0b", b"\r\n", b"\0"] {
            assert_eq!(
                encoded(EventRef { data: Some(b"x"), id: Some(id), ..EventRef::default() }),
                "data:x\n\n",
                "{id:?}"
            );
            let mut out = Vec::new();
            encode_id(id, &mut out);
            assert_eq!(out, b"", "{id:?}");
        }
    }

    #[test]
    fn an_event_type_ends_at_a_line_end() {
        for name in ["tick\rdata:forged", "tick\n\ndata:forged", "tick\r\nid:forged"] {
            assert_eq!(
                encoded(EventRef { event: Some(name.as_bytes()), ..EventRef::default() }),
                "event:tick\n\n",
                "{name:?}"
            );
        }
    }

    #[test]
    fn an_id_block_has_nothing_but_the_id() {
        let mut out = Vec::new();
        encode_id(b"AQQC", &mut out);
        encode_id(b"", &mut out);
        assert_eq!(out, b"id:AQQC\n\nid:\n\n");
    }

    #[test]
    fn comments_are_split_at_line_ends_and_end_no_event() {
        for (text, wire) in
            [("", ":\n"), ("a b", ":a b\n"), (" a\rdata:b\r\nc\n\nd", ": a\n:data:b\n:c\n:\n:d\n")]
        {
            let mut out = Vec::new();
            encode_comment(text.as_bytes(), &mut out);
            assert_eq!(out, wire.as_bytes(), "{text:?}");
        }
    }
}
