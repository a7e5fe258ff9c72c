use http::Extensions;

/// The function that tells whether a guarded route is open to a request.
pub(crate) type Guard = dyn Fn(&Extensions, &[Requirement]) -> Access + Send + Sync;

/// What a route demands of one guard: that it knows who asks, and that they have all roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    guard: String,
    roles: Vec<String>,
}

impl Requirement {
    /// Without roles it is enough that the guard knows who asks.
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

    /// The roles, all of which are demanded.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
}

/// What a guard function says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// The request may take the route.
    Granted,
    /// Nobody knows who asks: `401 Unauthorized`, unless another route is open.
    Unauthenticated,
    /// It cannot be known for now who asks, through no fault of theirs: `503 Service Unavailable`,
    /// unless another route is open.
    Unavailable,
    /// It is known who asks, and they may not: `403 Forbidden`, unless another route is open.
    Forbidden,
}
