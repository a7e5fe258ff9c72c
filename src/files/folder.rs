//! Opens files below a location, and nothing else.

use std::fs::{self, Metadata};
use std::future::{Future, Ready, ready};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::spawn_blocking;
use tower_http::services::fs::{Backend, File};

use crate::config::Symlinks;

type Pending<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A folder on disk. Reads run on tokio's threads for blocking work.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    location: Arc<Path>,
    symlinks: Symlinks,
}

impl Folder {
    pub(super) fn new(location: PathBuf, symlinks: Symlinks) -> Folder {
        Folder { location: location.into(), symlinks }
    }

    /// Opens the file or folder at a path below the location.
    fn look(&self, path: &Path) -> io::Result<(fs::File, Metadata)> {
        let file = fs::File::from(self.open(path).map_err(error)?);
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// The metadata of a path. A folder without `index.html` is not found: a redirect to it would reveal that it
    /// exists.
    fn served(&self, path: &Path) -> io::Result<Metadata> {
        let (_, metadata) = self.look(path)?;
        if metadata.is_dir() && !self.look(&path.join("index.html"))?.1.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(metadata)
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        // A pipe without a writer would block the thread, hence `NONBLOCK`.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => names.push(name),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(Errno::NOENT);
                }
            }
        }
        if self.symlinks == Symlinks::Follow {
            let names: PathBuf = names.into_iter().collect();
            return rustix::fs::open(self.location.join(names), flags, Mode::empty());
        }
        // Each name is opened relative to the folder before it. If the whole path was checked first and opened
        // afterwards, another process could put a link there in between. The location itself may contain links.
        let mut at = rustix::fs::open(&*self.location, flags | OFlags::DIRECTORY, Mode::empty())?;
        let mut names = names.into_iter().peekable();
        while let Some(name) = names.next() {
            let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
            at = rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW | kind, Mode::empty())?;
        }
        Ok(at)
    }
}

/// An error that the requested path causes is "not found". Other errors are failures of the disk.
fn error(error: Errno) -> io::Error {
    match error {
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::ACCESS
        | Errno::PERM
        | Errno::LOOP
        | Errno::MLINK // FreeBSD's error for a link with `NOFOLLOW`
        | Errno::NAMETOOLONG
        | Errno::INVAL
        | Errno::ILSEQ
        | Errno::NXIO // a socket
        | Errno::NODEV => io::ErrorKind::NotFound.into(),
        other => other.into(),
    }
}

impl Backend for Folder {
    type File = OpenFile;
    type Metadata = Metadata;
    type OpenFuture = Pending<OpenFile>;
    type MetadataFuture = Pending<Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let folder = self.clone();
        Box::pin(async move {
            let (file, metadata) = spawn_blocking(move || folder.look(&path)).await??;
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(OpenFile { file: tokio::fs::File::from_std(file), metadata })
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let folder = self.clone();
        Box::pin(async move { spawn_blocking(move || folder.served(&path)).await? })
    }
}

/// A regular file of a [`Folder`].
#[derive(Debug)]
pub(super) struct OpenFile {
    file: tokio::fs::File,
    metadata: Metadata,
}

impl File for OpenFile {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.metadata.clone()))
    }
}

impl AsyncRead for OpenFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
