use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::bounded::BoundedHandshake;
use crate::client::config::ClientConfig;
use crate::error::{BoxError, Error};
use crate::handshake::Handshake;
use crate::limits::Limits;
use crate::macros::inner_service_accessors;
use crate::stream::TlsStream;

/// Service of [`ConnectLayer`](crate::ConnectLayer). Its request is a URI, its response a [`TlsStream`].
#[derive(Clone, Debug)]
pub struct Connect<S> {
    inner: S,
    config: ClientConfig,
    limits: Limits,
}

impl<S> Connect<S> {
    pub(crate) fn new(inner: S, config: ClientConfig, limits: Limits) -> Self {
        Self { inner, config, limits }
    }

    inner_service_accessors!();
}

impl<S> Service<Uri> for Connect<S>
where
    S: Service<Uri>,
    S::Response: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = TlsStream<S::Response>;
    type Error = Error;
    type Future = ConnectFuture<S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(|error| Error::Inner(error.into()))
    }

    fn call(&mut self, uri: Uri) -> ConnectFuture<S::Response> {
        let name = self.config.name(&uri);
        let config = self.config.clone();
        let limits = self.limits;
        // Without a valid server name no connection is opened.
        let connecting = name.map(|name| (name, self.inner.call(uri)));
        ConnectFuture {
            inner: Box::pin(async move {
                let (name, connecting) = connecting?;
                let io = connecting.await.map_err(|error| Error::Inner(error.into()))?;
                let io = BoundedHandshake::new(io, None, limits.max_handshake_bytes);
                let sent = match &name {
                    rustls::pki_types::ServerName::DnsName(name) => {
                        Some(name.as_ref().to_ascii_lowercase())
                    }
                    _ => None,
                };
                let handshake = TlsConnector::from(config.current()).connect(name, io);
                let handshake = async { handshake.await.map_err(|error| limits.error(error)) };
                let stream = limits.before(limits.deadline(), handshake).await?;
                let handshake = Handshake::new(sent, None, stream.get_ref().1);
                Ok(TlsStream::new(stream.into(), limits.send_buffer_bytes, handshake))
            }),
        }
    }
}

/// Future of [`Connect`].
#[must_use = "futures do nothing unless polled"]
pub struct ConnectFuture<Io> {
    inner: Pin<Box<dyn Future<Output = Result<TlsStream<Io>, Error>> + Send>>,
}

impl<Io> Future for ConnectFuture<Io> {
    type Output = Result<TlsStream<Io>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}

impl<Io> fmt::Debug for ConnectFuture<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectFuture").finish_non_exhaustive()
    }
}
