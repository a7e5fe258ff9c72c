use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::time::Instant;

use crate::guard::cache::Cache;
use crate::guard::check_budget::CheckBudget;
use crate::guard::counts::{Counters, GuardCounts};
use crate::guard::verify::verify;
use crate::keys::Source;
use crate::keys::remote::RemoteKeys;
use crate::keys::set::KeySet;
use crate::session::registry::SessionRegistry;
use crate::{GuardOptions, Rejection, Token};

mod cache;
mod check_budget;
pub(crate) mod counts;
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
    /// When the key set was fetched last.
    fetched: Mutex<Option<Instant>>,
    sessions: SessionRegistry,
    counters: Counters,
}

/// The keys, and the tokens that these keys have verified.
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
    /// The maximum size of the cache, in bytes of the tokens' text. The parsed claims of a token take a few
    /// times the size of its text.
    pub const CACHE_BYTES: usize = cache::MAX_BYTES;

    /// A guard with these options.
    ///
    /// A key set at a URL is fetched when the first token arrives, or by [`prefetch`](Self::prefetch).
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
                fetched: Mutex::default(),
                sessions: SessionRegistry::default(),
                counters: Counters::default(),
            }),
        }
    }

    /// The name of the guard.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> GuardCounts {
        let fetched = *self.inner.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.counters.read(fetched.map(|fetched| fetched.elapsed()))
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Starts to fetch a key set at a URL, if no task fetches it yet. Has no effect outside of a Tokio
    /// runtime, and none with a list of keys.
    pub fn prefetch(&self) {
        if let Some(remote) = &self.inner.remote {
            let _ = remote.start(Arc::downgrade(&self.inner));
        }
    }

    /// Verifies a token.
    ///
    /// A token whose key is known is verified at once. Any other token starts a fetch of the key set, at most
    /// every 10 s, and waits for it, at most 5 s. If 1024 tokens wait already, the token is rejected at once.
    ///
    /// # Errors
    /// A [`Rejection`] with the reason why the token is not accepted.
    pub async fn verify(&self, token: &str) -> Result<Arc<Token>, Rejection> {
        match self.check(token) {
            Checked::Known(result) => result,
            Checked::Refreshing(refreshed) => {
                refreshed.await;
                self.verify_with_known_keys(token)
            }
        }
    }

    /// Performs the steps of [`verify`](Self::verify) that come before it waits.
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

    /// Verifies the token without waiting for a key set.
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
        // The keys may have been replaced in the meantime.
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

/// The result of [`Guard::check`].
pub(crate) enum Checked<F> {
    Known(Result<Arc<Token>, Rejection>),
    /// [Verify again](Guard::verify_with_known_keys) after this future.
    Refreshing(F),
}

impl Inner {
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the keys and drops the tokens that the old keys have verified.
    pub(crate) fn set_keys(&self, keys: KeySet) {
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
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
