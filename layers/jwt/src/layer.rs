use std::sync::Arc;

use tower_layer::Layer;

use crate::config::Config;
use crate::{Credentials, Guard, JwtAuth};

/// Gives each request with a valid token a [`Session`](crate::Session), rejects all others, and answers
/// challenge responses.
///
/// A rejected request is answered `401 Unauthorized` with `www-authenticate: Bearer` and an empty body.
/// The client learns whether its request had credentials, and nothing else. The
/// [`Rejection`](crate::Rejection) is in the response's extensions. Until the first key set has been
/// fetched the status is `503 Service Unavailable`.
///
/// A challenge response is a `POST` to any path with
/// `content-type: application/x-challenge-response`. It is answered `204 No Content`, whether it renews a
/// session or not. Where several of these layers are nested, the outermost answers.
///
/// The layer removes the credentials from the request and marks the remaining values of their headers as
/// sensitive, so that no inner service can log or forward them.
#[derive(Clone, Debug)]
#[must_use]
pub struct JwtLayer {
    config: Arc<Config>,
}

impl JwtLayer {
    /// A layer that rejects each request without a valid token.
    pub fn new(guard: Guard, credentials: Credentials) -> Self {
        let config = Config { guard, credentials, optional: false, keep_credentials: false };
        Self { config: Arc::new(config) }
    }

    /// Rejects nothing: a request without a valid token is passed on with a
    /// [`Rejection`](crate::Rejection) in its extensions. An inner router decides.
    pub fn optional(mut self) -> Self {
        Arc::make_mut(&mut self.config).optional = true;
        self
    }

    /// Leaves the credentials in the request, for an inner service that forwards them.
    pub fn keep_credentials(mut self) -> Self {
        Arc::make_mut(&mut self.config).keep_credentials = true;
        self
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = JwtAuth<S>;

    fn layer(&self, inner: S) -> JwtAuth<S> {
        JwtAuth::new(inner, Arc::clone(&self.config))
    }
}
