use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::HttpConnector;
use tailwater_sse::BoxError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::Error;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection of any kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connector of any type.
pub(crate) trait Connect: Send {
    fn connect(&self, uri: Uri) -> BoxFuture<Result<Box<dyn Io>, Error>>;
}

impl<C> Connect for C
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    fn connect(&self, uri: Uri) -> BoxFuture<Result<Box<dyn Io>, Error>> {
        let mut connector = self.clone();
        Box::pin(async move {
            let failed = |error: C::Error| Error::Connect(error.into());
            poll_fn(|cx| connector.poll_ready(cx)).await.map_err(failed)?;
            let io = connector.call(uri).await.map_err(failed)?;
            Ok(Box::new(io) as Box<dyn Io>)
        })
    }
}

/// Connects to the host of a URL over TCP, without TLS. It tries the addresses of the host one after the other,
/// IPv4 beside IPv6.
///
/// A connector for TLS wraps this one. `TCP_NODELAY` is set, and keep-alive probes find a vanished peer after
/// 60 s of silence.
#[derive(Clone)]
#[must_use]
pub struct TcpConnector {
    inner: HttpConnector,
    address: Option<Uri>,
}

impl TcpConnector {
    /// A connector with the default timeout.
    pub fn new() -> Self {
        let mut inner = HttpConnector::new();
        // A TLS connector around this one passes URLs with `https` to it.
        inner.enforce_http(false);
        inner.set_nodelay(true);
        inner.set_keepalive(Some(Duration::from_secs(60)));
        inner.set_keepalive_interval(Some(Duration::from_secs(15)));
        inner.set_keepalive_retries(Some(3));
        Self { inner, address: None }.connect_timeout(Duration::from_secs(10))
    }

    /// Sets how long connecting may take. The time is divided among the addresses of a host, so that an
    /// address that does not answer leaves time for the others. Name resolution is not included (see
    /// [`EventSourceBuilder::connect_timeout`](crate::EventSourceBuilder::connect_timeout)). Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.inner.set_connect_timeout(Some(timeout));
        self
    }

    /// Connects to this host and port in place of those of the URL.
    pub fn address(mut self, address: Authority) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(address);
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        self.address = Uri::from_parts(parts).ok();
        self
    }
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TcpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpConnector").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Service<Uri> for TcpConnector {
    type Response = TcpStream;
    type Error = BoxError;
    type Future = BoxFuture<Result<TcpStream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(self.address.clone().unwrap_or(uri));
        Box::pin(async move { Ok(connecting.await?.into_inner()) })
    }
}
