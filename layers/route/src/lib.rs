//! Routes as a tower layer and a tower service: path, headers and guards decide where a request goes.
//!
//! A request takes the first of the [`Routes`] that matches. A [`Router`] sends it to the service of
//! that route. A [`RouteLayer`] sends it to one inner service, with the target of the route as an
//! extension. Both put the parameters of the path as a [`Matched`] into the extensions of the request.
//! A request that takes no route is answered 404, 401, 403 or 503.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tailwater_route::{Matched, Pattern, Rejection, RouteLayer, Routes};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let routes = Routes::new().route([Pattern::new("/orders/{id}")?], ());
//!
//! let service = ServiceBuilder::new()
//!     .layer(RouteLayer::new(routes))
//!     .service(service_fn(async |request: Request<()>| {
//!         let matched = request.extensions().get::<Matched>().expect("the layer put it there");
//!         let id = matched.parameter("id").unwrap_or_default().to_vec();
//!         Ok::<_, std::convert::Infallible>(Response::new(id))
//!     }));
//!
//! let found = service.clone().oneshot(Request::get("/orders/n%C2%B07?all").body(())?).await?;
//! assert_eq!(found.body(), "n°7".as_bytes());
//!
//! let rejected = service.oneshot(Request::get("/orders/7/items").body(())?).await?;
//! assert_eq!(rejected.status(), StatusCode::NOT_FOUND);
//! assert_eq!(rejected.extensions().get(), Some(&Rejection::NotFound));
//! # Ok(())
//! # }
//! ```
//!
//! - **Which route**: the first route whose [`Condition`] holds and whose requirements are met. If
//!   the guard denies access, the route does not match, and a later one may. The fallback comes last.
//!   If several reasons to reject a request apply, the status is the first of 503, 401, 403 and 404.
//! - **Guards**: this crate knows no tokens. [`Routes::guard`] takes a function that does.
//! - **Paths** are split at `/` and then percent-decoded, once. A segment that would hold `/` or NUL
//!   matches no parameter. If a pattern tests segments, such a path is answered 404, so that it cannot
//!   pass by a guarded route and match a wider one. `.` and `..` are not resolved: a service that maps
//!   paths to files has to do that.
//! - **Cost**: literal paths are found in a table, however many there are. A request on a route
//!   without parameters allocates its extensions only, if no condition tests `:scheme` or
//!   `:authority`.
//!
//! Behind a proxy, `:scheme` and `:authority` have the values that the proxy sends; see [`Scheme`].

mod condition;
mod error;
mod future;
mod glob;
mod guard;
mod head;
mod layer;
mod matched;
mod path;
mod pattern;
mod rejection;
mod router;
mod routes;
mod service;

pub use condition::Condition;
pub use error::Error;
pub use future::ResponseFuture;
pub use guard::{Access, Requirement, Unmet};
pub use head::Scheme;
pub use layer::RouteLayer;
pub use matched::Matched;
pub use pattern::{Pattern, ValuePattern};
pub use rejection::Rejection;
pub use router::{Router, RouterFuture};
pub use routes::Routes;
pub use service::Route;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
