use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{BoxError, EventRef, encode_comment, encode_event, encode_id};

/// Encoded events, comments and id-only blocks, or a [part](Encoded::part) of an event. A clone shares the
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: Bytes,
    is_part: bool,
}

impl Encoded {
    /// Encodes one event: an [`Event`](crate::Event) or an [`EventRef`].
    pub fn event<'a>(event: impl Into<EventRef<'a>>) -> Self {
        let mut out = Vec::new();
        encode_event(event, &mut out);
        Self::trusted(out.into())
    }

    /// Encodes a comment, which clients ignore.
    pub fn comment(text: &[u8]) -> Self {
        let mut out = Vec::new();
        encode_comment(text, &mut out);
        Self::trusted(out.into())
    }

    /// Encodes an id-only block: clients remember the id and dispatch nothing. Empty if `id` contains CR,
    /// LF or NUL.
    ///
    /// ```
    /// use tailwater_sse::Encoded;
    ///
    /// assert_eq!(Encoded::id(b"AQQC").into_bytes(), "id:AQQC\n\n");
    /// ```
    pub fn id(id: &[u8]) -> Self {
        let mut out = Vec::with_capacity(id.len() + 5);
        encode_id(id, &mut out);
        Self::trusted(out.into())
    }

    /// Takes bytes that are encoded already: output of [`encode_event`], [`encode_id`] and
    /// [`encode_comment`], or a slice of it between two blocks. The bytes are not checked.
    pub fn trusted(bytes: Bytes) -> Self {
        Self { bytes, is_part: false }
    }

    /// Takes the beginning or the middle of an event that is too long for one write. The source must return
    /// the next part at its next poll, because nothing is written in between. The last part is made by
    /// [`trusted`](Encoded::trusted) and ends the event. A stream whose lease ends may end within the
    /// event; clients ignore such an event.
    pub fn part(bytes: Bytes) -> Self {
        Self { bytes, is_part: true }
    }

    /// Whether the source returns more of this event next.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes on the wire.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// A stream of encoded events: the response of a source to a [`Subscription`](crate::Subscription).
pub trait Events: Send {
    /// Returns the next events: at most `limit` bytes, but at least one event or a part of one. `None` ends
    /// the stream. An error ends it, too, and is logged.
    fn poll_events(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>>;

    /// Returns the id of this stream's position as an id-only block ([`Encoded::id`]), if the position has
    /// moved since the last id that was sent. It is called when the stream is idle, and written in place of
    /// a comment. Default: `None`.
    fn position(self: Pin<&mut Self>) -> Option<Encoded> {
        None
    }
}

impl<E: Events + ?Sized> Events for Pin<Box<E>> {
    fn poll_events(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        self.as_deref_mut().poll_events(cx, limit)
    }

    fn position(self: Pin<&mut Self>) -> Option<Encoded> {
        self.as_deref_mut().position()
    }
}
