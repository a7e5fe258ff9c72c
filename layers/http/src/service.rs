//! The service, and the future of one connection.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;
use tower_service::Service;

use crate::config::{Config, Versions};
use crate::conn::detect_version;
use crate::conn::detect_version::DetectVersion;
use crate::conn::request::RequestService;
use crate::conn::stage::{Next, Stage};
use crate::conn::state::ConnState;
use crate::connection::{Connection, Negotiated, StallFlag};
use crate::deadline::after_or_never;
use crate::error::{BoxError, Error};

/// Service of [`HttpLayer`](crate::HttpLayer). It takes a connection, and its future is ready when the
/// connection has ended. Each request is served by a clone of the inner service, and has the extensions
/// of the connection.
///
/// HTTP/1.1 runs within the returned future. HTTP/2 runs each stream in a task that hyper spawns and
/// that ends with the connection. Dropping the future closes the connection and drops its responses.
///
/// An HTTP/1.1 response of `text/event-stream` to a GET is the last of its connection, and has
/// `connection: close`. EventSource never sends a second request on it, and without a next request the
/// connection takes less than a tenth of the memory.
///
/// If the inner service fails or panics, or a response body does, an HTTP/1.1 connection is closed
/// without a response and an HTTP/2 stream is reset. Over HTTP/1.1 the panic unwinds through the returned
/// future, so that it should run in a task of its own, as in [`serve`](crate::serve()).
#[derive(Clone, Debug)]
pub struct Http<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> Http<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    accessors!(inner: S, "inner service");
}

impl<S, B, Io> Service<Connection<Io>> for Http<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = ConnectionFuture;

    /// Always ready. Before each request its clone of the inner service is made ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connection: Connection<Io>) -> ConnectionFuture {
        let (io, mut extensions) = connection.into_parts();
        let versions = match extensions.get() {
            Some(Negotiated::Http1) => Versions::Http1,
            Some(Negotiated::Http2) => Versions::Http2,
            None => self.config.versions,
        };
        let state = Arc::new(ConnState::default());
        extensions.insert(StallFlag(Arc::clone(&state)));
        let on_rejection = self.config.on_rejection.clone();
        let requests =
            RequestService::new(self.inner.clone(), extensions, Arc::clone(&state), on_rejection);
        let io = DetectVersion::new(io, Arc::clone(&state));
        let timer = Box::pin(sleep_until(after_or_never(self.config.first_request_timeout)));
        let config = Arc::clone(&self.config);
        ConnectionFuture {
            stage: Box::pin(detect_version(io, versions, requests, state, timer, config)),
        }
    }
}

/// Future of [`Http`]: one connection. It is ready when the connection has ended.
#[must_use = "futures do nothing unless polled"]
pub struct ConnectionFuture {
    stage: Stage,
}

impl Future for ConnectionFuture {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match ready!(self.stage.as_mut().poll(cx))? {
                Next::Stage(stage) => self.stage = stage,
                Next::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for ConnectionFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionFuture").finish_non_exhaustive()
    }
}
