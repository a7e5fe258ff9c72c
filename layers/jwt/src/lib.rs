//! Authentication by JSON Web Tokens as a tower layer, with sessions that a client can renew while its
//! streams run.
//!
//! A [`JwtLayer`] takes the token from the places that its [`Credentials`] name and has it verified by
//! its [`Guard`]. A request with a valid token gets a [`Session`]; any other request is answered
//! `401 Unauthorized`. A stream that outlives its request holds a [`Lease`] of the session. The lease
//! reports when the client has to be asked for a fresh token. A fresh token extends the lease. Without one it
//! ends when the token expires.
//!
//! ```
//! use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
//! use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
//! use http::{Request, Response, StatusCode};
//! use tailwater_jwt::{Credentials, Guard, GuardOptions, Jwk, JwtLayer, Keys, Rejection, Session};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The issuer has the private key, we the public one.
//! let private = Ed25519KeyPair::generate()?;
//! let mut public = Jwk::default();
//! public.kty = "OKP".to_owned();
//! public.crv = Some("Ed25519".to_owned());
//! public.kid = Some("2026".to_owned());
//! public.x = Some(URL_SAFE_NO_PAD.encode(private.public_key()));
//!
//! let options = GuardOptions::new("members", Keys::list([public])?)
//!     .issuer("https://auth.example.com")
//!     .audience(["https://api.example.com"]);
//! let service = ServiceBuilder::new()
//!     .layer(JwtLayer::new(Guard::new(options), Credentials::bearer()))
//!     .service(service_fn(async |request: Request<()>| {
//!         let session = request.extensions().get::<Session>().expect("the layer put it there");
//!         let name = session.token().subject().unwrap_or_default().to_owned();
//!         Ok::<_, std::convert::Infallible>(Response::new(name))
//!     }));
//!
//! let header = r#"{"alg":"EdDSA","kid":"2026"}"#;
//! let claims = r#"{"iss":"https://auth.example.com","aud":"https://api.example.com",
//!     "sub":"ada","exp":4000000000}"#;
//! let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
//! let signature = URL_SAFE_NO_PAD.encode(private.sign(message.as_bytes()));
//! let request = Request::get("/").header("authorization", format!("Bearer {message}.{signature}"));
//! assert_eq!(service.clone().oneshot(request.body(())?).await?.body(), "ada");
//!
//! let rejected = service.oneshot(Request::get("/").body(())?).await?;
//! assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(rejected.extensions().get(), Some(&Rejection::NoCredentials));
//! # Ok(())
//! # }
//! ```
//!
//! - **Valid tokens**: a compact JWS with a signature by one of the guard's keys. The algorithms are RS,
//!   PS and ES with 256, 384 and 512 bits, and Ed25519, also under the name EdDSA. Neither `none` nor a
//!   shared secret is accepted. A token with a `kid` is verified with the keys of this `kid` and the keys
//!   without one; a token without a `kid` with all keys. The current time is between `nbf` and `exp`, and
//!   issuer and audience are as [`GuardOptions`] demand. Parsing is strict: no padding, one encoding for
//!   the same bytes, no duplicate member in an object, no `crit`. [`Rejection`] has a variant for each
//!   reason.
//! - **Keys**: a list, the key set at a URL ([`Keys::url`]), or the key set of an issuer
//!   ([`Keys::issuer`]). A task fetches a key set, and fetches it again when it is no longer fresh. A token
//!   with an unknown key also causes a fetch, at most every 10 s. Its request waits for the fetch, at most
//!   5 s. At most 1024 requests of a guard wait; a further one is answered at once, with the known keys.
//!   While fetches fail the last valid set stays in use. Unusable keys of a set are left out. [`Fetch`] is
//!   the trait for the transport; the feature `fetch` (on by default) provides [`HttpFetch`].
//! - **Continuous authorization**: before a token expires ([`GuardOptions::challenge`]) its leases are due
//!   for a [`Challenge`]. The client answers with a `POST` that carries a fresh token. The layer then
//!   extends the leases of the session, if issuer and subject are the same and each lease is still allowed.
//!   Over HTTP/2 a session belongs to its connection ([`ConnectionSessions`]). Over HTTP/1.1 it has an id
//!   that only its own client knows. If a renewal applied to all streams of a subject, the renewal of a
//!   victim would also extend the stream of a thief.
//! - **Secrets**: no error, log line or `Debug` output of this crate contains a token or a session's id.
//!   The layer removes credentials from a request before it passes the request on. A layer further out
//!   that logs URIs does see the credentials in a query. User and query of a key set's URL are not shown.
//!   Text from others is escaped and truncated.
//! - **Limits**: a token has at most 16 KiB ([`GuardOptions::max_token_bytes`]). The cache of verified
//!   tokens holds at most 16 384 tokens and 8 MiB of their text. A key set has at most 256 KiB and 100
//!   keys, and is fetched within 10 s, with at most three redirects on the same host. A token is tried with
//!   16 keys, and with all keys while the guard makes fewer than 1000 further checks in a second.
//! - **Cost**: less than 3 µs for a cached token (see the README), one signature check for a new one.

mod config;
mod credentials;
mod error;
mod escape;
mod future;
mod guard;
mod keys;
mod layer;
mod rejection;
mod service;
mod session;
mod token;

pub use credentials::Credentials;
pub use error::{Error, KeyError};
pub use future::ResponseFuture;
pub use guard::Guard;
pub use guard::counts::GuardCounts;
pub use guard::options::GuardOptions;
pub use keys::Keys;
pub use keys::fetch::{BoxError, Fetch, FetchFuture, MAX_KEY_SET_BYTES};
#[cfg(feature = "fetch")]
pub use keys::http_fetch::HttpFetch;
pub use keys::jwk::Jwk;
pub use layer::JwtLayer;
pub use rejection::{Part, Rejection};
pub use service::JwtAuth;
pub use session::Session;
pub use session::connection::ConnectionSessions;
pub use session::lease::{Challenge, Due, Lease};
pub use token::Token;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
