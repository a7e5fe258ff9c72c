use std::sync::Arc;

use tower_layer::Layer;

use crate::config::Config;
use crate::{Credentials, Guard, JwtAuth};

/// Gives each request with a good token a [`Session`](crate::Session), refuses the others, and
/// answers challenge responses.
///
/// A refusal is `401 Unauthorized` with `www-authenticate: Bearer` and no body, and says no more
/// than whether there was a token; the [`Rejection`](crate::Rejection) stands in the response's
/// extensions. While no key has been fetched so far it is `503 Service Unavailable`.
///
/// A challenge response is a `POST` of any path with
/// `content-type: application/x-challenge-response`: answered `204 No Content`, whatever comes of
/// it. With several of these layers it is the outermost that answers.
///
/// The credentials are taken out of the request, and what is left of the headers that may hold such
/// is marked as sensitive: whoever comes next can neither log them nor pass them on.
#[derive(Clone, Debug)]
#[must_use]
pub struct JwtLayer {
    config: Arc<Config>,
}

impl JwtLayer {
    /// A layer that refuses what has no good token.
    pub fn new(guard: Guard, credentials: Credentials) -> Self {
        let config = Config { guard, credentials, optional: false, keep: false };
        Self { config: Arc::new(config) }
    }

    /// Refuses nothing: a request without a good token goes on with a
    /// [`Rejection`](crate::Rejection) in its extensions, for a router that decides.
    pub fn optional(mut self) -> Self {
        Arc::make_mut(&mut self.config).optional = true;
        self
    }

    /// Leaves the credentials in the request, for a service that passes them on.
    pub fn keep_credentials(mut self) -> Self {
        Arc::make_mut(&mut self.config).keep = true;
        self
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = JwtAuth<S>;

    fn layer(&self, inner: S) -> JwtAuth<S> {
        JwtAuth::new(inner, Arc::clone(&self.config))
    }
}
