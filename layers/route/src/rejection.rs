use http::{HeaderValue, Response, StatusCode, header};

/// Why a request got no route; stands in the extensions of the response that refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    // In the order in which one reason outweighs another: what a client can do about it.
    /// No route matches: `404 Not Found`.
    #[error("no route matches")]
    NotFound,
    /// A route matches, and its guard refuses who asks: `403 Forbidden`.
    #[error("guard refuses the request")]
    Forbidden,
    /// A route matches, and its guard does not know who asks: `401 Unauthorized`.
    #[error("guard asks for credentials")]
    Unauthenticated,
    /// A route matches, and its guard cannot tell for now who asks: `503 Service Unavailable`.
    #[error("guard cannot tell for now who asks")]
    Unavailable,
}

impl Rejection {
    /// The status that the client is told.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn response<R: Default>(self) -> Response<R> {
        let mut response = Response::new(R::default());
        *response.status_mut() = self.status();
        if self == Self::Unauthenticated {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
