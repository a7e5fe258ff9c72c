use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::Rejection;

pub(crate) mod claims;
pub(crate) mod json;

/// The claims of a valid token.
///
/// Its `Debug` output contains the expiry and none of the claims.
pub struct Token {
    claims: Map<String, Value>,
    roles: Box<[String]>,
    identity: Option<Box<str>>,
    attributes: Box<[Attribute]>,
    /// Milliseconds since 1970 with the leeway: valid from `valid_from` until just before `valid_until`.
    pub(crate) valid_from: i64,
    pub(crate) valid_until: i64,
}

type Attribute = (Arc<str>, Option<Box<str>>);

/// The `valid_until` of a token that never expires.
pub(crate) const NEVER: i64 = i64::MAX;

/// The claims that a guard reads, as [dotted paths](Token::claim).
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
        valid_from: i64,
        valid_until: i64,
    ) -> Self {
        let text = |path: &str| claims::find(&claims, path).and_then(claims::text).map(Into::into);
        let roles = claims::find(&claims, &paths.roles).map(claims::roles);
        let attribute = |(name, path): &(Arc<str>, String)| (Arc::clone(name), text(path));
        Self {
            roles: roles.unwrap_or_default().into(),
            identity: text(&paths.identity),
            attributes: paths.attributes.iter().map(attribute).collect(),
            claims,
            valid_from,
            valid_until,
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

    /// The claim that the guard uses as the [identity](crate::GuardOptions::identity): a string, or the JSON
    /// text of a number or boolean. `None` if the claim is missing or of another type.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// One of the guard's [attributes](crate::GuardOptions::attributes), converted like the
    /// [`identity`](Self::identity). `None` as well if the guard has no attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(known, _)| **known == *name)?;
        value.as_deref()
    }

    /// The roles, from the claim that the guard uses as the [roles](crate::GuardOptions::roles).
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the token has all of these [roles](Self::roles). `true` for an empty list.
    #[must_use]
    pub fn has_roles<R: AsRef<str>>(&self, demanded: &[R]) -> bool {
        demanded.iter().all(|role| self.roles.iter().any(|known| known == role.as_ref()))
    }

    /// Any claim, by its name or by a dotted path of names. A name may contain dots itself, at any level. If
    /// there are two ways to read a path, the way with the longer first name is taken.
    #[must_use]
    pub fn claim(&self, path: &str) -> Option<&Value> {
        claims::find(&self.claims, path)
    }

    /// The time from which the token is rejected: `exp` plus the guard's leeway. `None` if it never expires.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        let expiry =
            (self.valid_until != NEVER).then(|| u64::try_from(self.valid_until).unwrap_or(0))?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(expiry))
    }

    pub(crate) fn check(&self, now: i64) -> Result<(), Rejection> {
        if now >= self.valid_until {
            Err(Rejection::Expired)
        } else if now < self.valid_from {
            Err(Rejection::NotYetValid)
        } else {
            Ok(())
        }
    }

    /// Whether both tokens have the same bearer, that is the same issuer and subject. Tokens without a subject
    /// are compared by identity. Tokens without both are never the same.
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
