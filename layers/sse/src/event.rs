use bytes::Bytes;

/// One event, which owns its fields. Each field is optional and holds any bytes.
///
/// ```
/// use tailwater_sse::{Encoded, Event};
///
/// let event = Event::data("1.0873").event("quote").id("7");
/// assert_eq!(Encoded::event(&event).into_bytes(), "event:quote\ndata:1.0873\nid:7\n\n");
/// ```
///
/// An event without data begins with [`Event::default`]: browsers dispatch nothing for it, but they
/// remember its id. [`EventRef`] is the same with borrowed fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Event {
    pub(crate) timestamp: Option<i64>,
    pub(crate) event: Option<Bytes>,
    pub(crate) data: Option<Bytes>,
    pub(crate) id: Option<Bytes>,
}

impl Event {
    /// An event with this payload. CR, LF and CRLF each end a line, and clients read LF in place of them.
    /// Static strings and [`Bytes`] are not copied; a borrowed string must be made owned (`text.to_owned()`).
    pub fn data(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), ..Self::default() }
    }

    /// Sets the event type. The type ends at the first CR or LF in it. Default: none, which clients
    /// dispatch as `message`.
    pub fn event(mut self, event: impl Into<Bytes>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Sets the id, which a client sends as its last event id when it reconnects. An id with CR, LF or
    /// NUL in it is not written. An empty id resets the client's last event id. Default: none.
    pub fn id(mut self, id: impl Into<Bytes>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the timestamp, in milliseconds since the Unix epoch: a `timestamp` field, which is an
    /// extension of Zilla's. Default: none.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }
}

/// One event, which borrows its fields. Each field is optional and holds any bytes.
///
/// A leading space of an event type, an id or a line of data is doubled on the wire, because clients remove
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "built by literal, with the grammar's closed set of fields"
)]
pub struct EventRef<'a> {
    /// Milliseconds since the Unix epoch, written as `timestamp:0x<hex>` (Zilla's extension). A negative
    /// number is written as its two's complement, as Zilla does.
    pub timestamp: Option<i64>,
    /// The event type. It ends at the first CR or LF; the rest of the value is not written.
    pub event: Option<&'a [u8]>,
    /// The payload; each of CR, LF and CRLF in it ends a line. `Some(b"")` is one empty `data` field;
    /// without a `data` field browsers dispatch nothing, but remember the id.
    pub data: Option<&'a [u8]>,
    /// The last event id. An id with CR, LF or NUL in it is not written. `Some(b"")` resets the
    /// client's last event id.
    pub id: Option<&'a [u8]>,
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            timestamp: event.timestamp,
            event: event.event.as_deref(),
            data: event.data.as_deref(),
            id: event.id.as_deref(),
        }
    }
}
