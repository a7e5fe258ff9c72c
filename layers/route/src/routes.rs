use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::{Extensions, Response};

use crate::guard::Guard;
use crate::head::Head;
use crate::matched::Parameter;
use crate::{Access, Condition, Matched, Rejection, Requirement, Unmet};

/// Routes in order. A request takes the first route that matches, or else the fallback.
///
/// Each route has a target of type `T`. For a [`Router`](crate::Router) it is a service. For a
/// [`RouteLayer`](crate::RouteLayer) it is a value that the inner service finds in the request.
///
/// Conditions with a literal path are found in a table, so that a request takes as long with ten
/// thousand of them as with one. All other conditions are tried one by one.
///
/// ```
/// use tailwater_route::{Condition, Error, Pattern, Routes, ValuePattern};
///
/// let post = Condition::any().header(":method", ValuePattern::new("POST")?)?;
/// let routes = Routes::new()
///     .route([Pattern::new("/orders/{id}")?, Pattern::new("/orders")?], "orders")
///     .route([post], "posted")
///     .fallback("anything else");
/// # let _ = routes;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Routes<T> {
    routes: Vec<Entry<T>>,
    fallback: Option<T>,
    guard: Option<Arc<Guard>>,
    /// Each condition of each route in order, with the index of its route.
    conditions: Vec<(usize, Condition)>,
    /// Indices into `conditions` by literal path, ascending.
    literal: HashMap<Box<[u8]>, Vec<usize>>,
    /// Indices into `conditions` of all others, ascending.
    others: Vec<usize>,
    /// Whether a path with an encoded `/` or NUL cannot be compared with one of the conditions.
    needs_plain_path: bool,
}

/// Why no route takes a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoute {
    rejection: Rejection,
    /// What the first route that the guard forbids requires.
    unmet: Option<Unmet>,
}

impl From<Rejection> for NoRoute {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, unmet: None }
    }
}

impl NoRoute {
    pub(crate) fn response<R: Default>(self) -> Response<R> {
        let mut response = self.rejection.response();
        if let Some(unmet) = self.unmet.filter(|_| self.rejection == Rejection::Forbidden) {
            response.extensions_mut().insert(unmet);
        }
        response
    }
}

#[derive(Clone, Debug)]
struct Entry<T> {
    target: T,
    requirements: Arc<[Requirement]>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Routes<T> {
    /// A table without routes, which rejects each request.
    pub fn new() -> Self {
        Self {
            routes: Vec::new(),
            fallback: None,
            guard: None,
            conditions: Vec::new(),
            literal: HashMap::new(),
            others: Vec::new(),
            needs_plain_path: false,
        }
    }

    /// Adds a route. A request takes it if one of the conditions holds. A route without a condition
    /// takes any request.
    pub fn route<C: Into<Condition>>(
        self,
        conditions: impl IntoIterator<Item = C>,
        target: T,
    ) -> Self {
        self.guarded_route(conditions, [], target)
    }

    /// Adds a route as [`route`](Self::route) does. A request takes it only if the
    /// [`guard`](Self::guard) grants access for these requirements. A route without a requirement needs
    /// no guard.
    pub fn guarded_route<C: Into<Condition>>(
        mut self,
        conditions: impl IntoIterator<Item = C>,
        requirements: impl IntoIterator<Item = Requirement>,
        target: T,
    ) -> Self {
        let mut conditions = conditions.into_iter().map(Into::into).peekable();
        if conditions.peek().is_none() {
            self.add_condition(Condition::any());
        }
        conditions.for_each(|condition| self.add_condition(condition));
        self.routes.push(Entry { target, requirements: requirements.into_iter().collect() });
        self
    }

    /// The target of a request that takes none of the routes. Default: none, and the request is
    /// rejected.
    pub fn fallback(mut self, target: T) -> Self {
        self.fallback = Some(target);
        self
    }

    /// The function that decides whether a request may take a guarded route. Its arguments are the
    /// extensions of the request and the requirements of the route. It is called for each request whose
    /// route matches otherwise, and must not block. Default: no request takes a guarded route, as if
    /// the function returned [`Access::Forbidden`].
    ///
    /// ```
    /// use tailwater_route::{Error, Requirement, Pattern, Routes, Access};
    ///
    /// struct Roles(Vec<String>); // of a layer that has checked a token
    ///
    /// let reads = Requirement::new("members", ["read"]);
    /// let routes = Routes::new()
    ///     .guarded_route([Pattern::new("/orders")?], [reads], "orders")
    ///     .guard(|extensions, requirements| {
    ///         let Some(Roles(known)) = extensions.get() else { return Access::Unauthenticated };
    ///         let mut demanded = requirements.iter().flat_map(Requirement::roles);
    ///         if demanded.all(|role| known.contains(role)) {
    ///             Access::Granted
    ///         } else {
    ///             Access::Forbidden
    ///         }
    ///     });
    /// # let _ = (routes, Roles(vec![]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn guard(
        mut self,
        guard: impl Fn(&Extensions, &[Requirement]) -> Access + Send + Sync + 'static,
    ) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }

    /// Adds a condition of the route that is added next.
    fn add_condition(&mut self, condition: Condition) {
        let index = self.conditions.len();
        match condition.literal_path() {
            Some(path) => self.literal.entry(path.into()).or_default().push(index),
            None => self.others.push(index),
        }
        self.needs_plain_path |= condition.needs_plain_path();
        self.conditions.push((self.routes.len(), condition));
    }

    /// The captures and the target of a request's route.
    pub(crate) fn find(&self, head: &Head<'_>) -> Result<(Matched, &T), NoRoute> {
        self.first(head, self.candidates(&head.path))
    }

    fn first(
        &self,
        head: &Head<'_>,
        candidates: impl Iterator<Item = usize>,
    ) -> Result<(Matched, &T), NoRoute> {
        // Rejected, not skipped: such a path would pass by a guarded route and match a wider one.
        if self.needs_plain_path && head.has_separator() {
            return Err(Rejection::NotFound.into());
        }
        let mut rejection = Rejection::NotFound;
        let mut unmet = None;
        for candidate in candidates {
            let Some((entry, parameters)) = self.try_condition(candidate, head) else { continue };
            match self.judge(head, &entry.requirements) {
                Access::Granted => {
                    let matched = Matched::new(parameters, Arc::clone(&entry.requirements));
                    return Ok((matched, &entry.target));
                }
                Access::Forbidden => {
                    rejection = rejection.max(Rejection::Forbidden);
                    unmet.get_or_insert_with(|| Unmet(Arc::clone(&entry.requirements)));
                }
                Access::Unauthenticated => rejection = rejection.max(Rejection::Unauthenticated),
                Access::Unavailable => rejection = rejection.max(Rejection::Unavailable),
            }
        }
        let no_route = || NoRoute { rejection, unmet };
        let fallback = self.fallback.as_ref().ok_or_else(no_route)?;
        Ok((Matched::new(Vec::new(), Arc::default()), fallback))
    }

    /// The route and the captures of a condition, if it holds.
    fn try_condition(
        &self,
        candidate: usize,
        head: &Head<'_>,
    ) -> Option<(&Entry<T>, Vec<Parameter>)> {
        let (route, condition) = self.conditions.get(candidate)?;
        Some((self.routes.get(*route)?, condition.find(head)?))
    }

    fn judge(&self, head: &Head<'_>, requirements: &[Requirement]) -> Access {
        match &self.guard {
            _ if requirements.is_empty() => Access::Granted,
            Some(guard) => guard(head.extensions, requirements),
            None => Access::Forbidden,
        }
    }

    /// The conditions that can hold for this path, in order.
    fn candidates(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        let literal = self.literal.get(path).map_or(&[][..], Vec::as_slice);
        let mut literal = literal.iter().copied().peekable();
        let mut others = self.others.iter().copied().peekable();
        std::iter::from_fn(move || match (literal.peek(), others.peek()) {
            (Some(first), Some(second)) if first > second => others.next(),
            (Some(_), _) => literal.next(),
            (None, _) => others.next(),
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for Routes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("routes", &self.routes)
            .field("fallback", &self.fallback)
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
