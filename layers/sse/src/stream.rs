use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::{BoxError, Encoded, Event, Events, encode_event};

/// Makes a source's response of a [`Stream`] of events.
///
/// Events that are ready together are written together, up to
/// [`SseLayer::write_limit`](crate::SseLayer::write_limit). An error ends the event stream after the events
/// before it. The error is logged, and clients do not see it. Dropping the source drops the stream.
///
/// ```
/// # use std::convert::Infallible;
/// # use futures_util::stream;
/// # use tailwater_sse::{Event, Rejection, SseLayer, Subscription, from_stream};
/// # use tower::{Layer, service_fn};
/// let source = service_fn(async |_: Subscription| {
///     let events = stream::iter(["a", "b"].map(|data| Ok::<_, Infallible>(Event::data(data))));
///     Ok::<_, Rejection>(from_stream(events))
/// });
/// let service = SseLayer::new().layer(source);
/// # drop(service);
/// ```
pub fn from_stream<S, E>(stream: S) -> FromStream<S>
where
    S: Stream<Item = Result<Event, E>>,
    E: Into<BoxError>,
{
    FromStream { stream: Some(stream), held: Vec::new(), failed: None }
}

pin_project! {
    /// The [`Events`] of a [`Stream`]: result of [`from_stream`].
    #[derive(Debug)]
    pub struct FromStream<S> {
        // `None` once it has ended.
        #[pin]
        stream: Option<S>,
        // An event that exceeded the limit of the last write.
        held: Vec<u8>,
        failed: Option<BoxError>,
    }
}

impl<S, E> Events for FromStream<S>
where
    S: Stream<Item = Result<Event, E>> + Send,
    E: Into<BoxError>,
{
    fn poll_events(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let mut this = self.project();
        let mut out = mem::take(this.held);
        while out.is_empty() || out.len() < limit {
            let Some(stream) = this.stream.as_mut().as_pin_mut() else { break };
            match stream.poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => {
                    let before = out.len();
                    encode_event(&event, &mut out);
                    if out.len() > limit && before > 0 {
                        *this.held = out.split_off(before);
                        break;
                    }
                }
                Poll::Ready(ended) => {
                    *this.failed = ended.and_then(Result::err).map(Into::into);
                    this.stream.set(None);
                }
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if out.is_empty() {
            return Poll::Ready(this.failed.take().map(Err));
        }
        Poll::Ready(Some(Ok(Encoded::trusted(out.into()))))
    }
}
