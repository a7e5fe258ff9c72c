//! Guards: whether a route is open, how long a stream lives, and what templates learn of who asks.
//! Here the jwt crate, which knows neither routes nor event streams, is joined with those that do.

use ::http::request::Parts;
use ::http::{Extensions, Request};
use bytes::Bytes;
use tailwater_jwt::{Credentials, Guard, GuardOptions, JwtLayer, Keys, Rejection, Session, Token};
use tailwater_kafka_types::Variable;
use tailwater_route::{Access, Matched, Requirement};
use tailwater_sse::Lease;
use tracing::info;

use super::{Error, StackBuilder};
use crate::access_log;
use crate::config::{self, Authorization, GuardKeys};

impl<'c> StackBuilder<'c> {
    /// The layer of an `http` binding whose requests bring credentials. The guard is one for all
    /// bindings that ask it.
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
                made
            }
        };
        // The routes decide what it takes to get in.
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
    // Nobody waits for the keys; but the first who come should not either.
    guard.prefetch();
    Ok(guard)
}

type Add = fn(Credentials, &str, &str) -> Result<Credentials, tailwater_jwt::Error>;

/// Where the credentials for a guard are.
pub(super) fn credentials(authorization: &Authorization) -> Result<Credentials, Error> {
    let add = |places: &[(String, String)], add: Add, to| {
        places.iter().try_fold(to, |to, (name, pattern)| add(to, name, pattern))
    };
    add(&authorization.cookies, Credentials::cookie, Credentials::new())
        .and_then(|credentials| add(&authorization.headers, Credentials::header, credentials))
        .and_then(|credentials| add(&authorization.query, Credentials::query, credentials))
        .map_err(|source| Error::Guard { guard: authorization.guard.clone(), source })
}

/// Whether a guarded route is open to a request.
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

/// Tells the operator, and nobody else, why credentials are of no use.
pub(super) fn log_rejection<B>(request: Request<B>) -> Request<B> {
    match request.extensions().get() {
        None | Some(Rejection::NoCredentials) => {}
        Some(rejection) => {
            info!(target: access_log::TARGET, reason = %rejection, "credentials were not accepted");
        }
    }
    request
}

fn holds(guarded: &[Requirement], guard: &str, token: &Token) -> bool {
    guarded.iter().all(|guarded| guarded.guard() == guard && token.has_roles(guarded.roles()))
}

/// What a variable of a template stands for, if it is a guard's to say.
pub(super) fn claim(place: &Variable, session: &Session) -> Option<Bytes> {
    claim_of(place, session.guard_name(), session.token())
}

fn claim_of(place: &Variable, of: &str, token: &Token) -> Option<Bytes> {
    let value = match place {
        Variable::Identity { guard } if guard == of => token.identity()?,
        Variable::Attribute { guard, name } if guard == of => token.attribute(name)?,
        _ => return None,
    };
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// How long a stream of a guarded route may live: as long as a token of the same subject says that
/// the roles of all routes on its way still hold, and that every claim in `places` is what it was.
pub(super) fn lease(parts: &Parts, places: &[Variable]) -> Option<Box<dyn Lease>> {
    let matched = parts.extensions.get::<Matched>()?;
    let requirements: Box<[Requirement]> = matched.requirements().cloned().collect();
    if requirements.is_empty() {
        return None;
    }
    let session = parts.extensions.get::<Session>()?;
    let guard: Box<str> = session.guard_name().into();
    let claims: Box<[(Variable, Option<Bytes>)]> =
        places.iter().map(|place| (place.clone(), claim(place, session))).collect();
    let still_allowed = move |token: &Token| {
        holds(&requirements, &guard, token)
            && claims.iter().all(|(place, value)| claim_of(place, &guard, token) == *value)
    };
    Some(crate::lease(session, still_allowed))
}
