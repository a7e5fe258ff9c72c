//! The body of a stream that is in the list.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tailwater_sse::{BoxError, Events, SseBody};

use super::{Kick, OpenStream, Probe, Reason, Streams};

pin_project! {
    /// Counts what a stream writes, ends it when it is kicked, and notes why it has ended.
    pub(crate) struct TrackedBody<E> {
        // `None` for a response that is no stream, and when the stream has ended. It is dropped before the body,
        // whose source still has a place in the log then.
        entry: Option<Entry>,
        #[pin]
        body: SseBody<E>,
    }
}

impl<E> TrackedBody<E> {
    pub(super) fn new(body: SseBody<E>, entry: Option<Entry>) -> Self {
        Self { entry, body }
    }
}

impl<E> Default for TrackedBody<E> {
    fn default() -> Self {
        Self::new(SseBody::default(), None)
    }
}

/// A stream in the list, until this is dropped.
pub(super) struct Entry {
    streams: Streams,
    stream: Arc<OpenStream>,
    /// The waker that a kick wakes. Another look at the one that is registered would take two atomic operations.
    waker: Option<Waker>,
    gaps: u32,
    reason: Option<Reason>,
    is_polled: bool,
    is_kicked: bool,
}

impl Entry {
    pub(super) fn new(streams: Streams, stream: Arc<OpenStream>) -> Self {
        Self {
            streams,
            stream,
            waker: None,
            gaps: 0,
            reason: None,
            is_polled: false,
            is_kicked: false,
        }
    }

    /// Whether the body has to end now, which it has not been told before.
    fn take_kick(&mut self) -> Option<Kick> {
        let kick = self.stream.kicked().filter(|_| !self.is_kicked)?;
        self.is_kicked = true;
        Some(*kick)
    }

    /// Registers the waker for a kick. Returns whether a kick may have come before.
    fn watch(&mut self, waker: &Waker) -> bool {
        if self.waker.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            return false;
        }
        self.stream.wake_on_kick(waker);
        self.waker = Some(waker.clone());
        !self.is_kicked && self.stream.kicked().is_some()
    }

    fn tell_gaps(&mut self) {
        let gaps = self.stream.probe().map_or(0, Probe::gaps);
        let gaps = u32::try_from(gaps).unwrap_or(u32::MAX);
        if gaps > self.gaps {
            self.gaps = gaps;
            self.streams.tell_gap(&self.stream);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let reason = match self.reason {
            Some(reason) => reason,
            None if self.is_polled => Reason::Panicked,
            None if self.stream.is_stalled() => Reason::Stalled,
            None if self.streams.cuts() => Reason::Cut,
            None => Reason::Client,
        };
        self.streams.close(&self.stream, reason, self.reason.is_some());
    }
}

impl<E: Events> Body for TrackedBody<E> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(entry) = this.entry else { return this.body.poll_frame(cx) };
        // A panic leaves it set.
        entry.is_polled = true;
        let polled = loop {
            if let Some(kick) = entry.take_kick() {
                this.body.as_mut().end(kick.retry);
            }
            let polled = this.body.as_mut().poll_frame(cx);
            if polled.is_pending() && entry.watch(cx.waker()) {
                continue;
            }
            break polled;
        };
        entry.is_polled = false;
        // A renewal wakes the task.
        if entry.stream.session().is_some() {
            entry.stream.set_expires(this.body.expires());
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            entry.stream.wrote(bytes, entry.streams.milliseconds(this.body.last_write()));
            entry.tell_gaps();
        }
        let ended = this.body.ended();
        if let Some(end) = ended {
            let kicked = entry.stream.kicked().map(|kick| kick.reason);
            entry.reason = Some(Reason::of(end, kicked));
            *this.entry = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
