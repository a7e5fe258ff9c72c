use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::{BoxError, EventRef, encode_comment, encode_event, encode_id};

/// Whole events, comments or id-only blocks, encoded for the wire; or a [part](Encoded::part) of an event.
/// Cloning shares the bytes.
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

    /// Encodes a comment, which clients skip.
    pub fn comment(text: &[u8]) -> Self {
        let mut out = Vec::new();
        encode_comment(text, &mut out);
        Self::trusted(out.into())
    }

    /// Encodes an id-only block: clients remember the id and dispatch nothing. Empty, which writes
    /// nothing, if `id` holds CR, LF or NUL.
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

    /// Bytes that are whole blocks already: made by [`encode_event`], [`encode_id`] and
    /// [`encode_comment`], or pieces of such bytes cut between two blocks. Whoever calls this upholds that; nothing checks it.
    pub fn trusted(bytes: Bytes) -> Self {
        Self { bytes, is_part: false }
    }

    /// The beginning or the middle of an event that is too long for one piece. What the source returns
    /// next goes on with it, and must be ready at once: nothing is written in between. The last piece is
    /// [`trusted`](Encoded::trusted), and ends the event. A stream that may not go on, because its lease
    /// has ended, may end within the event, which clients then drop.
    pub fn part(bytes: Bytes) -> Self {
        Self { bytes, is_part: true }
    }

    /// Whether the event goes on with what the source returns next.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// The bytes on the wire.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// What a source answers a [`Subscription`](crate::Subscription) with: a stream of encoded events.
pub trait Events: Send {
    /// At most `limit` bytes but at least one event, or a part of one; `Ready(None)`: the source ended.
    /// Dropping the stream loses nothing: what was not returned was not sent.
    fn poll_events(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>>;

    /// The id-only block ([`Encoded::id`]) for where this stream stands, if that place has moved
    /// since the client was last told one. Asked when the stream is idle, in place of a comment.
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
