use std::fmt::Write as _;

use base64::Engine as _;

use crate::progress::{BASE64, decode_progress};

/// The format of event ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventIdFormat {
    /// `PROGRESS`, or `PROGRESS/etag` if the record has a header `etag`. The default.
    #[default]
    Etag,
    /// `["base64(key)","PROGRESS/etag"]`, with `null` if the record has no key.
    KeyAndEtag,
}

/// A decoded last event id: the next offset of each partition, in ascending order of partitions.
///
/// All formats are decoded: with and without an etag, and within an array. An id is a position and never a
/// permission.
///
/// ```
/// use tailwater_kafka_types::EventId;
///
/// let id = EventId::decode(br#"["a2V5","AQQABAIC/revision=42"]"#).expect("a well-formed id");
/// assert_eq!(id.offsets(), [(0, 2), (1, 1)]);
/// assert_eq!(EventId::decode(b"yesterday"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId(Vec<(i32, i64)>);

impl EventId {
    /// Decodes an id. `None` if it is not an id of tailwater or Zilla.
    #[must_use]
    pub fn decode(id: &[u8]) -> Option<Self> {
        let text = match id.trim_ascii().strip_prefix(b"[") {
            Some(array) => second_element(array)?,
            None => id.trim_ascii(),
        };
        let progress = text.split(|byte| *byte == b'/').next()?;
        decode_progress(progress).map(Self)
    }

    /// The partitions and their next offsets, in ascending order of partitions. The offset -2 is the beginning of
    /// the partition, and -1 the end.
    #[must_use]
    pub fn offsets(&self) -> &[(i32, i64)] {
        &self.0
    }
}

/// The second element of `[null|"base64","…"]`, with its escapes. Only the etag, which comes after the progress,
/// can have escapes. The bytes need not be UTF-8.
fn second_element(array: &[u8]) -> Option<&[u8]> {
    let array = array.trim_ascii_start();
    let rest = match array.strip_prefix(b"null") {
        Some(rest) => rest,
        None => {
            let key = array.strip_prefix(b"\"")?;
            let end = key.iter().position(|byte| *byte == b'"')?;
            key.get(end + 1..)?
        }
    };
    let rest = rest.trim_ascii_start().strip_prefix(b",")?.trim_ascii();
    rest.strip_prefix(b"\"")?.strip_suffix(b"]")?.trim_ascii_end().strip_suffix(b"\"")
}

impl EventIdFormat {
    /// The maximum length of an id as its client sends it back, unless the progress alone is longer. The head of
    /// a request may have 32 KiB in all.
    pub const MAX_BYTES: usize = 4096;

    /// Appends the id of a record to `out`. `progress` is the position after the record
    /// ([`encode_progress`](crate::encode_progress)), `etag` the value of the record's `etag` header.
    ///
    /// An etag is left out if the header `Last-Event-ID` could not return it: if it has control characters that
    /// are not escaped, or white space at its end. If the id is longer than [`MAX_BYTES`](Self::MAX_BYTES), the
    /// etag is left out first, and then the key, since an id without its key means that the record has none.
    pub fn encode(
        self,
        progress: &str,
        key: Option<&[u8]>,
        etag: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let etag = etag.filter(|etag| etag.len() <= Self::MAX_BYTES && may_stand(self, etag));
        let key = key.filter(|key| key.len() <= Self::MAX_BYTES);
        let start = out.len();
        for (key, etag) in [(key, etag), (key, None), (None, etag), (None, None)] {
            out.truncate(start);
            write(self, progress, key, etag, out);
            if returned_bytes(&out[start..]) <= Self::MAX_BYTES {
                return;
            }
        }
    }
}

/// Whether an etag in this form can be part of an id.
fn may_stand(form: EventIdFormat, etag: &[u8]) -> bool {
    match form {
        // RFC 9110, 5.5: no header has control characters but the tab, and its value is trimmed.
        EventIdFormat::Etag => {
            let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            !etag.iter().any(is_control) && !matches!(etag.last(), Some(b' ' | b'\t'))
        }
        EventIdFormat::KeyAndEtag => !etag.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
    }
}

fn write(
    form: EventIdFormat,
    progress: &str,
    key: Option<&[u8]>,
    etag: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    match form {
        EventIdFormat::Etag => {
            out.extend_from_slice(progress.as_bytes());
            if let Some(etag) = etag {
                out.push(b'/');
                out.extend_from_slice(etag);
            }
        }
        EventIdFormat::KeyAndEtag => {
            match key {
                Some(key) => {
                    out.extend_from_slice(b"[\"");
                    out.extend_from_slice(BASE64.encode(key).as_bytes());
                    out.extend_from_slice(b"\",\"");
                }
                None => out.extend_from_slice(b"[null,\""),
            }
            out.extend_from_slice(progress.as_bytes());
            if let Some(etag) = etag {
                out.push(b'/');
                escape(etag, out);
            }
            out.extend_from_slice(b"\"]");
        }
    }
}

/// The length of an id as a browser sends it back. The browser replaces invalid UTF-8 by U+FFFD, which has three
/// bytes.
fn returned_bytes(id: &[u8]) -> usize {
    if id.len() <= EventIdFormat::MAX_BYTES / 3 {
        id.len()
    } else {
        String::from_utf8_lossy(id).len()
    }
}

/// Escapes as a JSON string does (RFC 8259, 7), for bytes that need not be UTF-8.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                let mut text = String::new();
                write!(text, "\\u{byte:04x}").expect("a String takes any text");
                out.extend_from_slice(text.as_bytes());
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_ID_BYTES: usize = EventIdFormat::MAX_BYTES;

    #[test]
    fn ids_are_written_and_read_as_in_the_reference() {
        type Row = (EventIdFormat, Option<&'static [u8]>, Option<&'static [u8]>, &'static str);
        let rows: [Row; 8] = [
            (EventIdFormat::Etag, None, None, "AQQABAIC"),
            (EventIdFormat::Etag, Some(b"key"), Some(b"revision=42"), "AQQABAIC/revision=42"),
            (EventIdFormat::Etag, None, Some(b""), "AQQABAIC/"),
            (EventIdFormat::Etag, None, Some(b"a\nid:x"), "AQQABAIC"),
            (
                EventIdFormat::KeyAndEtag,
                Some(b"key"),
                Some(b"revision=42"),
                r#"["a2V5","AQQABAIC/revision=42"]"#,
            ),
            (EventIdFormat::KeyAndEtag, None, None, r#"[null,"AQQABAIC"]"#),
            (EventIdFormat::KeyAndEtag, Some(b"key"), None, r#"["a2V5","AQQABAIC"]"#),
            (
                EventIdFormat::KeyAndEtag,
                Some(b"key"),
                Some(b"W/\"1\"\t"),
                "[\"a2V5\",\"AQQABAIC/W/\\\"1\\\"\\u0009\"]",
            ),
        ];
        for (form, key, etag, text) in rows {
            let mut id = Vec::new();
            form.encode("AQQABAIC", key, etag, &mut id);
            assert_eq!(String::from_utf8_lossy(&id), text);
            assert_eq!(EventId::decode(&id), Some(EventId(vec![(0, 2), (1, 1)])), "{text}");
        }
    }

    #[test]
    fn an_array_may_hold_spaces_and_any_bytes() {
        for id in [&b" [ null , \"AQQABAIC\" ] "[..], b"[\"a2V5\",\"AQQABAIC/\xff\xfe\\\"\"]"] {
            assert_eq!(EventId::decode(id), Some(EventId(vec![(0, 2), (1, 1)])), "{id:?}");
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        for id in [
            "",
            "[",
            "[]",
            "[null]",
            "[null,]",
            "[null,\"\"]",
            "[\"a\",\"AQQABAIC\"",
            "7",
            "/AQQABAIC",
        ] {
            assert_eq!(EventId::decode(id.as_bytes()), None, "{id}");
        }
    }

    #[test]
    fn what_no_header_could_bring_back_is_left_out() {
        let written = |form: EventIdFormat, key: Option<&[u8]>, etag: &[u8]| {
            let mut out = Vec::new();
            form.encode("AQIAAg==", key, Some(etag), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(EventIdFormat::Etag, None, b"a\tb"), "AQIAAg==/a\tb");
        for control in [&b"a\x01b"[..], b"a\x1bb", b"a\x7fb"] {
            assert_eq!(written(EventIdFormat::Etag, None, control), "AQIAAg==");
        }
        let escaped = r#"[null,"AQIAAg==/a\u0001\u007fb"]"#;
        assert_eq!(written(EventIdFormat::KeyAndEtag, None, b"a\x01\x7fb"), escaped);
        // A header is trimmed, and HTTP/2 takes none that would be (RFC 9113, 8.2.1).
        for blank in [&b" "[..], b"a ", b"a\t"] {
            assert_eq!(written(EventIdFormat::Etag, None, blank), "AQIAAg==");
        }
        assert_eq!(written(EventIdFormat::Etag, None, b" a b"), "AQIAAg==/ a b");
        assert_eq!(written(EventIdFormat::KeyAndEtag, None, b"a "), r#"[null,"AQIAAg==/a "]"#);
    }

    #[test]
    fn an_id_is_bounded_as_its_client_sends_it_back() {
        let progress = "AQIAAg==";
        let written = |form: EventIdFormat, progress: &str, key: Option<&[u8]>, etag: &[u8]| {
            let mut out = b"id:".to_vec();
            form.encode(progress, key, Some(etag), &mut out);
            String::from_utf8_lossy(&out[3..]).into_owned()
        };
        // The etag, and how many of its pieces fit behind the progress and a slash.
        let left = MAX_ID_BYTES - "AQIAAg==/".len();
        let rows: [(&[u8], usize); 6] = [
            (b"x", left),
            ("ü".as_bytes(), left / 2),
            ("日".as_bytes(), left / 3),
            // Invalid UTF-8 comes back as U+FFFD, and a truncated character as one U+FFFD.
            (b"\xff", left / 3),
            (b"\xe6\x97x", left / 4),
            (b"\xf0\x9f\x98\x80", left / 4),
        ];
        for (piece, count) in rows {
            let fits = written(EventIdFormat::Etag, progress, None, &piece.repeat(count));
            assert!(fits.starts_with("AQIAAg==/"), "{piece:?}");
            assert!((MAX_ID_BYTES - 3..=MAX_ID_BYTES).contains(&fits.len()), "{piece:?}");
            let long = written(EventIdFormat::Etag, progress, None, &piece.repeat(count + 1));
            assert_eq!(long, progress, "{piece:?}");
        }
        // Escapes are two bytes and six.
        let left = MAX_ID_BYTES - r#"[null,"AQIAAg==/"]"#.len();
        for (piece, count) in [(b'"', left / 2), (b'\\', left / 2), (1, left / 6), (0x7f, left / 6)]
        {
            let fits = written(EventIdFormat::KeyAndEtag, progress, None, &vec![piece; count]);
            assert!((MAX_ID_BYTES - 5..=MAX_ID_BYTES).contains(&fits.len()), "{piece}");
            let long = written(EventIdFormat::KeyAndEtag, progress, None, &vec![piece; count + 1]);
            assert_eq!(long, r#"[null,"AQIAAg=="]"#, "{piece}");
        }
    }

    #[test]
    fn of_key_and_etag_the_key_stays_if_one_of_them_fits() {
        let progress = "AQIAAg==";
        // Four characters for three bytes.
        let left = MAX_ID_BYTES - r#"["","AQIAAg=="]"#.len();
        let key = vec![b'k'; left / 4 * 3];
        let encoded = BASE64.encode(&key);
        for (key, etag, expected) in [
            (&key[..], &b""[..], format!(r#"["{encoded}","{progress}/"]"#)),
            (&key, b"etag-of-ten-and-more", format!(r#"["{encoded}","{progress}"]"#)),
            (&[&key[..], b"key"].concat(), b"etag", format!(r#"[null,"{progress}/etag"]"#)),
            (&[b'k'; 8000], &[1; 1000], format!(r#"[null,"{progress}"]"#)),
        ] {
            let mut id = Vec::new();
            EventIdFormat::KeyAndEtag.encode(progress, Some(key), Some(etag), &mut id);
            assert_eq!(String::from_utf8(id).unwrap(), expected);
        }
        // The progress is never left out. Key and etag are, if there is no room for them.
        let long = "A".repeat(MAX_ID_BYTES + 4);
        let mut id = Vec::new();
        EventIdFormat::KeyAndEtag.encode(&long, Some(b"key"), Some(b"etag"), &mut id);
        assert_eq!(String::from_utf8(id).unwrap(), format!(r#"[null,"{long}"]"#));
    }
}
