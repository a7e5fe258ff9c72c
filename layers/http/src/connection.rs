//! A connection, and what is known about it.

use std::net::SocketAddr;

use http::Extensions;

/// The address that a connection comes from: [`serve`](crate::serve) puts it into the connection's
/// extensions, from where it gets into those of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// A peer at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self(address)
    }
}

/// The protocol that was agreed on below HTTP, as by ALPN. In a connection's extensions it decides:
/// the first bytes are not looked at, the connection is held to it, and
/// [`HttpLayer::versions`](crate::HttpLayer::versions) is not asked.
///
/// Whoever does the TLS handshake puts it there, and offers no protocol that is not to be spoken.
/// Without it, as for a client that does not know ALPN, the first bytes tell.
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
    /// HTTP/1.1, `http/1.1`. A client that sends HTTP/2 is answered 400.
    Http1,
    /// HTTP/2, `h2`. A client that sends anything else is closed.
    Http2,
}

impl Negotiated {
    /// The protocol of an ALPN name, if it is one of HTTP's that are spoken here.
    #[must_use]
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        match name {
            b"h2" => Some(Self::Http2),
            b"http/1.1" | b"http/1.0" => Some(Self::Http1),
            _ => None,
        }
    }
}

/// A byte stream, and as typed extensions what the layers below HTTP know about it: the address of
/// the peer, what a TLS handshake found out. Each of its requests gets a copy of them.
///
/// ```
/// use tailwater_http::{Connection, Peer};
///
/// let (io, _peer) = tokio::io::duplex(1024);
/// let mut connection = Connection::new(io);
/// connection.extensions_mut().insert(Peer::new(([127, 0, 0, 1], 4711).into()));
///
/// // A layer in between: another byte stream, the same knowledge.
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
    /// A connection of which nothing is known.
    pub fn new(io: Io) -> Self {
        Self { io, extensions: Extensions::new() }
    }

    /// The byte stream.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// What is known.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is known, to add to it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Takes it apart; `From` puts it together again.
    pub fn into_parts(self) -> (Io, Extensions) {
        (self.io, self.extensions)
    }
}

impl<Io> From<(Io, Extensions)> for Connection<Io> {
    fn from((io, extensions): (Io, Extensions)) -> Self {
        Self { io, extensions }
    }
}
