//! A connection and its extensions.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Extensions, Request, StatusCode};
use hyper::body::Incoming;

use crate::conn::state::ConnState;

/// The remote address of a connection. [`serve`](crate::serve()) puts it into the extensions of the
/// connection, which are copied into those of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// A peer with this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self(address)
    }
}

/// Whether the peer of a connection takes what is written to it. [`Http`](crate::Http) puts it into the extensions of
/// each request. A response body that keeps it can tell, when it is dropped, a stalled client from one that has left.
#[derive(Clone, Debug)]
pub struct StallFlag(pub(crate) Arc<ConnState>);

impl StallFlag {
    /// Whether the connection ended because its peer took no byte within the
    /// [`WriteDeadline`](crate::WriteDeadline). It is set before the bodies of the connection are dropped.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_stalled()
    }

    /// How many bytes wait until the peer takes them: those that the last write to the socket could not hand over. 0
    /// if it has handed over all. What the kernel and TLS keep is not part of it.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.0.waiting_bytes()
    }
}

/// A request that was answered before it reached the inner service: see
/// [`HttpLayer::on_rejection`](crate::HttpLayer::on_rejection).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rejection<'a> {
    /// The status of the response.
    pub status: StatusCode,
    /// The extensions of the connection.
    pub extensions: &'a Extensions,
    /// The head of a request whose `Host` is not valid. `None` if the bytes read as no request.
    pub request: Option<&'a Request<Incoming>>,
}

/// The protocol that was negotiated below HTTP, as by ALPN. If it is in the extensions of a connection,
/// the version is not detected by the first bytes, other protocols are refused, and
/// [`HttpLayer::versions`](crate::HttpLayer::versions) has no effect.
///
/// The layer of the TLS handshake puts it there. It should offer only protocols that are to be spoken.
/// Without it, as for a client without ALPN, the first bytes decide.
///
/// ```
/// use tailwater_http::{Connection, Negotiated};
///
/// let (io, _peer) = tokio::io::duplex(1024);
/// let mut connection = Connection::new(io);
/// if let Some(negotiated) = Negotiated::from_alpn(b"h2") {
///     connection.extensions_mut().insert(negotiated);
/// }
/// assert_eq!(connection.extensions().get(), Some(&Negotiated::Http2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Negotiated {
    /// HTTP/1.1 (`http/1.1`). A client that sends HTTP/2 is answered 400.
    Http1,
    /// HTTP/2 (`h2`). The connection of a client that sends anything else is closed.
    Http2,
}

impl Negotiated {
    /// The protocol of an ALPN name, if it is a version of HTTP that this crate supports.
    #[must_use]
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        match name {
            b"h2" => Some(Self::Http2),
            b"http/1.1" | b"http/1.0" => Some(Self::Http1),
            _ => None,
        }
    }
}

/// A byte stream with typed extensions. Layers below HTTP insert the remote address or the result of a TLS
/// handshake. Each request of the connection gets a copy of the extensions.
///
/// ```
/// use tailwater_http::{Connection, Peer};
///
/// let (io, _peer) = tokio::io::duplex(1024);
/// let mut connection = Connection::new(io);
/// connection.extensions_mut().insert(Peer::new(([127, 0, 0, 1], 4711).into()));
///
/// // A layer in between wraps the byte stream and keeps the extensions.
/// let (io, extensions) = connection.into_parts();
/// let connection = Connection::from((tokio::io::BufReader::new(io), extensions));
/// assert_eq!(connection.extensions().get::<Peer>().unwrap().0.port(), 4711);
/// ```
#[derive(Clone, Debug)]
pub struct Connection<Io> {
    io: Io,
    extensions: Extensions,
}

impl<Io> Connection<Io> {
    /// A connection without extensions.
    pub fn new(io: Io) -> Self {
        Self { io, extensions: Extensions::new() }
    }

    /// The byte stream.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// The extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The extensions, to change them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Splits the connection into its parts. `From` joins them again.
    pub fn into_parts(self) -> (Io, Extensions) {
        (self.io, self.extensions)
    }
}

impl<Io> From<(Io, Extensions)> for Connection<Io> {
    fn from((io, extensions): (Io, Extensions)) -> Self {
        Self { io, extensions }
    }
}
