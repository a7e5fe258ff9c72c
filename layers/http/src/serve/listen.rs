//! TCP listeners with every socket option stated.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::serve::Socket;

/// A listener of [`serve`](crate::serve()).
pub trait Accept {
    /// The socket of a connection.
    type Io: Socket;

    /// The next connection and its remote address. After an error the method is called again.
    ///
    /// # Errors
    /// The error of the accept. If it is that of a single connection (reset, aborted, unreachable),
    /// `serve` goes on at once. Any other error counts as a shortage of file descriptors, and `serve`
    /// waits before the next call.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, SocketAddr)>>;
}

/// The options of a listening socket, which its connections inherit.
///
/// `SO_REUSEADDR` and `TCP_NODELAY` are always set.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use tailwater_http::ListenOptions;
///
/// let listener = ListenOptions::new().backlog(4096).bind(([127, 0, 0, 1], 0).into())?;
/// assert_ne!(listener.local_address()?.port(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ListenOptions {
    backlog: u32,
    send_buffer_bytes: Option<usize>,
    tcp_user_timeout: Option<Duration>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// The default options.
    pub fn new() -> Self {
        Self {
            backlog: 4096,
            send_buffer_bytes: Some(128 * 1024),
            tcp_user_timeout: Some(Duration::from_secs(60)),
        }
    }

    /// The number of connections that may wait to be accepted. Default: 4096, so that the clients of an
    /// instance that failed can connect all at once. The kernel limits it to `net.core.somaxconn`.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// `SO_SNDBUF`, the bytes that the kernel keeps until the client acknowledges them. Linux doubles the
    /// number and counts its own overhead. `None` leaves it to the kernel, and Linux then gives each slow
    /// client up to 4 MiB. Default: 128 KiB.
    ///
    /// The number also bounds the bytes in flight: the default allows 1.2 MiB/s to a client 100 ms away. It
    /// has room for two HTTP buffers of 64 KiB, so that one is sent while the other is filled.
    pub fn send_buffer_bytes(mut self, bytes: Option<usize>) -> Self {
        self.send_buffer_bytes = bytes;
        self
    }

    /// The time after which a peer that acknowledges nothing is considered dead: `TCP_USER_TIMEOUT`, where
    /// the system has it, and keep-alive probes from half of the time on when nothing is sent. Default:
    /// 60 s. Values below 6 s are set to 6 s. `None` leaves it to the kernel, which takes hours.
    ///
    /// Linux from 5.11 on also resets a peer whose window closed that long ago, even if it has opened since
    /// (seen in 6.18 at 2 kB/s). So the timeout is lifted from a connection once a write has to wait. From
    /// then on the write deadline of [`ServeOptions`](crate::ServeOptions) checks that the peer takes bytes.
    /// A peer that is gone is then detected when the buffer of the socket is full, or by the kernel (after
    /// some 15 min on Linux).
    pub fn tcp_user_timeout(mut self, time: Option<Duration>) -> Self {
        self.tcp_user_timeout = time.map(|time| time.max(Duration::from_secs(6)));
        self
    }

    /// Binds a listener to this address. Port 0 is any free port.
    ///
    /// # Errors
    /// The address is in use or does not belong to this machine, its port needs a privilege, or no file
    /// descriptor is left.
    ///
    /// # Panics
    /// If it is called outside of a Tokio runtime.
    pub fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // On other systems than Unix it would let another process take over the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(time) = self.tcp_user_timeout {
            let keepalive = TcpKeepalive::new().with_time(time / 2).with_interval(time / 6);
            socket.set_tcp_keepalive(&keepalive)?;
            #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
            socket.set_tcp_user_timeout(Some(time))?;
        }
        socket.bind(&address.into())?;
        socket.listen(self.backlog.try_into().unwrap_or(i32::MAX))?;
        Ok(Listener { inner: TcpListener::from_std(socket.into())? })
    }
}

/// A listening TCP socket, made by [`ListenOptions::bind`].
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// The address of the listener.
    ///
    /// # Errors
    /// That of `getsockname`.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Accept for Listener {
    type Io = TcpStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (stream, peer) = ready!(self.inner.poll_accept(cx))?;
        // On Linux and the BSDs a connection inherits it from the listener, but not on all systems.
        #[cfg(not(target_os = "linux"))]
        let _ = stream.set_nodelay(true);
        Poll::Ready(Ok((stream, peer)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use socket2::SockRef;
    use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

    use super::*;
    use crate::WriteDeadline;

    #[tokio::test]
    async fn connections_have_the_options_of_their_listener() {
        let mut listener = ListenOptions::new()
            .send_buffer_bytes(Some(32 * 1024))
            .tcp_user_timeout(Some(Duration::from_secs(12)))
            .bind(([127, 0, 0, 1], 0).into())
            .unwrap();
        let client = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
        let (stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.send_buffer_size().unwrap(), 64 * 1024); // doubled
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(12)));
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(6));
        }
    }

    /// Linux resets a peer whose window was closed for that long, even if it opens now and then.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_peer_that_made_a_write_wait_is_not_reset_by_the_kernel() {
        let mut listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap();
        let _client = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
        let (stream, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        let mut io = WriteDeadline::new(stream, Duration::from_secs(60));
        let timeout =
            |io: &WriteDeadline<TcpStream>| SockRef::from(io.get_ref()).tcp_user_timeout().unwrap();
        io.write_all(b"taken at once").await.unwrap();
        assert_eq!(timeout(&io), Some(Duration::from_secs(60)));
        let piece = [0; 64 * 1024];
        while poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_write(cx, &piece))).await.is_ready() {
        }
        assert_eq!(timeout(&io), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_byte_in_time_is_reset() {
        let mut listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap();
        let mut client = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
        let (stream, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        let mut io = WriteDeadline::new(stream, Duration::from_secs(60));
        let error = io.write_all(&vec![0; 32 * 1024 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(io);
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap();
        let error = ListenOptions::new().bind(listener.local_address().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
