//! hyper's connections of the two versions.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::{
    driver::Graceful,
    error::{BoxError, Error},
    layer::Config,
    request::{Requests, Taken},
    service::Next,
    stream::Stream,
    watched::Watched,
};

type Http1Connection<Io, S, B> = http1::Connection<TokioIo<Watched<Io>>, Requests<S, B>>;
type Http2Connection<Io, S, B> =
    http2::Connection<TokioIo<Watched<Io>>, Requests<S, B>, TokioExecutor>;

/// A connection of HTTP/1.1; an event stream is a stage of its own.
pub(crate) struct Http1<Io, S, B>
where
    Requests<S, B>: HttpService<Incoming>,
{
    /// None when it is over.
    connection: Option<Http1Connection<Io, S, B>>,
    taken: Taken<B>,
    config: Arc<Config>,
}

impl<Io, S, B> Http1<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(crate) fn new(io: Watched<Io>, requests: Requests<S, B>, config: Arc<Config>) -> Self {
        let taken = requests.taken();
        let connection = config.http1.serve_connection(TokioIo::new(io), requests);
        Self { connection: Some(connection), taken, config }
    }
}

impl<Io, S, B> Future for Http1<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<Next, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let ended = ready!(Pin::new(connection).poll(cx));
        let response = self.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (response, self.connection.take()) {
            (Some(response), Some(connection)) => {
                let io = connection.into_parts().io.into_inner().into_inner();
                let stream = Stream::new(io, response, Arc::clone(&self.config));
                Poll::Ready(Ok(Next::Stage(Box::pin(stream))))
            }
            _ => Poll::Ready(ended.map(|()| Next::End).map_err(Error::Http)),
        }
    }
}

impl<Io, S, B> Graceful for Http1<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        if let Some(connection) = &mut self.connection {
            Pin::new(connection).graceful_shutdown();
        }
    }
}

pin_project! {
    /// A connection of HTTP/2.
    pub(crate) struct Http2<Io, S, B>
    where
        Requests<S, B>: HttpService<Incoming>,
    {
        #[pin]
        connection: Http2Connection<Io, S, B>,
    }
}

impl<Io, S, B> Http2<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(crate) fn new(io: Watched<Io>, requests: Requests<S, B>, config: &Config) -> Self {
        Self { connection: config.http2.serve_connection(TokioIo::new(io), requests) }
    }
}

impl<Io, S, B> Future for Http2<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Result<Next, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        self.project().connection.poll(cx).map_ok(|()| Next::End).map_err(Error::Http)
    }
}

impl<Io, S, B> Graceful for Http2<Io, S, B>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.project().connection.graceful_shutdown();
    }
}
