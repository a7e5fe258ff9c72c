//! The connection of a client, over TCP or TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::clients::PATIENCE;
use crate::tls;

/// The receive buffer of a client. By default the kernel uses megabytes for each. Then a server that has its
/// events early would be measured by the memory that they fill, since on the same machine the server copies
/// into the receive buffer. With less than four segments of the loopback device (64 KiB each) the sockets stall.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Connection {
    /// Connects, performs the handshake, and writes the request.
    pub(super) fn open(
        address: SocketAddr,
        source: Option<Ipv4Addr>,
        tls: Option<&Arc<ClientConfig>>,
        request: &[u8],
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect(&address.into())?;
        let mut socket = std::net::TcpStream::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        let session = match tls {
            None => {
                socket.write_all(request)?;
                None
            }
            Some(config) => {
                let mut session = ClientConnection::new(Arc::clone(config), tls::NAME.try_into()?)?;
                while session.is_handshaking() {
                    session
                        .complete_io(&mut socket)
                        .map_err(|error| format!("the handshake failed: {error}"))?;
                }
                session.writer().write_all(request)?;
                while session.wants_write() {
                    session.write_tls(&mut socket)?;
                }
                Some(Box::new(session))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpStream::from_std(socket), session })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.socket)
    }

    /// Writes a few bytes. The server reads, so that the socket has room for them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else { return self.socket.write_all(bytes) };
        session.writer().write_all(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Reads. If it returns less than the buffer holds, no more bytes had arrived. 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.socket.read(buffer) };
        let mut filled = 0;
        while let Some(left) = buffer.get_mut(filled..).filter(|left| !left.is_empty()) {
            match session.reader().read(left) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match session.read_tls(&mut self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
                Err(error) => return Err(error),
                // At the end of the socket the reader of the session returns the end.
                Ok(_) => session.process_new_packets().map_err(io::Error::other)?,
            };
        }
        Ok(filled)
    }
}
