use std::{fmt, sync::Arc};

use http::Extensions;
use tower_layer::Layer;

use crate::{Branches, Error, Guarded, Routed, Routes, Verdict};

pub(crate) type Guard = dyn Fn(&Extensions, &[Guarded]) -> Verdict + Send + Sync;

/// Gives each request the route that it takes, or refuses it.
///
/// Once a route is chosen, the inner service's answer is final: a 404 from there is the answer and
/// leads to no other route.
#[derive(Clone)]
pub struct RouteLayer {
    routes: Arc<Routes>,
    guard: Option<Arc<Guard>>,
}

impl RouteLayer {
    /// A layer without a guard function: guarded routes are closed, as if it said
    /// [`Verdict::Forbidden`].
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self { routes: Arc::new(routes), guard: None }
    }

    /// Whether a guarded route is open to a request is what this function says, from the request's
    /// extensions and what the route demands. It is asked only if the route matches otherwise, for
    /// each request anew, and must not block.
    ///
    /// ```
    /// use tailwater_route::{Guarded, Route, RouteLayer, Routes, Verdict};
    ///
    /// struct Roles(Vec<String>); // of a layer that has checked a token
    ///
    /// let route = Route::new(0).guarded([Guarded::new("members", ["read"])]);
    /// let layer = RouteLayer::new(Routes::new(vec![route], None)).guard(|extensions, guarded| {
    ///     let Some(Roles(known)) = extensions.get() else { return Verdict::Unauthenticated };
    ///     let mut demanded = guarded.iter().flat_map(Guarded::roles);
    ///     if demanded.all(|role| known.contains(role)) { Verdict::Open } else { Verdict::Forbidden }
    /// });
    /// # let _ = (layer, Roles(vec![]));
    /// ```
    #[must_use]
    pub fn guard(
        mut self,
        guard: impl Fn(&Extensions, &[Guarded]) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }

    /// Sends each request to the service that its target counts, from 0.
    ///
    /// # Errors
    /// [`Error::Target`] if a target has no service.
    pub fn branches<S>(
        &self,
        services: impl IntoIterator<Item = S>,
    ) -> Result<Routed<Branches<S>>, Error> {
        let services: Arc<[S]> = services.into_iter().collect();
        match self.routes.highest_target() {
            Some(target) if target >= services.len() => {
                Err(Error::Target { target, services: services.len() })
            }
            _ => Ok(self.layer(Branches::new(services))),
        }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Routed<S>;

    fn layer(&self, inner: S) -> Routed<S> {
        Routed::new(inner, Arc::clone(&self.routes), self.guard.clone())
    }
}

impl fmt::Debug for RouteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLayer").field("routes", &self.routes).finish_non_exhaustive()
    }
}
