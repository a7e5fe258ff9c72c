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

/// Connects by TCP to the host of a URL, without TLS: all its addresses in turn, IPv4 beside IPv6.
///
/// A connector that speaks TLS is put around it. Connections have `TCP_NODELAY` set, and find a peer that
/// vanished by probes after 60 s of silence.
#[derive(Clone)]
pub struct TcpConnector {
    inner: HttpConnector,
    address: Option<Uri>,
}

impl TcpConnector {
    /// A connector with a deadline of 10 s.
    pub fn new() -> Self {
        let mut inner = HttpConnector::new();
        // It is asked for `https` by the TLS connector around it.
        inner.enforce_http(false);
        inner.set_nodelay(true);
        inner.set_keepalive(Some(Duration::from_secs(60)));
        inner.set_keepalive_interval(Some(Duration::from_secs(15)));
        inner.set_keepalive_retries(Some(3));
        Self { inner, address: None }.deadline(Duration::from_secs(10))
    }

    /// How long connecting may take: divided by the number of a host's addresses, so that one that does not
    /// answer leaves time for the others. Looking up the name is not part of it (see
    /// [`Options::connect_deadline`](crate::Options::connect_deadline)).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.inner.set_connect_timeout(Some(deadline));
        self
    }

    /// Connects to this host and port, whatever the URL says.
    #[must_use]
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
