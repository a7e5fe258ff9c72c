use std::sync::Arc;

use http::Extensions;

/// The function that decides whether a request may take a guarded route.
pub(crate) type Guard = dyn Fn(&Extensions, &[Requirement]) -> Access + Send + Sync;

/// The requirement of a route on one guard: an authenticated client with all of these roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    guard: String,
    roles: Vec<String>,
}

impl Requirement {
    /// A requirement of this guard. Without roles any authenticated client meets it.
    pub fn new<R: Into<String>>(
        guard: impl Into<String>,
        roles: impl IntoIterator<Item = R>,
    ) -> Self {
        Self { guard: guard.into(), roles: roles.into_iter().map(Into::into).collect() }
    }

    /// The name of the guard.
    #[must_use]
    pub fn guard(&self) -> &str {
        &self.guard
    }

    /// The roles. The client must have all of them.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
}

/// The decision of a guard function about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The request may take the route.
    Granted,
    /// The client is not authenticated: `401 Unauthorized`, unless another route serves the request.
    Unauthenticated,
    /// The client cannot be authenticated for now, for a reason on the side of the server, such as a
    /// key set that cannot be fetched: `503 Service Unavailable`, unless another route serves the
    /// request.
    Unavailable,
    /// The client is authenticated and not allowed: `403 Forbidden`, unless another route serves the
    /// request.
    Forbidden,
}

/// The requirements of a route that matches a request and that the guard forbids, in the extensions of the
/// response. If there are several such routes, they are those of the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet(pub(crate) Arc<[Requirement]>);

impl Unmet {
    /// The requirements. The client does not meet all of them.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}
