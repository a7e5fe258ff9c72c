//! Routes as a tower layer: which requests go where, by path, header and guard.
//!
//! A request takes the first of the [`Routes`] that matches. A [`Router`] sends it to the service of
//! its route. A [`RouteLayer`] sends it to one inner service, with the target of its route as an
//! extension. Either leaves the parameters of the path as a [`Matched`] in the extensions of the
//! request. What no route takes is answered 404, 401, 403 or 503.
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
//! let refused = service.oneshot(Request::get("/orders/7/items").body(())?).await?;
//! assert_eq!(refused.status(), StatusCode::NOT_FOUND);
//! assert_eq!(refused.extensions().get(), Some(&Rejection::NotFound));
//! # Ok(())
//! # }
//! ```
//!
//! - **Which route**: the first whose [`Condition`] holds and whose guards are satisfied. A route
//!   that a guard closes does not match, and a later one may. The fallback comes last. Of several
//!   reasons to refuse a request the response has the first of 503, 401, 403 and 404.
//! - **Guards**: this crate knows no tokens. [`Routes::guard`] takes the function that does.
//! - **Paths** are split at `/`, then percent-decoded, once. A segment that would hold `/` or NUL
//!   is found by no parameter: if a pattern asks about segments, the whole path is answered 404, so
//!   that it cannot slip past a guarded route to a wider one. `.` and `..` are not resolved: that is
//!   for whoever maps paths to files.
//! - **Cost**: literal paths are found in a table, however many there are. A request that takes a
//!   route without parameters allocates nothing but its extension, if no condition asks for
//!   `:scheme` or `:authority`.
//!
//! Behind a proxy `:scheme` and `:authority` are the proxy's words; see [`Scheme`].

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
pub use guard::{Access, Requirement};
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
