use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Keys;
use crate::guard::verify::Rules;
use crate::token::ClaimPaths;

/// The options of a [`Guard`](crate::Guard): its keys, and its requirements on claims.
///
/// An empty name, an empty list and zero are values like any other, unless the option says otherwise.
///
/// ```
/// use std::time::Duration;
/// use tailwater_jwt::{Guard, GuardOptions, Keys};
///
/// let options = GuardOptions::new("members", Keys::list([])?)
///     .issuer("https://auth.example.com")
///     .audience(["https://api.example.com"])
///     .challenge(Duration::from_secs(30));
/// let guard = Guard::new(options);
/// assert_eq!(guard.name(), "members");
/// # Ok::<_, tailwater_jwt::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct GuardOptions {
    pub(crate) name: Arc<str>,
    pub(crate) keys: Keys,
    pub(crate) rules: Rules,
    pub(crate) challenge: Option<Duration>,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl GuardOptions {
    /// A guard that demands a valid signature and an expiry in the future, and nothing else. Set at
    /// least the [`issuer`](Self::issuer) and the [`audience`](Self::audience) as well.
    pub fn new(name: impl Into<Arc<str>>, keys: Keys) -> Self {
        let claim_paths = ClaimPaths {
            roles: "scope".to_owned(),
            identity: "sub".to_owned(),
            attributes: Vec::new(),
        };
        let rules = Rules {
            issuer: None,
            audience: Vec::new(),
            leeway: 0,
            without_expiry: false,
            max_token_bytes: 16 << 10,
            claim_paths,
        };
        let clock = Arc::new(SystemTime::now);
        Self { name: name.into(), keys, rules, challenge: None, clock }
    }

    /// The value that the claim `iss` must have. Default: `iss` is not checked.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuer = Some(issuer.into());
        self
    }

    /// The accepted audiences: the claim `aud`, a string or a list of strings, must contain one of
    /// them. Default, and the meaning of an empty list: `aud` is not checked.
    pub fn audience<A: Into<String>>(mut self, audience: impl IntoIterator<Item = A>) -> Self {
        self.rules.audience = audience.into_iter().map(Into::into).collect();
        self
    }

    /// The clock skew that is tolerated: a token is accepted this long before `nbf` and after `exp`,
    /// and streams end that much later. Default: 0.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// The claim that contains the roles, as a name or a [dotted path](crate::Token::claim). Its
    /// value is a list of strings, or a string that is split at white space. Default: `scope`.
    pub fn roles(mut self, path: impl Into<String>) -> Self {
        self.rules.claim_paths.roles = path.into();
        self
    }

    /// The claim that identifies the client, as a name or a [dotted path](crate::Token::claim).
    /// Default: `sub`.
    pub fn identity(mut self, path: impl Into<String>) -> Self {
        self.rules.claim_paths.identity = path.into();
        self
    }

    /// SessionRegistry for further claims, each with a claim's name or [dotted path](crate::Token::claim).
    /// Default: none.
    pub fn attributes<N, P>(mut self, attributes: impl IntoIterator<Item = (N, P)>) -> Self
    where
        N: Into<Arc<str>>,
        P: Into<String>,
    {
        let attributes = attributes.into_iter();
        self.rules.claim_paths.attributes =
            attributes.map(|(name, path)| (name.into(), path.into())).collect();
        self
    }

    /// How long before its expiry a stream is challenged. Default, and the meaning of 0: no stream
    /// is challenged.
    pub fn challenge(mut self, window: Duration) -> Self {
        self.challenge = (!window.is_zero()).then_some(window);
        self
    }

    /// Whether a token without `exp` is accepted. It never expires. Default: no.
    pub fn without_expiry(mut self, accepted: bool) -> Self {
        self.rules.without_expiry = accepted;
        self
    }

    /// The maximum length of a token in bytes. Default: 16 KiB.
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_token_bytes = bytes;
        self
    }

    /// The source of the current time. Default: the system's clock.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl fmt::Debug for GuardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardOptions")
            .field("name", &self.name)
            .field("keys", &self.keys)
            .field("rules", &self.rules)
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}
