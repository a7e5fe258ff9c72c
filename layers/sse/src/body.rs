use std::fmt::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use crate::options::Options;
use crate::{BoxError, Due, Encoded, Events, Lease};

pin_project! {
    /// Response body of [`Sse`](crate::Sse): the events of the source, and the fields and comments that the
    /// layer adds.
    ///
    /// It has no task. It has one timer, so it must be polled in a tokio runtime with time enabled. It
    /// never fails: an error of the source ends it after a whole event. Dropping it drops the source.
    pub struct SseBody<E> {
        #[pin]
        events: Option<E>,
        lease: Option<Box<dyn Lease>>,
        options: Arc<Options>,
        // A write does not move the timer. When it fires, it is set to the next due time.
        #[pin]
        timer: Option<Sleep>,
        // `None` if there is no drain, or after its start was observed.
        #[pin]
        drain: Option<OwnedNotified>,
        // The waker that `drain` has. Polling it again takes a lock that all streams share, and is not
        // needed: unlike tokio's timers it is not pending because of an exhausted budget, so pending means
        // registered.
        drain_waker: Option<Waker>,
        last_write: Instant,
        ends_at: Option<Instant>,
        // What has set `ends_at`.
        ends_by: End,
        // The closing `retry` field in milliseconds, or [`OF_THE_LAYER`].
        retry_ms: u32,
        ended: Option<End>,
        stage: Stage,
    }
}

/// The closing `retry` field is the one of the layer.
const OF_THE_LAYER: u32 = u32::MAX;

/// Why an event stream has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// The [`Drain`](crate::Drain) has started.
    Drain,
    /// The stream has reached its [`max_age`](crate::SseLayer::max_age).
    MaxAge,
    /// The time of its [`Lease`](crate::Lease) is over.
    Lease,
    /// Its lease has ended since it [was revoked](crate::Lease::is_revoked).
    Revoked,
    /// [`SseBody::end`] was called.
    Requested,
    /// The source has no more events, or has failed.
    Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The reason of a rejection, as text. It is boxed to keep a stream small.
    Rejected(Box<Bytes>),
    Start,
    Open,
    /// A part of an event was written. The rest of it must come next.
    MidEvent,
    /// Only the closing `retry` field is left to write.
    Closing,
    Closed,
}

impl<E> SseBody<E> {
    pub(crate) fn new(events: E, options: Arc<Options>, lease: Option<Box<dyn Lease>>) -> Self {
        Self {
            events: Some(events),
            lease,
            timer: None,
            drain: options.drain.as_ref().map(crate::Drain::notified),
            drain_waker: None,
            last_write: Instant::now(),
            ends_at: None,
            ends_by: End::MaxAge,
            retry_ms: OF_THE_LAYER,
            ended: None,
            stage: Stage::Start,
            options,
        }
    }

    /// A body with this text.
    pub(crate) fn text(text: String) -> Self {
        Self::without_events(Stage::Rejected(Box::new(text.into())))
    }

    fn without_events(stage: Stage) -> Self {
        Self {
            events: None,
            lease: None,
            options: Arc::default(),
            timer: None,
            drain: None,
            drain_waker: None,
            last_write: Instant::now(),
            ends_at: None,
            ends_by: End::MaxAge,
            retry_ms: OF_THE_LAYER,
            ended: None,
            stage,
        }
    }

    /// The events of the source. `None` if the stream has ended, or the response is no event stream.
    pub fn events(&self) -> Option<&E> {
        self.events.as_ref()
    }

    /// Why the stream has ended. `None` as long as it is open, and for a response that is no event stream. A
    /// stream that is dropped while it is open was ended by its client or by the server.
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// When the lease of the stream ends unless it is renewed, if that is known.
    pub fn expires(&self) -> Option<SystemTime> {
        self.lease.as_ref()?.expires()
    }

    /// The time of the last write: of an event, of a comment, or of the id of a position.
    pub fn last_write(&self) -> Instant {
        self.last_write
    }

    /// Ends the stream after the event that is being written. The last write is a `retry` field with this
    /// time, by default that of the layer. The task has to poll the body again.
    pub fn end(self: Pin<&mut Self>, retry: Option<Duration>) {
        let this = self.project();
        *this.ends_at = Some(Instant::now());
        *this.ends_by = End::Requested;
        *this.retry_ms = retry.map_or(OF_THE_LAYER, |retry| {
            u32::try_from(retry.as_millis()).unwrap_or(OF_THE_LAYER - 1).min(OF_THE_LAYER - 1)
        });
    }
}

/// An empty body, for responses of middleware that are not event streams.
impl<E> Default for SseBody<E> {
    fn default() -> Self {
        Self::without_events(Stage::Closed)
    }
}

impl<E: Events> SseBody<E> {
    /// A `retry` field and a comment. Neither has an empty line after it, because many clients make an
    /// empty message of one.
    fn first_write(mut self: Pin<&mut Self>) -> Bytes {
        let this = self.as_mut().project();
        *this.stage = Stage::Open;
        let now = Instant::now();
        *this.last_write = now;
        let max_age = this.options.draw_max_age().and_then(|max_age| now.checked_add(max_age));
        *this.ends_at = this.ends_at.or(max_age);
        let mut write = if this.options.drain.as_ref().is_some_and(crate::Drain::is_started) {
            *this.ends_by = End::Drain;
            self.closing_write(now)
        } else {
            retry_field(this.options.draw_retry())
        };
        write.push_str(":\n");
        write.into()
    }

    /// Ends the stream. Returns the closing `retry` field.
    fn closing_write(self: Pin<&mut Self>, now: Instant) -> String {
        let window =
            self.options.drain.as_ref().and_then(|drain| Some(drain.window()?.draw_delay(now)));
        let retry = match self.retry_ms {
            OF_THE_LAYER => self.options.draw_retry().saturating_add(window.unwrap_or_default()),
            milliseconds => Duration::from_millis(milliseconds.into()),
        };
        let by = self.ends_by;
        self.close(by);
        retry_field(retry)
    }

    fn close(self: Pin<&mut Self>, end: End) {
        let mut this = self.project();
        let is_revoked = this.lease.as_ref().is_some_and(|lease| lease.is_revoked());
        *this.ended = Some(if end == End::Lease && is_revoked { End::Revoked } else { end });
        this.events.set(None);
        this.timer.set(None);
        this.drain.set(None);
        *this.drain_waker = None;
        *this.lease = None;
        *this.stage = Stage::Closed;
    }

    fn write(self: Pin<&mut Self>, encoded: Encoded) -> Bytes {
        let this = self.project();
        let now = Instant::now();
        *this.last_write = now;
        // A stream that always has events never polls the timer.
        *this.stage = match this.ends_at {
            _ if encoded.is_part() => Stage::MidEvent,
            Some(end) if *end <= now => Stage::Closing,
            _ => Stage::Open,
        };
        encoded.into_bytes()
    }

    /// Draws the end of this stream if the drain has started.
    fn observe_drain(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.drain.is_some()
            && let Some(window) = this.options.drain.as_ref().and_then(crate::Drain::window)
        {
            if let Some(end) = window.draw_end()
                && this.ends_at.is_none_or(|ends_at| end < ends_at)
            {
                *this.ends_at = Some(end);
                *this.ends_by = End::Drain;
            }
            this.drain.set(None);
            *this.drain_waker = None;
        }
    }

    fn watch_drain(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let this = self.as_mut().project();
        let Some(drain) = this.drain.as_pin_mut() else { return };
        if this.drain_waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return;
        }
        if drain.poll(cx).is_ready() {
            self.observe_drain();
        } else {
            *this.drain_waker = Some(cx.waker().clone());
        }
    }

    fn permits(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.permits())
    }

    /// An idle write or the closing write when it is due. `None` if the lease has ended.
    fn poll_timer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let mut this = self.as_mut().project();
            let idle = if this.options.keep_alive.is_zero() {
                None
            } else {
                this.last_write.checked_add(this.options.keep_alive)
            };
            let Some(due) = [idle, *this.ends_at].into_iter().flatten().min() else {
                return Poll::Pending;
            };

            let Some(mut timer) = this.timer.as_mut().as_pin_mut() else {
                this.timer.set(Some(tokio::time::sleep_until(due)));
                continue;
            };
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            std::task::ready!(timer.as_mut().poll(cx));

            let now = Instant::now();
            if now < due {
                timer.reset(due);
                continue;
            }
            if !self.permits() {
                self.close(End::Lease);
                return Poll::Ready(None);
            }
            let this = self.as_mut().project();
            if this.ends_at.is_some_and(|end| end <= now) {
                return Poll::Ready(Some(self.closing_write(now).into()));
            }
            *this.last_write = now;
            let position = this.events.as_pin_mut().and_then(Events::position);
            let write = position.map_or(Bytes::from_static(b":\n"), Encoded::into_bytes);
            return Poll::Ready(Some(write));
        }
    }
}

impl<E: Events> Body for SseBody<E> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &self.stage {
            Stage::Rejected(text) => {
                let text = Bytes::clone(text);
                *self.project().stage = Stage::Closed;
                return frame(text);
            }
            Stage::Start => return frame(self.first_write()),
            Stage::Open | Stage::MidEvent => {}
            Stage::Closing if self.permits() => {
                return frame(self.closing_write(Instant::now()).into());
            }
            Stage::Closing => {
                self.close(End::Lease);
                return Poll::Ready(None);
            }
            Stage::Closed => return Poll::Ready(None),
        }

        // The lease is polled before the events, so that a stream that always has events ends, too. Within
        // an event no challenge can be written; `permits` is checked below.
        let is_mid_event = self.stage == Stage::MidEvent;
        let this = self.as_mut().project();
        let lease = this.lease.as_mut().filter(|_| !is_mid_event);
        let due = lease.map_or(Poll::Pending, |lease| lease.poll_due(cx));
        match due {
            Poll::Ready(Due::Challenge(challenge)) => return frame(self.write(challenge)),
            Poll::Ready(Due::End) => {
                self.close(End::Lease);
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        self.as_mut().observe_drain();

        let this = self.as_mut().project();
        let limit = this.options.write_limit_bytes;
        let events = this
            .events
            .as_pin_mut()
            .map_or(Poll::Ready(None), |events| events.poll_events(cx, limit));
        match events {
            Poll::Ready(Some(Ok(events))) if self.permits() => {
                return frame(self.write(events));
            }
            Poll::Ready(ended) => {
                let end = match ended {
                    Some(Ok(_)) => End::Lease,
                    Some(Err(error)) => {
                        tracing::warn!(
                            error = &*error as &dyn std::error::Error,
                            "a source failed, its stream ends"
                        );
                        End::Source
                    }
                    None => End::Source,
                };
                self.close(end);
                return Poll::Ready(None);
            }
            // A timer would write into the event. The source wakes the task.
            Poll::Pending if is_mid_event => return Poll::Pending,
            Poll::Pending => {}
        }
        self.as_mut().watch_drain(cx);
        self.poll_timer(cx).map(|bytes| bytes.map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::Closed
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stage {
            Stage::Rejected(text) => SizeHint::with_exact(text.len() as u64),
            Stage::Closed => SizeHint::with_exact(0),
            Stage::Start | Stage::Open | Stage::MidEvent | Stage::Closing => SizeHint::default(),
        }
    }
}

impl<E> fmt::Debug for SseBody<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseBody")
            .field("stage", &self.stage)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}

fn frame(bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    Poll::Ready(Some(Ok(Frame::data(bytes))))
}

fn retry_field(retry: Duration) -> String {
    let mut field = String::with_capacity(16);
    writeln!(field, "retry:{}", retry.as_millis()).expect("writing to a String does not fail");
    field
}
