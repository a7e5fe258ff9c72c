//! The layer and the service of a client.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::config::ClientConfig;
use crate::error::{BoxError, Error};
use crate::guarded::Guarded;
use crate::handshake::Handshake;
use crate::limits::Limits;
use crate::macros::inner_service_accessors;
use crate::stream::TlsStream;

/// Makes TLS of the connections of a connector, whatever the scheme of the URI is.
///
/// ```
/// use tailwater_tls::{ClientConfig, ClientOptions, ConnectLayer, Credentials, Roots};
/// use tower::{Layer, service_fn};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let certificate = made.cert.der();
///
/// let tcp = service_fn(async |uri: http::Uri| {
///     let host = uri.host().unwrap_or_default();
///     tokio::net::TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await
/// });
/// let credentials = Credentials::new().roots(Roots::none().with([certificate])?);
/// let config = ClientConfig::new(credentials, ClientOptions::new().alpn(["h2"]))?;
/// let connector = ConnectLayer::new(config).layer(tcp);
/// # let _ = connector;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConnectLayer {
    config: ClientConfig,
    limits: Limits,
}

impl ConnectLayer {
    /// TLS with this configuration, and the limits that the options name.
    pub fn new(config: ClientConfig) -> Self {
        Self { config, limits: Limits::default() }
    }

    /// From the connection to the end of the handshake. Connecting is the connector's matter.
    /// Default: 10 s; 0 is no deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.limits.deadline = deadline;
        self
    }

    /// How much a server may send before its handshake is over. Default: 64 KiB.
    pub fn handshake_bytes(mut self, bytes: usize) -> Self {
        self.limits.handshake_bytes = bytes;
        self
    }

    /// How much of what was written may wait, encrypted, for a server that takes nothing. Default:
    /// 64 KiB; what is below 16 KiB, a record, is 16 KiB.
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.limits.send_buffer_bytes = bytes.max(16 * 1024);
        self
    }
}

impl<S> Layer<S> for ConnectLayer {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        Connect { inner, config: self.config.clone(), limits: self.limits }
    }
}

/// Service of [`ConnectLayer`]: a URI in, a [`TlsStream`] out, whose
/// [`handshake`](TlsStream::handshake) says what was agreed on.
#[derive(Clone, Debug)]
pub struct Connect<S> {
    inner: S,
    config: ClientConfig,
    limits: Limits,
}

impl<S> Connect<S> {
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
        // Nothing is connected to if nobody could be asked for there.
        let connecting = name.map(|name| (name, self.inner.call(uri)));
        ConnectFuture {
            inner: Box::pin(async move {
                let (name, connecting) = connecting?;
                let io = connecting.await.map_err(|error| Error::Inner(error.into()))?;
                let io = Guarded::new(io, None, limits.handshake_bytes);
                let sent = match &name {
                    rustls::pki_types::ServerName::DnsName(name) => {
                        Some(name.as_ref().to_ascii_lowercase())
                    }
                    _ => None,
                };
                let handshake = TlsConnector::from(config.current()).connect(name, io);
                let handshake = async { handshake.await.map_err(|error| limits.error(error)) };
                let stream = limits.within(limits.end(), handshake).await?;
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
