//! Routes as a tower layer: which requests go where, by path, header and guard.
//!
//! A [`RouteLayer`] gives each request the first of its [`Routes`] that matches, and leaves what it
//! found as a [`Matched`] in the request's extensions: a target, which is a number of your choice,
//! and the parameters of the path. What no route matches is answered 404, 401 or 403.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use tailwater_route::{Condition, Matched, Pattern, Refused, Route, RouteLayer, Routes};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = Condition::any().path(Pattern::new("/orders/{id}")?)?;
//! let routes = Routes::new(vec![Route::new(0).when([orders])], None);
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
//! assert_eq!(refused.extensions().get(), Some(&Refused::NotFound));
//! # Ok(())
//! # }
//! ```
//!
//! - **Which route**: the first whose [`Condition`] holds and whose guards are satisfied. A route
//!   that a guard closes does not match, and a later one may. The default of the routes comes
//!   last. The refusal tells the most that is known: 401 before 403 before 404.
//! - **Guards**: this crate knows no tokens. [`RouteLayer::guard`] takes the function that does.
//! - **Where requests go**: [`RouteLayer::branches`] has a service for each target; or the inner
//!   service looks at [`Matched::target`] itself.
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
pub use guard::{Guarded, Route, Verdict};
pub use head::Scheme;
pub use layer::RouteLayer;
pub use matched::Matched;
pub use pattern::{Pattern, Text};
pub use rejection::Refused;
pub use router::{BranchFuture, Branches};
pub use routes::Routes;
pub use service::Routed;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
