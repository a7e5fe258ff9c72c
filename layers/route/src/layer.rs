use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use crate::{Route, Routes};

/// Finds the route of each request, or rejects the request. All routes lead to the same inner
/// service. With a [`Router`](crate::Router) each route has a service of its own.
///
/// The inner service finds [`Matched`](crate::Matched) and the target of the route in the extensions
/// of the request. Its answer is final: a 404 from there leads to no other route.
///
/// ```
/// use http::Request;
/// use tailwater_route::{Error, Pattern, RouteLayer, Routes};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Page {
///     Orders,
///     Other,
/// }
///
/// let routes = Routes::new().route([Pattern::new("/orders")?], Page::Orders).fallback(Page::Other);
/// let layer = RouteLayer::new(routes);
/// // and in the inner service:
/// let page = |request: &Request<()>| request.extensions().get::<Page>().copied();
/// # let _ = (layer, page);
/// # Ok::<(), Error>(())
/// ```
#[must_use]
pub struct RouteLayer<T> {
    routes: Arc<Routes<T>>,
}

impl<T> RouteLayer<T> {
    /// A layer with these routes.
    pub fn new(routes: Routes<T>) -> Self {
        Self { routes: Arc::new(routes) }
    }
}

impl<S, T> Layer<S> for RouteLayer<T> {
    type Service = Route<S, T>;

    fn layer(&self, inner: S) -> Route<S, T> {
        Route::new(inner, Arc::clone(&self.routes))
    }
}

impl<T> Clone for RouteLayer<T> {
    fn clone(&self) -> Self {
        Self { routes: Arc::clone(&self.routes) }
    }
}

impl<T: fmt::Debug> fmt::Debug for RouteLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteLayer").field("routes", &self.routes).finish()
    }
}
