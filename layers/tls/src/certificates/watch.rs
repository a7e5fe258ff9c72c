use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::certificates::store::Store;

/// Detects that the content of files has changed.
///
/// It reads the files at an interval and does not use file system events. Therefore it works on every file
/// system, with files that are replaced by a rename, and with the symbolic links of a Kubernetes volume. It
/// reads the first MiB of each file, which is the maximum length of a [`Store`].
///
/// ```no_run
/// use std::fs;
/// use tailwater_tls::{BoxError, Credentials, ServerConfig, ServerOptions, Store, Watch};
///
/// # #[tokio::main] async fn main() -> Result<(), BoxError> {
/// let load = || -> Result<Credentials, BoxError> {
///     let store = Store::pkcs12(&fs::read("server.p12")?, "secret")?;
///     Ok(Credentials::new().identity(store.identity("localhost")?))
/// };
/// let watch = Watch::new(["server.p12"]); // before the file is read, so that no change is missed
/// let config = ServerConfig::new(load()?, ServerOptions::new())?;
/// let reload = {
///     let config = config.clone();
///     move || -> Result<(), BoxError> { Ok(config.rotate(load()?)?) }
/// };
/// tokio::spawn(watch.run(Watch::INTERVAL, reload));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    hasher: RandomState,
    seen: Vec<Fingerprint>,
}

/// A hash of a file. The bytes are not kept, since they may be a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fingerprint {
    Hash(u64),
    Unreadable(io::ErrorKind),
}

impl Watch {
    /// The usual interval: 10 s.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// Starts with the current content of these files. It reads them and blocks.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        let mut watch = Self { paths, hasher: RandomState::new(), seen: Vec::new() };
        watch.seen = watch.fingerprints();
        watch
    }

    /// Reads the files every `interval` and calls `reload` on a blocking thread when the content of one has
    /// changed. This never returns, unless `reload` panics.
    ///
    /// If `reload` fails, it is called again after each interval until it succeeds. The failure is logged at
    /// WARN once for each change of the files. `reload` must keep the old certificates then, as
    /// [`ServerConfig::rotate`](crate::ServerConfig::rotate) does. A panic of `reload` is logged at ERROR and
    /// ends the future.
    ///
    /// Dropping the future stops the watch. A `reload` that has begun runs to its end.
    pub async fn run<F, E>(mut self, interval: Duration, reload: F)
    where
        F: FnMut() -> Result<(), E> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let reload = Arc::new(Mutex::new(reload));
        let mut failed = false;
        loop {
            sleep(interval).await;
            let reload = Arc::clone(&reload);
            let checked = spawn_blocking(move || {
                let changed = self.has_changed();
                if changed || failed {
                    failed = match reload.lock().unwrap_or_else(PoisonError::into_inner)() {
                        Ok(()) => {
                            info!(paths = ?self.paths, "certificates were rotated");
                            false
                        }
                        Err(error) => {
                            let error = error.into();
                            let error = &*error as &dyn Error;
                            if changed {
                                warn!(error, paths = ?self.paths, "certificates stay as they were");
                            } else {
                                debug!(error, paths = ?self.paths, "certificates still stay as they were");
                            }
                            true
                        }
                    };
                }
                (self, failed)
            });
            match checked.await {
                Ok(result) => (self, failed) = result,
                Err(error) => {
                    return error!(%error, "the files of certificates are no longer watched");
                }
            }
        }
    }

    /// Whether the content of a file differs from the last call.
    fn has_changed(&mut self) -> bool {
        let current = self.fingerprints();
        let changed = current != self.seen;
        self.seen = current;
        changed
    }

    fn fingerprints(&self) -> Vec<Fingerprint> {
        let fingerprint = |path| {
            let mut bytes = Vec::new();
            let limit = Store::MAX_BYTES as u64 + 1;
            match File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
                Ok(_) => Fingerprint::Hash(self.hasher.hash_one(&bytes)),
                Err(error) => Fingerprint::Unreadable(error.kind()),
            }
        };
        self.paths.iter().map(fingerprint).collect()
    }
}
