//! The operations on a socket that the accept loop and the write deadline need.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

/// A byte stream that [`serve`](crate::serve()) and [`WriteDeadline`](crate::WriteDeadline) can run. Each
/// method has a default, so that an empty `impl` is enough for a type of your own.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Moves the socket to the current runtime, which may be another than the one that accepted it:
    /// see [`Workers`](crate::Workers). Default: it stays as it is.
    ///
    /// # Errors
    /// That of the runtime; the socket is dropped then.
    fn into_current_runtime(self) -> io::Result<Self>
    where
        Self: Sized,
    {
        Ok(self)
    }

    /// Writes what the socket takes right now, whether or not the runtime reports it writable: see
    /// [`WriteDeadline`](crate::WriteDeadline). Default: it takes nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if the socket takes nothing, or the error of the write.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// A write has to wait for the first time. From now on the write deadline decides whether the
    /// peer is alive, so that timeouts of the kernel can be lifted. Default: nothing.
    fn on_write_blocked(&self) {}

    /// The write deadline is over, and the socket is dropped next. Bytes that the peer has not taken
    /// are to be dropped with it. Default: nothing.
    fn abort(&self) {}
}

impl Socket for TcpStream {
    fn into_current_runtime(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(self).send(bytes)
    }

    fn on_write_blocked(&self) {
        // Where it fails the connection may be reset earlier, and its client resumes.
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let _ = SockRef::from(self).set_tcp_user_timeout(None);
    }

    fn abort(&self) {
        // Reset, not closed: the kernel would keep the bytes for minutes, and a peer that reads again
        // would first get those. A client of an event stream resumes after the last event that it got.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// A connection of a socket of the file system. It is always local, and has no timeouts of the kernel.
#[cfg(unix)]
impl Socket for tokio::net::UnixStream {}

/// For tests: a pipe in memory.
impl Socket for DuplexStream {}
