use std::fmt::Write as _;

use base64::Engine as _;

use crate::positions::{BASE64, decode_progress};

/// The form in which a record's event id is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdForm {
    /// `PROGRESS`, or `PROGRESS/etag` where the record has an `etag` header. The default.
    #[default]
    Etag,
    /// `["base64(key)","PROGRESS/etag"]`, with `null` in place of a key that is not there.
    KeyAndEtag,
}

/// A last event id that was read back: partitions and the next offset of each, ascending.
///
/// All forms are read: with and without an etag, inside an array and outside. An id is a
/// position, never a permission.
///
/// ```
/// use tailwater_kafka::EventId;
///
/// let id = EventId::decode(br#"["a2V5","AQQABAIC/revision=42"]"#).expect("a well-formed id");
/// assert_eq!(id.offsets(), [(0, 2), (1, 1)]);
/// assert_eq!(EventId::decode(b"yesterday"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId(Vec<(i32, i64)>);

impl EventId {
    /// Reads an id; `None` if it is not one that tailwater or Zilla issue.
    #[must_use]
    pub fn decode(id: &[u8]) -> Option<Self> {
        let text = match id.trim_ascii().strip_prefix(b"[") {
            Some(array) => second_element(array)?,
            None => id.trim_ascii(),
        };
        let progress = text.split(|byte| *byte == b'/').next()?;
        decode_progress(progress).map(Self)
    }

    /// Partition and next offset to deliver, ascending by partition; -2 is the beginning and -1 the
    /// end of the partition.
    #[must_use]
    pub fn offsets(&self) -> &[(i32, i64)] {
        &self.0
    }
}

/// What the second element of `[null|"base64","…"]` holds, its escapes left as they are: only an
/// etag has some, and the progress stands before it. The bytes need not be UTF-8.
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

/// Of an etag or a key in an id, in bytes: the head of a request has 32 KiB for the whole id.
const LONGEST: usize = 4096;

/// Writes the id of a record: `progress` is the place after it, encoded.
pub(crate) fn encode(
    form: IdForm,
    progress: &str,
    key: Option<&[u8]>,
    etag: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    // An etag that could end the line or void the id is left out: HTML 9.2.6 ignores an id with NUL.
    let etag = etag.filter(|etag| !etag.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    // So is what `Last-Event-ID` could not bring back: longer heads are refused, and as text no header
    // has control characters but the tab (RFC 9110, 5.5).
    let etag = etag.filter(|etag| etag.len() <= LONGEST);
    let key = key.filter(|key| key.len() <= LONGEST);
    let is_header =
        |etag: &&[u8]| !etag.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    match form {
        IdForm::Etag => {
            out.extend_from_slice(progress.as_bytes());
            if let Some(etag) = etag.filter(is_header) {
                out.push(b'/');
                out.extend_from_slice(etag);
            }
        }
        IdForm::KeyAndEtag => {
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

    #[test]
    fn ids_are_written_and_read_as_in_the_reference() {
        type Row = (IdForm, Option<&'static [u8]>, Option<&'static [u8]>, &'static str);
        let rows: [Row; 8] = [
            (IdForm::Etag, None, None, "AQQABAIC"),
            (IdForm::Etag, Some(b"key"), Some(b"revision=42"), "AQQABAIC/revision=42"),
            (IdForm::Etag, None, Some(b""), "AQQABAIC/"),
            (IdForm::Etag, None, Some(b"a\nid:x"), "AQQABAIC"),
            (
                IdForm::KeyAndEtag,
                Some(b"key"),
                Some(b"revision=42"),
                r#"["a2V5","AQQABAIC/revision=42"]"#,
            ),
            (IdForm::KeyAndEtag, None, None, r#"[null,"AQQABAIC"]"#),
            (IdForm::KeyAndEtag, Some(b"key"), None, r#"["a2V5","AQQABAIC"]"#),
            (
                IdForm::KeyAndEtag,
                Some(b"key"),
                Some(b"W/\"1\"\t"),
                "[\"a2V5\",\"AQQABAIC/W/\\\"1\\\"\\u0009\"]",
            ),
        ];
        for (form, key, etag, text) in rows {
            let mut id = Vec::new();
            encode(form, "AQQABAIC", key, etag, &mut id);
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
        let written = |form, key: Option<&[u8]>, etag: &[u8]| {
            let mut out = Vec::new();
            encode(form, "AQIAAg==", key, Some(etag), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(IdForm::Etag, None, b"a\tb"), "AQIAAg==/a\tb");
        for control in [&b"a\x01b"[..], b"a\x1bb", b"a\x7fb"] {
            assert_eq!(written(IdForm::Etag, None, control), "AQIAAg==");
        }
        let escaped = r#"[null,"AQIAAg==/a\u0001\u007fb"]"#;
        assert_eq!(written(IdForm::KeyAndEtag, None, b"a\x01\x7fb"), escaped);

        let (fits, long) = (vec![b'x'; LONGEST], vec![b'x'; LONGEST + 1]);
        assert_eq!(written(IdForm::Etag, None, &fits).len(), "AQIAAg==/".len() + LONGEST);
        assert_eq!(written(IdForm::Etag, None, &long), "AQIAAg==");
        assert_eq!(written(IdForm::KeyAndEtag, Some(&long), &long), r#"[null,"AQIAAg=="]"#);
    }
}
