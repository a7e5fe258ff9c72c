use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    Keys, Rejection, Token,
    cache::{self, Cache},
    checks::Checks,
    key_set::{KeySet, Source},
    names::Names,
    remote::Remote,
    token::Wanted,
    verify::{Rules, verify},
};

/// Says which tokens are good: keys, what is demanded of claims, and what has been verified.
///
/// A clone is the same guard, and shares all of it. An option makes another guard, that shares
/// nothing with the one it was made from: set options first, then clone. An empty name, list or
/// zero is a value as any other, unless it says so.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    verified: Mutex<Verified>,
    remote: Option<Remote>,
    names: Names,
}

#[derive(Clone)]
struct Config {
    name: Arc<str>,
    keys: Keys,
    rules: Rules,
    challenge: Option<Duration>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// The keys, and what was verified with these and with no others.
struct Verified {
    keys: Option<Arc<KeySet>>,
    cache: Cache,
    checks: Checks,
}

impl Verified {
    fn by(keys: Option<Arc<KeySet>>) -> Self {
        Self { keys, cache: Cache::new(), checks: Checks::default() }
    }
}

impl Guard {
    /// How many bytes of text the tokens have that are kept as verified, at most. What is made of one
    /// takes a few times that.
    pub const CACHE_BYTES: usize = cache::BYTES;

    /// A guard that demands a good signature and an expiry to come, and nothing else: say at least
    /// whose tokens ([`issuer`](Self::issuer)) and for what ([`audience`](Self::audience)).
    ///
    /// A key set with a URL is fetched when the first token comes, or by
    /// [`prefetch`](Self::prefetch).
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, keys: Keys) -> Self {
        let wanted = Wanted {
            roles: "scope".to_owned(),
            identity: "sub".to_owned(),
            attributes: Vec::new(),
        };
        let rules = Rules {
            issuer: None,
            audience: Vec::new(),
            leeway: 0,
            without_expiry: false,
            token_limit: 16 << 10,
            wanted,
        };
        let clock = Arc::new(SystemTime::now);
        Self::from(Config { name: name.into(), keys, rules, challenge: None, clock })
    }

    fn from(config: Config) -> Self {
        let (keys, remote) = match &config.keys.0 {
            Source::List(keys) => (Some(Arc::clone(keys)), None),
            Source::Remote { location, fetch } => {
                (None, Some(Remote::new(location.clone(), Arc::clone(fetch))))
            }
        };
        let verified = Mutex::new(Verified::by(keys));
        Self { inner: Arc::new(Inner { config, verified, remote, names: Names::default() }) }
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.inner.config.clone();
        change(&mut config);
        Self::from(config)
    }

    /// The claim `iss` must be this. Not set: any issuer, and none.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.with(|config| config.rules.issuer = Some(issuer.into()))
    }

    /// The claim `aud`, a text or a list of them, must hold one of these. Empty, or not set: any
    /// audience, and none.
    #[must_use]
    pub fn audience<A: Into<String>>(self, audience: impl IntoIterator<Item = A>) -> Self {
        let audience = audience.into_iter().map(Into::into).collect();
        self.with(|config| config.rules.audience = audience)
    }

    /// By how much clocks may differ: tokens are good this much before `nbf` and after `exp`, and
    /// streams end that much later. Default: 0.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        let leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
        self.with(|config| config.rules.leeway = leeway)
    }

    /// The claim with the roles: a list of texts, or a text that is split at white space; by its
    /// name or by a [dotted path](Token::claim). Default: `scope`.
    #[must_use]
    pub fn roles(self, path: impl Into<String>) -> Self {
        self.with(|config| config.rules.wanted.roles = path.into())
    }

    /// The claim that says who it is, by name or [dotted path](Token::claim). Default: `sub`.
    #[must_use]
    pub fn identity(self, path: impl Into<String>) -> Self {
        self.with(|config| config.rules.wanted.identity = path.into())
    }

    /// Names for more claims, each by name or [dotted path](Token::claim). Default: none.
    #[must_use]
    pub fn attributes<N, P>(self, attributes: impl IntoIterator<Item = (N, P)>) -> Self
    where
        N: Into<Arc<str>>,
        P: Into<String>,
    {
        let attributes = attributes.into_iter();
        let attributes = attributes.map(|(name, path)| (name.into(), path.into())).collect();
        self.with(|config| config.rules.wanted.attributes = attributes)
    }

    /// How long before its expiry a stream is challenged. 0, or not set: never.
    #[must_use]
    pub fn challenge(self, window: Duration) -> Self {
        self.with(|config| config.challenge = (!window.is_zero()).then_some(window))
    }

    /// Whether a token without `exp` is good, and for ever. Default: no.
    #[must_use]
    pub fn without_expiry(self, accepted: bool) -> Self {
        self.with(|config| config.rules.without_expiry = accepted)
    }

    /// How many bytes a token may have. Default: 16 KiB.
    #[must_use]
    pub fn token_limit(self, bytes: usize) -> Self {
        self.with(|config| config.rules.token_limit = bytes)
    }

    /// Where the time comes from. Default: the system's clock.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|config| config.clock = Arc::new(clock))
    }

    /// The name of the guard.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.config.name
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
                self.known(token)
            }
        }
    }

    /// As [`verify`](Self::verify), up to where it has to wait.
    pub(crate) fn check(&self, token: &str) -> Checked<impl Future<Output = ()> + Send + use<>> {
        let result = self.known(token);
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
    pub(crate) fn known(&self, token: &str) -> Result<Arc<Token>, Rejection> {
        let (rules, now) = (&self.inner.config.rules, self.now());
        let (keys, mut checks) = {
            let mut verified = self.inner.verified();
            if let Some(known) = verified.cache.get(token).cloned() {
                return known
                    .check(now)
                    .map(|()| known)
                    .inspect_err(|_| verified.cache.remove(token));
            }
            let keys = verified.keys.clone().ok_or(Rejection::KeysUnavailable)?;
            (keys, verified.checks.allowed(now))
        };
        let result = verify(token, &keys, rules, now, &mut checks).map(Arc::new);
        let mut verified = self.inner.verified();
        verified.checks.made(checks);
        let good = result?;
        // Not what was verified by keys that are gone meanwhile.
        if verified.keys.as_ref().is_some_and(|current| Arc::ptr_eq(current, &keys)) {
            verified.cache.insert(token, Arc::clone(&good));
        }
        Ok(good)
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        let since = (self.inner.config.clock)().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds.
    pub(crate) fn challenge_window(&self) -> Option<i64> {
        let window = self.inner.config.challenge?;
        Some(i64::try_from(window.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn names(&self) -> &Names {
        &self.inner.names
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// What [`Guard::check`] says.
pub(crate) enum Checked<F> {
    Known(Result<Arc<Token>, Rejection>),
    /// What is [known](Guard::known) after this decides.
    Refreshing(F),
}

impl Inner {
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on by these keys. Nothing that others have verified counts any more.
    pub(crate) fn learn(&self, keys: KeySet) {
        let mut verified = self.verified();
        if !verified.keys.as_ref().is_some_and(|known| known.same(&keys)) {
            *verified = Verified::by(Some(Arc::new(keys)));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name())
            .field("rules", &self.inner.config.rules)
            .field("challenge", &self.inner.config.challenge)
            .finish_non_exhaustive()
    }
}
