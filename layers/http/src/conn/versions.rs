//! The connections of hyper, one type for each version.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Config;
use crate::conn::cork::Cork;
use crate::conn::detect_version::DetectVersion;
use crate::conn::driver::Graceful;
use crate::conn::event_stream::EventStream;
use crate::conn::request::{HandedOff, InnerService, RequestService};
use crate::conn::stage::Next;
use crate::error::Error;

type Http1Connection<Io, S> = http1::Connection<TokioIo<DetectVersion<Io>>, RequestService<S>>;
type Http2Connection<Io, S> =
    http2::Connection<TokioIo<Cork<DetectVersion<Io>>>, RequestService<S>, TokioExecutor>;

/// A connection of HTTP/1.1. An event stream on it is the next stage.
pub(crate) struct Http1<Io, S: InnerService> {
    /// `None` when it has ended.
    connection: Option<Http1Connection<Io, S>>,
    handed_off: HandedOff<S::Body>,
    config: Arc<Config>,
}

impl<Io, S> Http1<Io, S>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: InnerService,
{
    pub(crate) fn new(
        io: DetectVersion<Io>,
        requests: RequestService<S>,
        config: Arc<Config>,
    ) -> Self {
        let handed_off = requests.handed_off();
        let connection = config.http1.serve_connection(TokioIo::new(io), requests);
        Self { connection: Some(connection), handed_off, config }
    }
}

impl<Io, S> Graceful for Http1<Io, S>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: InnerService,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let ended = ready!(Pin::new(connection).poll(cx));
        let response = self.handed_off.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (response, self.connection.take()) {
            (Some(response), Some(connection)) => {
                let io = connection.into_parts().io.into_inner().into_inner();
                let stream = EventStream::new(io, response, Arc::clone(&self.config));
                Poll::Ready(Ok(Next::Stage(Box::pin(stream))))
            }
            (None, Some(connection)) => {
                if let Err(error) = &ended {
                    connection.into_parts().service.rejected(error);
                }
                Poll::Ready(ended.map(|()| Next::End).map_err(Error::Http))
            }
            (_, None) => Poll::Ready(ended.map(|()| Next::End).map_err(Error::Http)),
        }
    }

    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        if let Some(connection) = &mut self.connection {
            Pin::new(connection).graceful_shutdown();
        }
    }
}

pin_project! {
    /// A connection of HTTP/2.
    pub(crate) struct Http2<Io, S: InnerService> {
        #[pin]
        connection: Http2Connection<Io, S>,
        io: Cork<DetectVersion<Io>>,
    }
}

impl<Io, S> Http2<Io, S>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: InnerService,
{
    pub(crate) fn new(io: DetectVersion<Io>, requests: RequestService<S>, config: &Config) -> Self {
        let io = Cork::new(io);
        let connection = config.http2.serve_connection(TokioIo::new(io.clone()), requests);
        Self { connection, io }
    }
}

impl<Io, S> Graceful for Http2<Io, S>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: InnerService,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        let this = self.project();
        if let Poll::Ready(ended) = this.connection.poll(cx) {
            return Poll::Ready(ended.map(|()| Next::End).map_err(Error::Http));
        }
        match this.io.poll_uncork(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(Error::Write(error))),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.project().connection.graceful_shutdown();
    }
}
