//! The layer that writes the log of one `http` binding.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;
use tailwater_jwt as jwt;
use tower::{Layer, Service};

use super::body::LoggedBody;
use super::{AccessLog, Line, Requested, opened, why};
use crate::stack::Body;
use crate::streams::{Opened, Place, Reason, Streams};

/// Writes a line for each request. It is the outermost layer of an `http` binding, so that it also has the requests
/// that the other layers reject.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogLayer {
    log: AccessLog,
    streams: Streams,
}

impl AccessLogLayer {
    pub(crate) fn new(log: AccessLog, streams: &Streams) -> Self {
        Self { log, streams: streams.clone() }
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { inner, layer: self.clone() }
    }
}

/// Service of [`AccessLogLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Logged<S> {
    inner: S,
    layer: AccessLogLayer,
}

impl<S, B> Service<Request<B>> for Logged<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let requested = Arc::new(Requested::new(&self.layer.log, &request));
        request.extensions_mut().insert(Arc::clone(&requested));
        let answer = Answer::new(requested, &self.layer.streams);
        ResponseFuture { future: self.inner.call(request), answer: Some(answer) }
    }
}

/// A request that is no stream, until this is dropped. Then its line is written.
#[derive(Debug)]
pub(super) struct Answer {
    requested: Arc<Requested>,
    streams: Streams,
    pub(super) response: Option<Head>,
    pub(super) bytes: u64,
    /// Whether the whole response was handed on.
    pub(super) is_complete: bool,
    /// Whether the body has failed.
    pub(super) has_failed: bool,
    is_polled: bool,
    /// Whether it is a stream, which has lines of its own.
    is_stream: bool,
}

/// What a line has of the head of a response.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    why: Option<String>,
    place: Option<Arc<Place>>,
    session: Option<jwt::Session>,
}

impl Answer {
    fn new(requested: Arc<Requested>, streams: &Streams) -> Self {
        Self {
            requested,
            streams: streams.clone(),
            response: None,
            bytes: 0,
            is_complete: false,
            has_failed: false,
            is_polled: false,
            is_stream: false,
        }
    }

    /// Polls something of the request. If that panics, the line says so.
    pub(super) fn within<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        self.is_polled = true;
        let polled = poll();
        self.is_polled = false;
        polled
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_stream {
            return;
        }
        let reason = match () {
            () if self.is_complete => None,
            () if self.is_polled => Some(Reason::Panicked),
            () if self.has_failed => Some(Reason::Source),
            () if self.streams.cuts() => Some(Reason::Cut),
            () => Some(Reason::Client),
        };
        let line = Line { reason, ..Line::of_request("ended", &self.requested) };
        match &self.response {
            Some(head) => Line {
                status: Some(head.status.as_u16()),
                why: head.why.as_deref().map(Into::into),
                session: head.session.as_ref(),
                bytes: Some(self.bytes),
                ..line
            }
            .at(head.place.as_ref())
            .write(),
            None => line.write(),
        }
    }
}

pin_project! {
    /// Future of [`Logged`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        future: F,
        answer: Option<Answer>,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = this.answer.as_mut().expect("polled after completion");
        let response = ready!(answer.within(|| this.future.poll(cx)))?;
        let mut answer = this.answer.take().expect("looked at above");
        let (parts, body) = response.into_parts();
        if let Some(Opened(stream)) = parts.extensions.get() {
            answer.is_stream = true;
            opened(&answer.requested, stream);
            return Poll::Ready(Ok(Response::from_parts(parts, body)));
        }
        answer.response = Some(Head {
            status: parts.status,
            why: why::why(parts.status, &parts.extensions),
            place: parts.extensions.get().cloned(),
            session: parts.extensions.get().cloned(),
        });
        // The body of a response to HEAD is not read.
        answer.is_complete = answer.requested.method == Method::HEAD;
        let body = LoggedBody::new(body, answer).boxed_unsync();
        Poll::Ready(Ok(Response::from_parts(parts, body)))
    }
}

/// Tells the log what a guard found: puts the [`jwt::Session`] or the [`jwt::Rejection`] of a request into the
/// extensions of its response.
#[derive(Clone, Debug)]
pub(crate) struct TellSession<S>(pub(crate) S);

impl<S, B> Service<Request<B>> for TellSession<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = TellSessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let session = request.extensions().get().cloned();
        let rejection = request.extensions().get().copied();
        TellSessionFuture { future: self.0.call(request), session, rejection }
    }
}

pin_project! {
    /// Future of [`TellSession`].
    pub(crate) struct TellSessionFuture<F> {
        #[pin]
        future: F,
        session: Option<jwt::Session>,
        rejection: Option<jwt::Rejection>,
    }
}

impl<F> Future for TellSessionFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        if let Some(session) = this.session.take() {
            response.extensions_mut().insert(session);
        }
        if let Some(rejection) = this.rejection.take() {
            response.extensions_mut().insert(rejection);
        }
        Poll::Ready(Ok(response))
    }
}
