use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::Rejection;

pub(crate) mod claims;
pub(crate) mod json;

/// What a good token says.
///
/// `Debug` shows when it expires, and nothing of what it says.
pub struct Token {
    claims: Map<String, Value>,
    roles: Box<[String]>,
    identity: Option<Box<str>>,
    attributes: Box<[Attribute]>,
    /// Milliseconds since 1970, leeway included: good from the one until just before the other.
    pub(crate) from: i64,
    pub(crate) until: i64,
}

type Attribute = (Arc<str>, Option<Box<str>>);

/// An [`until`](Token::until) that never comes.
pub(crate) const NEVER: i64 = i64::MAX;

/// Which claims a guard reads.
#[derive(Clone, Debug)]
pub(crate) struct ClaimPaths {
    pub(crate) roles: String,
    pub(crate) identity: String,
    pub(crate) attributes: Vec<(Arc<str>, String)>,
}

impl Token {
    pub(crate) fn new(
        claims: Map<String, Value>,
        paths: &ClaimPaths,
        from: i64,
        until: i64,
    ) -> Self {
        let text = |path: &str| claims::find(&claims, path).and_then(claims::text).map(Into::into);
        let roles = claims::find(&claims, &paths.roles).map(claims::roles);
        let attribute = |(name, path): &(Arc<str>, String)| (Arc::clone(name), text(path));
        Self {
            roles: roles.unwrap_or_default().into(),
            identity: text(&paths.identity),
            attributes: paths.attributes.iter().map(attribute).collect(),
            claims,
            from,
            until,
        }
    }

    /// The claim `iss`.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The claim `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// The claim that the guard takes for the [identity](crate::GuardOptions::identity): a text as it is, a
    /// number or boolean as JSON writes it, `None` for anything else.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// One of the guard's [attributes](crate::GuardOptions::attributes), as text like
    /// [`identity`](Self::identity). `None` as well for a name that is none of them.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(known, _)| **known == *name)?;
        value.as_deref()
    }

    /// The roles, of the claim that the guard takes for [them](crate::GuardOptions::roles).
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether all of these are among the [roles](Self::roles). None demanded: yes.
    #[must_use]
    pub fn has_roles<R: AsRef<str>>(&self, demanded: &[R]) -> bool {
        demanded.iter().all(|role| self.roles.iter().any(|known| known == role.as_ref()))
    }

    /// Any claim, by its name or by a dotted path of names. Names may have dots themselves, at any
    /// level: where a path leads to a value in two ways, the one whose first name is longer counts.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        claims::find(&self.claims, path)
    }

    /// From when on the token is refused: `exp`, and the guard's leeway. `None`: it never expires.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        let until = (self.until != NEVER).then(|| u64::try_from(self.until).unwrap_or(0))?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(until))
    }

    pub(crate) fn check(&self, now: i64) -> Result<(), Rejection> {
        if now >= self.until {
            Err(Rejection::Expired)
        } else if now < self.from {
            Err(Rejection::NotYetValid)
        } else {
            Ok(())
        }
    }

    /// Whether both speak for the same bearer: issuer and subject are the same. Tokens without a
    /// subject are compared by identity; those without either are never the same.
    pub(crate) fn same_bearer(&self, other: &Self) -> bool {
        let bearer = match (self.subject(), other.subject()) {
            (Some(mine), Some(other)) => mine == other,
            (None, None) => self.identity.is_some() && self.identity == other.identity,
            _ => false,
        };
        bearer && self.issuer() == other.issuer()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expiry", &self.expiry()).finish_non_exhaustive()
    }
}
