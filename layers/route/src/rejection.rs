use http::{HeaderValue, Response, StatusCode, header};

/// Why a request was rejected. It is in the extensions of the response, for a log or a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    // The order matters: if there are several reasons, the response has the last of them in this order.
    /// No route matches: `404 Not Found`.
    #[error("no route matches")]
    NotFound,
    /// A route matches, and its guard does not allow the client: `403 Forbidden`.
    #[error("guard does not allow the client")]
    Forbidden,
    /// A route matches, and its guard does not know the client: `401 Unauthorized`.
    #[error("guard requires credentials")]
    Unauthenticated,
    /// A route matches, and its guard cannot authenticate the client for now: `503 Service
    /// Unavailable`.
    #[error("guard cannot authenticate the client for now")]
    Unavailable,
}

impl Rejection {
    /// The status of the response.
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
