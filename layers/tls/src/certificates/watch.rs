//! Files that change while the program runs.

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

/// Looks at files again and again, and says when what they hold is another.
///
/// It reads them, rather than ask the system for events, so that it works on every file system,
/// with files that are replaced by renaming, and with Kubernetes' links to folders that are
/// exchanged. It looks at the first MiB of each: what a [`Store`] may have.
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
/// let watch = Watch::new(["server.p12"]); // before it is read, so that no change is missed
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

/// What a file held; not the bytes, which may be a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fingerprint {
    Hash(u64),
    Unreadable(io::ErrorKind),
}

impl Watch {
    /// 10 s.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// Watches these files from what they hold now. Reads them.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        let mut watch = Self { paths, hasher: RandomState::new(), seen: Vec::new() };
        watch.seen = watch.fingerprints();
        watch
    }

    /// Looks every `interval`, for ever, and calls `reload` on a blocking thread when a file holds
    /// something else than at the last look. If it fails it is called again at each look until it
    /// succeeds, and the failure is logged at WARN once for each change; what it had before is for
    /// it to keep, as [`ServerConfig::rotate`](crate::ServerConfig::rotate) does.
    ///
    /// Dropping the future ends it; a reload that has begun ends by itself. A reload that panics
    /// ends it, too, and is logged at ERROR.
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
                                debug!(error, paths = ?self.paths, "still no other certificates");
                            }
                            true
                        }
                    };
                }
                (self, failed)
            });
            match checked.await {
                Ok(result) => (self, failed) = result,
                Err(error) => return error!(%error, "certificates are watched no more"),
            }
        }
    }

    /// Whether something is not as it was at the last look.
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
