/// One event before it is encoded. Every field is optional and holds any bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built by literal, with the grammar's closed set of fields")]
pub struct Event<'a> {
    /// Milliseconds since the epoch, written as `timestamp:0x<hex>` (Zilla's extension).
    pub timestamp: Option<i64>,
    /// The event type. CR and LF in it end the type: what follows is left out.
    pub event: Option<&'a [u8]>,
    /// The payload; each of CR, LF and CRLF in it ends a line. `Some(b"")` is one empty `data` field.
    pub data: Option<&'a [u8]>,
    /// The last event id. An id with CR, LF or NUL in it is left out as a whole.
    pub id: Option<&'a [u8]>,
}

/// Appends `event` to `out` as one whole event, with the empty line that dispatches it.
pub fn encode_event(_event: &Event<'_>, _out: &mut Vec<u8>) {}

/// Appends a comment line for each line of `text`, without an empty line after it.
pub fn encode_comment(_text: &[u8], _out: &mut Vec<u8>) {}
