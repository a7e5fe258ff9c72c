use std::fmt;

use http::{HeaderValue, Response, StatusCode, header};

/// The reason why a request has no [`Session`](crate::Session). It is for the operator's log, not for the
/// client.
///
/// Neither a variant nor its text contains a part of the token. The layer puts the rejection into the
/// extensions of its response. An [optional](crate::JwtLayer::optional) layer puts it into the extensions
/// of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// None of the configured places contains credentials.
    #[error("no credentials")]
    NoCredentials,
    /// The guard has no keys: no fetch of its key set has succeeded yet.
    #[error("no keys yet: the key set has not been fetched")]
    KeysUnavailable,
    /// The token is longer than [`GuardOptions::max_token_bytes`](crate::GuardOptions::max_token_bytes).
    #[error("token is longer than the limit")]
    TooLong,
    /// The token does not consist of three parts, separated by dots.
    #[error("token does not have three parts")]
    Parts,
    /// A part is not base64url without padding.
    #[error("{0} is not base64url")]
    Base64(Part),
    /// A part is not a JSON object.
    #[error("{0} is not a JSON object")]
    Json(Part),
    /// An object in a part has two members with the same name.
    #[error("duplicate member in the {0}")]
    Duplicate(Part),
    /// The header has `crit`. It lists extensions that a recipient must understand; none is supported.
    #[error("header has `crit`")]
    Critical,
    /// `alg` is missing, unknown, `none`, for shared secrets, or does not fit the key.
    #[error("`alg` is not accepted or does not fit the key")]
    Algorithm,
    /// `kid` is not a string.
    #[error("`kid` is not a string")]
    KeyId,
    /// No key verifies the signature, and no key has the `kid` of the token, or it has no `kid`.
    #[error("none of the known keys has signed the token")]
    UnknownKey,
    /// A key has the `kid` of the token, but no key verifies the signature.
    #[error("signature is not valid")]
    Signature,
    /// A registered claim has the wrong type.
    #[error("claim `{0}` has the wrong type")]
    ClaimType(&'static str),
    /// The token has no `exp`, and the guard demands one.
    #[error("token has no `exp`")]
    NoExpiry,
    /// `nbf` is in the future.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `exp` is in the past.
    #[error("token has expired")]
    Expired,
    /// `iss` is not the issuer that the guard demands.
    #[error("token is from another issuer")]
    Issuer,
    /// `aud` contains none of the audiences that the guard accepts.
    #[error("token is for another audience")]
    Audience,
}

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The JOSE header.
    Header,
    /// The claims.
    Payload,
    /// The signature.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

impl Rejection {
    /// The status of the response: `503 Service Unavailable` for
    /// [`KeysUnavailable`](Self::KeysUnavailable), which the token has not caused, and
    /// `401 Unauthorized` for any other rejection.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The reason in a word, for logs and metrics: `no_token`, `malformed`, `key`, `signature`, `expired`, `not_yet`,
    /// `issuer` or `audience`. Missing keys are `key`, too.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_token",
            Self::TooLong
            | Self::Parts
            | Self::Base64(_)
            | Self::Json(_)
            | Self::Duplicate(_)
            | Self::Critical
            | Self::KeyId
            | Self::ClaimType(_)
            | Self::NoExpiry => "malformed",
            Self::Algorithm | Self::UnknownKey | Self::KeysUnavailable => "key",
            Self::Signature => "signature",
            Self::NotYetValid => "not_yet",
            Self::Expired => "expired",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
        }
    }

    pub(crate) fn response<R: Default>(self) -> Response<R> {
        let mut response = Response::new(R::default());
        *response.status_mut() = self.status();
        // RFC 6750, 3.1: no error where the request had no credentials.
        let challenge = match self {
            Self::KeysUnavailable => None,
            Self::NoCredentials => Some("Bearer"),
            _ => Some("Bearer error=\"invalid_token\""),
        };
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(self);
        response
    }
}
