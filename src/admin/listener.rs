//! The address of the port: TCP, or a socket of the file system.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, fchmod};
use tailwater_http::{Accept, ListenOptions, Listener};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

const BACKLOG: u32 = 64;

/// An address for administration: `127.0.0.1:9902`, `[::1]:9902`, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 127.0.0.1:9902, or unix:PATH")]
#[non_exhaustive]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let kind = match text.strip_prefix("unix:") {
            Some("") => return Err(AddressError),
            Some(path) => Kind::Unix(path.into()),
            None => Kind::Tcp(text.parse().map_err(|_| AddressError)?),
        };
        Ok(Self(kind))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp(address) => address.fmt(f),
            Kind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether only processes of this machine reach it.
    pub(super) fn is_local(&self) -> bool {
        match &self.0 {
            Kind::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Kind::Unix(_) => true,
        }
    }
}

/// A listener at an [`Address`].
pub(super) enum Bound {
    Tcp(Listener),
    Unix(UnixPort, SocketFile),
}

impl Bound {
    /// The address that was bound: for port 0 the system has chosen a port.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_address().map(|address| address.to_string()).unwrap_or_default()
            }
            Self::Unix(_, file) => Address(Kind::Unix(file.path.clone())).to_string(),
        }
    }
}

pub(super) fn bind(address: &Address) -> io::Result<Bound> {
    match &address.0 {
        Kind::Tcp(address) => {
            let listener = ListenOptions::new().backlog(BACKLOG).bind(*address)?;
            listener.local_address()?;
            Ok(Bound::Tcp(listener))
        }
        Kind::Unix(path) => {
            remove_stale(path)?;
            let socket = UnixSocket::new_stream()?;
            // Before the bind: Linux gives the mode of the descriptor to the file, so that at no time anybody
            // else can connect.
            fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            socket.bind(path)?;
            let file = SocketFile::new(path)?;
            let listener = UnixPort(socket.listen(BACKLOG)?);
            Ok(Bound::Unix(listener, file))
        }
    }
}

/// Removes the socket of a process that has ended without doing so.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        // A bind to the path of any other file fails.
        return Ok(());
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The file of a socket, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64, i64, i64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

/// Device and inode, which a later file may have, too, and the time of its last change.
fn identity(path: &Path) -> io::Result<(u64, u64, i64, i64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its socket there.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // There is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listening socket of the file system.
#[derive(Debug)]
pub(super) struct UnixPort(UnixListener);

impl Accept for UnixPort {
    type Io = UnixStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        let (stream, _) = ready!(self.0.poll_accept(cx))?;
        // Such a peer has no address.
        Poll::Ready(Ok((stream, SocketAddr::from(([127, 0, 0, 1], 0)))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_loopback_and_sockets_of_the_file_system_are_local() {
        for (text, is_local) in [
            ("127.0.0.1:9902", Some(true)),
            ("127.9.9.9:1", Some(true)),
            ("[::1]:9902", Some(true)),
            ("[::ffff:127.0.0.1]:9902", Some(true)),
            ("unix:/run/tailwater.sock", Some(true)),
            ("0.0.0.0:9902", Some(false)),
            ("[::]:9902", Some(false)),
            ("10.0.0.1:9902", Some(false)),
            ("[::ffff:10.0.0.1]:9902", Some(false)),
            ("unix:", None),
            ("localhost:9902", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            let address = text.parse::<Address>().ok();
            assert_eq!(address.as_ref().map(Address::is_local), is_local, "{text}");
            if let Some(address) = address {
                assert_eq!(address.to_string(), text);
            }
        }
    }

    fn bind_at(path: &Path) -> io::Result<Bound> {
        bind(&Address(Kind::Unix(path.to_owned())))
    }

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        let bound = bind_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let error = bind_at(&path).err().expect("it is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_replaced_and_no_other_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin");
        let Bound::Unix(listener, file) = bind_at(&path).unwrap() else { panic!("a socket") };
        // As a process that is killed leaves it.
        drop(listener);
        let bound = bind_at(&path).unwrap();
        drop(file);
        assert!(path.exists(), "it is of the second one");
        drop(bound);

        fs::write(&path, "text").unwrap();
        assert!(bind_at(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }
}
