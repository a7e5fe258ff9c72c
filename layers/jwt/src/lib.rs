//! A guard of JSON Web Tokens as a tower layer, with sessions that are renewed while their streams
//! run.

mod algorithm;
mod cache;
mod claims;
mod credentials;
mod error;
mod fetch;
mod future;
mod guard;
#[cfg(feature = "fetch")]
mod http_fetch;
mod json;
mod jwk;
mod key;
mod key_set;
mod layer;
mod lease;
mod names;
mod pattern;
mod rejection;
mod remote;
mod service;
mod session;
mod token;
mod verify;

pub use credentials::Credentials;
pub use error::{Error, Unusable};
pub use fetch::{BoxError, FETCH_LIMIT, Fetch, FetchFuture};
pub use future::ResponseFuture;
pub use guard::Guard;
#[cfg(feature = "fetch")]
pub use http_fetch::HttpFetch;
pub use jwk::Jwk;
pub use key_set::Keys;
pub use layer::JwtLayer;
pub use lease::{Challenge, Due, Lease};
pub use rejection::{Part, Rejection};
pub use service::Guarded;
pub use session::{ConnectionSessions, Session};
pub use token::Token;
