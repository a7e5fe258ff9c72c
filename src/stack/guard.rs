//! Guards: access to routes, the lifetime of streams, and the claims that templates use. This file joins the
//! jwt crate with the crates for routes and event streams, since none of them depends on another.

use ::http::Extensions;
use ::http::request::Parts;
use bytes::Bytes;
use tailwater_jwt::{Credentials, Guard, GuardOptions, JwtLayer, Keys, Rejection, Session, Token};
use tailwater_kafka_types::Variable;
use tailwater_route::{Access, Matched, Requirement};
use tailwater_sse::Lease;

use crate::config::{self, Authorization, GuardKeys};
use crate::stack::{Error, StackBuilder};

impl<'c> StackBuilder<'c> {
    /// The layer of an `http` binding with a guard. All bindings of a guard share it.
    pub(super) fn guard(
        &mut self,
        configured: &'c config::Guard,
        authorization: &Authorization,
    ) -> Result<JwtLayer, Error> {
        let guard = match self.guards.get(configured.name.as_str()) {
            Some(guard) => guard.clone(),
            None => {
                let made = guard(configured)?;
                self.guards.insert(&configured.name, made.clone());
                let label = self.guard_label(&configured.name);
                self.counted.guards.push((label, made.clone()));
                made
            }
        };
        // The layer accepts requests without a session: the routes decide which sessions they need.
        Ok(JwtLayer::new(guard, credentials(authorization)?).optional())
    }
}

fn guard(configured: &config::Guard) -> Result<Guard, Error> {
    let failed = |source| Error::Guard { guard: configured.name.clone(), source };
    let issuer = configured.issuer.as_deref();
    let keys = match &configured.keys {
        Some(GuardKeys::List(keys)) => Keys::list(keys.iter().map(|key| key.jwk.clone())),
        Some(GuardKeys::Url(url)) => Keys::url(url.clone()),
        None => Keys::issuer(issuer.unwrap_or_default()),
    };
    let options = GuardOptions::new(&*configured.name, keys.map_err(failed)?)
        .audience(&configured.audience)
        .leeway(configured.leeway)
        .roles(&configured.roles)
        .identity(&configured.identity)
        .attributes(configured.attributes.iter().map(|(name, claim)| (&**name, &**claim)))
        .challenge(configured.challenge.unwrap_or_default())
        .without_expiry(configured.without_expiry);
    let guard = Guard::new(issuer.into_iter().fold(options, GuardOptions::issuer));
    // The start does not wait for the keys. Fetched now, they are there for the first requests.
    guard.prefetch();
    Ok(guard)
}

type Add = fn(Credentials, &str, &str) -> Result<Credentials, tailwater_jwt::Error>;

/// The places of a request where credentials for a guard are.
pub(super) fn credentials(authorization: &Authorization) -> Result<Credentials, Error> {
    let add = |places: &[(String, String)], add: Add, to| {
        places.iter().try_fold(to, |to, (name, pattern)| add(to, name, pattern))
    };
    add(&authorization.cookies, Credentials::cookie, Credentials::new())
        .and_then(|credentials| add(&authorization.headers, Credentials::header, credentials))
        .and_then(|credentials| add(&authorization.query, Credentials::query, credentials))
        .map_err(|source| Error::Guard { guard: authorization.guard.clone(), source })
}

/// Whether a request may use a guarded route.
pub(super) fn access(extensions: &Extensions, requirements: &[Requirement]) -> Access {
    let Some(session) = extensions.get::<Session>() else {
        return match extensions.get() {
            Some(Rejection::KeysUnavailable) => Access::Unavailable,
            _ => Access::Unauthenticated,
        };
    };
    match holds(requirements, session.guard_name(), session.token()) {
        true => Access::Granted,
        false => Access::Forbidden,
    }
}

fn holds(guarded: &[Requirement], guard: &str, token: &Token) -> bool {
    guarded.iter().all(|guarded| guarded.guard() == guard && token.has_roles(guarded.roles()))
}

/// The value of a variable that refers to a guard.
pub(super) fn claim(variable: &Variable, session: &Session) -> Option<Bytes> {
    claim_of(variable, session.guard_name(), session.token())
}

fn claim_of(variable: &Variable, guard_name: &str, token: &Token) -> Option<Bytes> {
    let value = match variable {
        Variable::Identity { guard } if guard == guard_name => token.identity()?,
        Variable::Attribute { guard, name } if guard == guard_name => token.attribute(name)?,
        _ => return None,
    };
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// The lease of a stream of a guarded route. It lasts as long as a token of the same subject has the roles of
/// all routes on the way, and the same claims for `variables`.
pub(super) fn lease(parts: &Parts, variables: &[Variable]) -> Option<Box<dyn Lease>> {
    let matched = parts.extensions.get::<Matched>()?;
    let requirements: Box<[Requirement]> = matched.requirements().cloned().collect();
    if requirements.is_empty() {
        return None;
    }
    let session = parts.extensions.get::<Session>()?;
    let guard: Box<str> = session.guard_name().into();
    let claims: Box<[(Variable, Option<Bytes>)]> =
        variables.iter().map(|variable| (variable.clone(), claim(variable, session))).collect();
    let still_allowed = move |token: &Token| {
        holds(&requirements, &guard, token)
            && claims.iter().all(|(variable, value)| claim_of(variable, &guard, token) == *value)
    };
    Some(crate::lease(session, still_allowed))
}
