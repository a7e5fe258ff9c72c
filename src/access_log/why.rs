//! Why a request was refused, in a word.

use std::error::Error as _;
use std::sync::Arc;

use ::http::{Extensions, StatusCode};
use tailwater_jwt as jwt;
use tailwater_route as route;
use tailwater_sse as sse;

use crate::access::ForeignOrigin;
use crate::blocks::Blocked;

/// The reason of a refusal, from what the layers have put into the extensions of the response. A request that was
/// served has one only if its token was not accepted, which it did not need.
pub(super) fn why(status: StatusCode, extensions: &Extensions) -> Option<String> {
    if extensions.get::<ForeignOrigin>().is_some() {
        return Some("origin".to_owned());
    }
    if extensions.get::<Blocked>().is_some() {
        return Some("blocked".to_owned());
    }
    let token = extensions.get::<jwt::Rejection>().copied();
    if let Some(rejection) = extensions.get::<route::Rejection>() {
        let token = || token.unwrap_or(jwt::Rejection::NoCredentials).reason().to_owned();
        return Some(match rejection {
            route::Rejection::Forbidden => unmet(extensions),
            route::Rejection::Unauthenticated => token(),
            route::Rejection::Unavailable => "key".to_owned(),
            _ => "no_route".to_owned(),
        });
    }
    if let Some(rejection) = extensions.get::<Arc<sse::Rejection>>() {
        return source(rejection).map(str::to_owned);
    }
    let word = match status {
        StatusCode::METHOD_NOT_ALLOWED => "method",
        StatusCode::NOT_FOUND => "no_file",
        StatusCode::SERVICE_UNAVAILABLE => "busy",
        _ => {
            let rejection =
                token.filter(|rejection| *rejection != jwt::Rejection::NoCredentials)?;
            rejection.reason()
        }
    };
    Some(word.to_owned())
}

/// What a client lacks whose session is not enough.
fn unmet(extensions: &Extensions) -> String {
    let requirements = extensions.get().map_or(&[][..], route::Unmet::requirements);
    let Some(session) = extensions.get::<jwt::Session>() else { return "role".to_owned() };
    for requirement in requirements {
        if requirement.guard() != session.guard_name() {
            return format!("guard {}", requirement.guard());
        }
        let has = |role: &&String| session.token().has_roles(&[role.as_str()]);
        if let Some(role) = requirement.roles().iter().find(|role| !has(role)) {
            return format!("role {role}");
        }
    }
    "role".to_owned()
}

/// Why a source does not serve a stream.
fn source(rejection: &sse::Rejection) -> Option<&'static str> {
    let reason = rejection.source();
    if let Some(sse::Error::Method(_)) = reason.and_then(|reason| reason.downcast_ref()) {
        return Some("method");
    }
    #[cfg(feature = "kafka")]
    if let Some(reason) = reason.and_then(|reason| reason.downcast_ref()) {
        return match reason {
            tailwater_kafka::Error::Start(_) => Some("start"),
            tailwater_kafka::Error::Unfilled(_) => Some("claim"),
            tailwater_kafka::Error::TopicName(_)
            | tailwater_kafka::Error::Forbidden(_)
            | tailwater_kafka::Error::TooManyTopics(_) => Some("topic"),
            _ => Some("kafka"),
        };
    }
    match rejection.status() {
        StatusCode::NOT_FOUND => Some("no_route"),
        StatusCode::SERVICE_UNAVAILABLE => Some("busy"),
        status if status.is_server_error() => Some("upstream"),
        _ => None,
    }
}
