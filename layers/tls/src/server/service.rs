use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower_service::Service;

use crate::error::{BoxError, Error};
use crate::limits::Limits;
use crate::macros::inner_service_accessors;
use crate::server::accept::{first_byte, handshake};
use crate::server::config::ServerConfig;
use crate::stream::TlsStream;

/// Service of [`TlsLayer`](crate::TlsLayer). Its request is a connection. It calls the inner service with a
/// [`TlsStream`] and returns the response of the inner service.
///
/// A client that speaks plain HTTP is answered `400 Bad Request` without TLS.
///
/// Dropping the future closes the connection.
#[derive(Clone, Debug)]
pub struct Tls<S> {
    inner: S,
    config: ServerConfig,
    limits: Limits,
}

impl<S> Tls<S> {
    pub(crate) fn new(inner: S, config: ServerConfig, limits: Limits) -> Self {
        Self { inner, config, limits }
    }

    inner_service_accessors!();
}

impl<S, Io> Service<Io> for Tls<S>
where
    S: Service<TlsStream<Io>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = TlsFuture<S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::Inner(error.into()))
    }

    fn call(&mut self, io: Io) -> TlsFuture<S::Response> {
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let deadline = self.limits.deadline();
        TlsFuture {
            stage: Box::pin(read_first_byte(inner, io, self.config.clone(), self.limits, deadline)),
        }
    }
}

/// Future of [`Tls`]: the handshake, then the future of the inner service.
#[must_use = "futures do nothing unless polled"]
pub struct TlsFuture<R> {
    stage: Stage<R>,
}

/// A stage of a connection. Each stage has a box of its own, so that a silent connection holds no memory for a
/// handshake, and an established one no memory of its handshake.
type Stage<R> = Pin<Box<dyn Future<Output = Result<Next<R>, Error>> + Send>>;

enum Next<R> {
    Stage(Stage<R>),
    End(R),
}

impl<R> Future for TlsFuture<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R, Error>> {
        loop {
            match ready!(self.stage.as_mut().poll(cx))? {
                Next::Stage(stage) => self.stage = stage,
                Next::End(response) => return Poll::Ready(Ok(response)),
            }
        }
    }
}

impl<R> fmt::Debug for TlsFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFuture").finish_non_exhaustive()
    }
}

async fn read_first_byte<S, Io>(
    inner: S,
    mut io: Io,
    config: ServerConfig,
    limits: Limits,
    deadline: Option<Instant>,
) -> Result<Next<S::Response>, Error>
where
    S: Service<TlsStream<Io>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = limits.before(deadline, first_byte(&mut io)).await;
    let first = first.inspect_err(|_| config.record_handshake(false))?;
    Ok(Next::Stage(Box::pin(accept(inner, io, first, config, limits, deadline))))
}

async fn accept<S, Io>(
    mut inner: S,
    io: Io,
    first: u8,
    config: ServerConfig,
    limits: Limits,
    deadline: Option<Instant>,
) -> Result<Next<S::Response>, Error>
where
    S: Service<TlsStream<Io>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = limits.before(deadline, handshake(io, first, config.clone(), limits)).await;
    config.record_handshake(stream.is_ok());
    drop(config);
    // Called here: the next stage has no room for the stream beside the future that it was moved into.
    let future = inner.call(stream?);
    Ok(Next::Stage(Box::pin(Called { future })))
}

pin_project! {
    /// The last stage: the future of the inner service. An `async` block would have room for two of it.
    struct Called<F> {
        #[pin]
        future: F,
    }
}

impl<F, R, E> Future for Called<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Next<R>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let called = ready!(self.project().future.poll(cx));
        Poll::Ready(called.map(Next::End).map_err(|error| Error::Inner(error.into())))
    }
}
