//! Adds the streams of a service to the list.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::{Request, Response};
use pin_project_lite::pin_project;
use tailwater_http::{Peer, StallFlag};
use tailwater_jwt::Session;
use tailwater_sse::{Events, LAST_EVENT_IDS, SseBody};
use tower::{Layer, Service};

use super::body::{Entry, TrackedBody};
use super::{OpenStream, Opening, Place, Probe, Protocol, Start, Streams};
use crate::access_log::Requested;

/// What tells about the events of a stream. `None` for events that are of no topic.
pub(crate) type ProbeOf<E> = fn(&E) -> Option<Probe>;

/// Adds each event stream to the list, before its head is sent. It stands directly around the layer that writes
/// events, so that a body has one box.
pub(crate) struct TrackLayer<E> {
    streams: Streams,
    probe: ProbeOf<E>,
}

impl<E> TrackLayer<E> {
    pub(crate) fn new(streams: &Streams, probe: ProbeOf<E>) -> Self {
        Self { streams: streams.clone(), probe }
    }
}

impl<S, E> Layer<S> for TrackLayer<E> {
    type Service = Track<S, E>;

    fn layer(&self, inner: S) -> Track<S, E> {
        Track { inner, streams: self.streams.clone(), probe: self.probe }
    }
}

/// Service of [`TrackLayer`].
pub(crate) struct Track<S, E> {
    inner: S,
    streams: Streams,
    probe: ProbeOf<E>,
}

impl<S: Clone, E> Clone for Track<S, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), streams: self.streams.clone(), probe: self.probe }
    }
}

/// The stream of a response, in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Opened(pub(crate) Arc<OpenStream>);

impl<S, B, E> Service<Request<B>> for Track<S, E>
where
    S: Service<Request<B>, Response = Response<SseBody<E>>, Error = Infallible>,
    E: Events,
{
    type Response = Response<TrackedBody<E>>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = Asked::new(&request);
        let future = self.inner.call(request);
        ResponseFuture {
            future,
            asked: Some(asked),
            streams: self.streams.clone(),
            probe: self.probe,
        }
    }
}

/// What the entry of a stream keeps of its request.
struct Asked {
    place: Arc<Place>,
    peer: SocketAddr,
    session: Option<Session>,
    protocol: Protocol,
    brings_id: bool,
    stalls: Option<StallFlag>,
    requested: Option<Arc<Requested>>,
}

impl Asked {
    fn new<B>(request: &Request<B>) -> Self {
        let extensions = request.extensions();
        let nowhere = || Arc::new(Place { binding: "".into(), route: None });
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            place: extensions.get().cloned().unwrap_or_else(nowhere),
            peer: extensions.get::<Peer>().map_or(unknown, |peer| peer.0),
            session: extensions.get().cloned(),
            protocol: request.version().into(),
            brings_id: brings_id(request),
            stalls: extensions.get().cloned(),
            requested: extensions.get().cloned(),
        }
    }
}

/// Whether the client resumes after an event id.
fn brings_id<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let is_id = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        LAST_EVENT_IDS.contains(&name) && !value.is_empty()
    };
    request.headers().get("last-event-id").is_some_and(|id| !id.is_empty())
        || query.split('&').any(is_id)
}

pin_project! {
    /// Future of [`Track`].
    pub(crate) struct ResponseFuture<F, E> {
        #[pin]
        future: F,
        asked: Option<Asked>,
        streams: Streams,
        probe: ProbeOf<E>,
    }
}

impl<F, E> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Response<SseBody<E>>, Infallible>>,
{
    type Output = Result<Response<TrackedBody<E>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let (mut parts, body) = response.into_parts();
        let entry = match (body.events(), this.asked.take()) {
            (Some(events), Some(asked)) => {
                let Asked { place, peer, session, protocol, brings_id, stalls, requested } = asked;
                let probe = (this.probe)(events);
                let begins = if brings_id { Start::Id } else { Start::Live };
                let start = probe.as_ref().map_or(begins, Probe::start);
                let expires = body.expires();
                let stream = this.streams.open(Opening {
                    place,
                    peer,
                    session,
                    expires,
                    stalls,
                    protocol,
                    start,
                    probe,
                    requested,
                });
                parts.extensions.insert(Opened(Arc::clone(&stream)));
                Some(Entry::new(this.streams.clone(), stream))
            }
            _ => None,
        };
        Poll::Ready(Ok(Response::from_parts(parts, TrackedBody::new(body, entry))))
    }
}
