use std::sync::Arc;

use crate::Condition;

/// A target, the conditions under which a request takes it, and who may.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) target: usize,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) guarded: Arc<[Guarded]>,
}

impl Route {
    /// A route that any request takes. `target` is a number of the composer's choice: it finds it
    /// in [`Matched::target`](crate::Matched::target).
    #[must_use]
    pub fn new(target: usize) -> Self {
        Self { target, conditions: Vec::new(), guarded: Arc::default() }
    }

    /// One of these conditions must hold, or of those given before; of none: any request will do.
    #[must_use]
    pub fn when(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        self.conditions.extend(conditions);
        self
    }

    /// The guard function must find the request open to all of these.
    #[must_use]
    pub fn guarded(mut self, guarded: impl IntoIterator<Item = Guarded>) -> Self {
        self.guarded = self.guarded.iter().cloned().chain(guarded).collect();
        self
    }
}

/// What a route demands of one guard: that it knows who asks, and that they have all roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    guard: String,
    roles: Vec<String>,
}

impl Guarded {
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
pub enum Verdict {
    /// The request may take the route.
    Open,
    /// Nobody knows who asks: `401 Unauthorized`, unless another route is open.
    Unauthenticated,
    /// It cannot be known for now who asks, through no fault of theirs: `503 Service Unavailable`,
    /// unless another route is open.
    Unavailable,
    /// It is known who asks, and they may not: `403 Forbidden`, unless another route is open.
    Forbidden,
}
