use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::guard::cache::Cache;
use crate::guard::check_budget::CheckBudget;
use crate::guard::verify::verify;
use crate::keys::Source;
use crate::keys::remote::RemoteKeys;
use crate::keys::set::KeySet;
use crate::session::registry::SessionRegistry;
use crate::{GuardOptions, Rejection, Token};

mod cache;
mod check_budget;
pub(crate) mod options;
pub(crate) mod verify;

/// Decides which tokens are accepted, and caches those that it has verified.
///
/// A clone is a handle of the same guard: all clones share the keys, the cache and the sessions.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    options: GuardOptions,
    verified: Mutex<Verified>,
    remote: Option<RemoteKeys>,
    sessions: SessionRegistry,
}

/// The keys, and what was verified with these and with no others.
struct Verified {
    keys: Option<Arc<KeySet>>,
    cache: Cache,
    budget: CheckBudget,
}

impl Verified {
    fn with_keys(keys: Option<Arc<KeySet>>) -> Self {
        Self { keys, cache: Cache::new(), budget: CheckBudget::default() }
    }
}

impl Guard {
    /// How many bytes of text the tokens have that are kept as verified, at most. What is made of one
    /// takes a few times that.
    pub const CACHE_BYTES: usize = cache::BYTES;

    /// A guard with these options.
    ///
    /// A key set with a URL is fetched when the first token comes, or by
    /// [`prefetch`](Self::prefetch).
    #[must_use]
    pub fn new(options: GuardOptions) -> Self {
        let (keys, remote) = match &options.keys.0 {
            Source::List(keys) => (Some(Arc::clone(keys)), None),
            Source::Remote { location, fetch } => {
                (None, Some(RemoteKeys::new(location.clone(), Arc::clone(fetch))))
            }
        };
        let verified = Mutex::new(Verified::with_keys(keys));
        Self {
            inner: Arc::new(Inner {
                options,
                verified,
                remote,
                sessions: SessionRegistry::default(),
            }),
        }
    }

    /// The name of the guard.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// Begins to fetch a key set with a URL, unless that has begun. Within a Tokio runtime only;
    /// elsewhere, and with a list of keys, nothing happens.
    pub fn prefetch(&self) {
        if let Some(remote) = &self.inner.remote {
            let _ = remote.start(Arc::downgrade(&self.inner));
        }
    }

    /// Whether this token is good.
    ///
    /// It is at once known, unless the token is by none of the known keys: then this waits at most 5 s
    /// for a key set that is being fetched, which such tokens cause at most every 10 s. Where 1024 wait
    /// already, the next one does not.
    ///
    /// # Errors
    /// A [`Rejection`] that says what is wrong with the token.
    pub async fn verify(&self, token: &str) -> Result<Arc<Token>, Rejection> {
        match self.check(token) {
            Checked::Known(result) => result,
            Checked::Refreshing(refreshed) => {
                refreshed.await;
                self.verify_with_known_keys(token)
            }
        }
    }

    /// As [`verify`](Self::verify), up to where it has to wait.
    pub(crate) fn check(&self, token: &str) -> Checked<impl Future<Output = ()> + Send + use<>> {
        let result = self.verify_with_known_keys(token);
        let (Err(Rejection::UnknownKey | Rejection::KeysUnavailable), Some(remote)) =
            (&result, &self.inner.remote)
        else {
            return Checked::Known(result);
        };
        let runs = remote.start(Arc::downgrade(&self.inner));
        let refreshed = if runs { remote.refreshed() } else { None };
        refreshed.map_or(Checked::Known(result), Checked::Refreshing)
    }

    /// By the keys that there are.
    pub(crate) fn verify_with_known_keys(&self, token: &str) -> Result<Arc<Token>, Rejection> {
        let rules = &self.inner.options.rules;
        let now = self.now();
        let (keys, mut checks) = {
            let mut verified = self.inner.verified();
            if let Some(known) = verified.cache.get(token).cloned() {
                return known
                    .check(now)
                    .map(|()| known)
                    .inspect_err(|_| verified.cache.remove(token));
            }
            let keys = verified.keys.clone().ok_or(Rejection::KeysUnavailable)?;
            (keys, verified.budget.allowed(now))
        };
        let result = verify(token, &keys, rules, now, &mut checks).map(Arc::new);
        let mut verified = self.inner.verified();
        verified.budget.record(checks);
        let good = result?;
        // Not what was verified by keys that are gone meanwhile.
        if verified.keys.as_ref().is_some_and(|current| Arc::ptr_eq(current, &keys)) {
            verified.cache.insert(token, Arc::clone(&good));
        }
        Ok(good)
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        let since = (self.inner.options.clock)().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds.
    pub(crate) fn challenge_window(&self) -> Option<i64> {
        let window = self.inner.options.challenge?;
        Some(i64::try_from(window.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn sessions(&self) -> &SessionRegistry {
        &self.inner.sessions
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// What [`Guard::check`] says.
pub(crate) enum Checked<F> {
    Known(Result<Arc<Token>, Rejection>),
    /// What is [known](Guard::verify_with_known_keys) after this decides.
    Refreshing(F),
}

impl Inner {
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on by these keys. Nothing that others have verified counts any more.
    pub(crate) fn set_keys(&self, keys: KeySet) {
        let mut verified = self.verified();
        if !verified.keys.as_ref().is_some_and(|known| known.same(&keys)) {
            *verified = Verified::with_keys(Some(Arc::new(keys)));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name())
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
