use std::fmt;

use http::{HeaderValue, Response, StatusCode, header};

/// Why a request has no [`Session`](crate::Session): for the operator's log, never for the client.
///
/// No variant, and no text of one, holds anything of the token. It stands in the extensions of the
/// response that refuses a request, or, where a [`JwtLayer`](crate::JwtLayer) is optional, in those
/// of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// None of the configured places holds credentials.
    #[error("no credentials")]
    NoCredentials,
    /// No key is known yet: the key set has not been fetched so far.
    #[error("no key is known: the key set could not be fetched so far")]
    KeysUnavailable,
    /// Longer than [`GuardOptions::max_token_bytes`](crate::GuardOptions::max_token_bytes).
    #[error("token is longer than the limit")]
    TooLong,
    /// Not three parts with dots between them.
    #[error("token has not three parts")]
    Parts,
    /// A part is not base64url without padding.
    #[error("{0} is not base64url")]
    Base64(Part),
    /// A part is not a JSON object.
    #[error("{0} is no JSON object")]
    Json(Part),
    /// An object in a part has two members of one name.
    #[error("two members of one name in the {0}")]
    Duplicate(Part),
    /// The header has `crit`: an extension that must be understood, and is not.
    #[error("header has `crit`")]
    Critical,
    /// `alg` is missing, unknown, a shared secret's, `none`, or not one of the key's.
    #[error("`alg` is none that the key is for")]
    Algorithm,
    /// `kid` is no text.
    #[error("`kid` is no text")]
    KeyId,
    /// `kid` names no key of this guard, or there is none, and none of the keys that it may be by has
    /// made the signature.
    #[error("token is by none of the known keys")]
    UnknownKey,
    /// The signature is not that of a key that `kid` names.
    #[error("signature does not verify")]
    Signature,
    /// A registered claim is of a wrong type.
    #[error("claim `{0}` is of a wrong type")]
    ClaimType(&'static str),
    /// There is no `exp`, and the guard demands one.
    #[error("token never expires")]
    NoExpiry,
    /// `nbf` is still to come.
    #[error("token is not valid yet")]
    NotYetValid,
    /// `exp` is past.
    #[error("token has expired")]
    Expired,
    /// `iss` is not the guard's.
    #[error("token is of another issuer")]
    Issuer,
    /// `aud` holds none of the guard's.
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
    /// The status that the client is told: `503 Service Unavailable` for
    /// [`KeysUnavailable`](Self::KeysUnavailable), which is no fault of the token, else
    /// `401 Unauthorized`.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
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
