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

/// A folder of the disk. What it reads it reads on the threads for blocking work.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    location: Arc<Path>,
    symlinks: Symlinks,
}

impl Folder {
    pub(super) fn new(location: PathBuf, symlinks: Symlinks) -> Folder {
        Folder { location: location.into(), symlinks }
    }

    /// Opens what stands at a path below the location.
    fn look(&self, path: &Path) -> io::Result<(fs::File, Metadata)> {
        let file = fs::File::from(self.open(path).map_err(error)?);
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// What stands at a path. A folder is there only if it has a page: a redirect into one that has none
    /// would tell that there is one.
    fn served(&self, path: &Path) -> io::Result<Metadata> {
        let (_, metadata) = self.look(path)?;
        if metadata.is_dir() && !self.look(&path.join("index.html"))?.1.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(metadata)
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        // A pipe that nobody writes to must not hold a thread: hence without blocking.
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
        // Name by name, each from the folder before it: between a look at the whole path and the
        // opening of it someone could put a link there. The location may be behind links.
        let mut at = rustix::fs::open(&*self.location, flags | OFlags::DIRECTORY, Mode::empty())?;
        let mut names = names.into_iter().peekable();
        while let Some(name) = names.next() {
            let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
            at = rustix::fs::openat(&at, name, flags | OFlags::NOFOLLOW | kind, Mode::empty())?;
        }
        Ok(at)
    }
}

/// What follows from the path that was asked for is "not found"; the rest is the disk's fault.
fn error(error: Errno) -> io::Error {
    match error {
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::ACCESS
        | Errno::PERM
        | Errno::LOOP
        | Errno::MLINK // FreeBSD's word for a link that `NOFOLLOW` met
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
