//! A guard of JSON Web Tokens as a tower layer, with sessions that are renewed while their streams
//! run.
//!
//! A [`JwtLayer`] looks for a token where its [`Credentials`] say, asks its [`Guard`] whether it is
//! good, and gives the request a [`Session`] or the client a `401 Unauthorized`. A stream that lives
//! longer than its request takes a [`Lease`] of the session: it says when to ask the client for a
//! fresh token, moves when one comes, and ends when none did.
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
//! let refused = service.oneshot(Request::get("/").body(())?).await?;
//! assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(refused.extensions().get(), Some(&Rejection::NoCredentials));
//! # Ok(())
//! # }
//! ```
//!
//! - **What is good**: a compact JWS whose signature one of the guard's keys has made, of those that
//!   its `kid` names (all, if it has none) and those without a name, that are for its `alg`: RS, PS and
//!   ES 256, 384 and 512, and Ed25519, by this name or as EdDSA; never `none`, never a shared secret. `nbf` has come
//!   and `exp` has not; issuer and audience are those of the guard. All is read strictly: no padding,
//!   no second text of the same bytes, no name twice in an object, no `crit`. [`Rejection`] has a
//!   variant for each reason.
//! - **Keys**: a list, a set with a URL ([`Keys::url`]), or that of an issuer ([`Keys::issuer`]), which
//!   is fetched by a task, again when it is no longer fresh, and when a token is by no key that is
//!   known, every 10 s at the most; such a request waits for it, 5 s at the most, as one of at most
//!   1024 for each guard: one more is answered at once, by the keys that are known. While it cannot be
//!   fetched the last good set stays, and keys of a set that are of no use are left out. [`Fetch`] is
//!   how; feature `fetch` (default) has [`HttpFetch`].
//! - **Continuous authorization**: some time before it expires ([`GuardOptions::challenge`]) a lease is due
//!   for a [`Challenge`]. The client answers with a `POST` and a fresh token, and the layer moves the
//!   leases of that session, if issuer and subject are the same and what each of them needs still
//!   holds. Over HTTP/2 the session is that of the connection ([`ConnectionSessions`]); over HTTP/1.1
//!   it has a name that only its own client knows: "all streams of that subject" would let the
//!   renewal of a victim keep the stream of a thief alive.
//! - **Secrets**: tokens, and names of sessions, are in no error, log or `Debug` of this crate, and
//!   credentials are taken out of the request before it is passed on. What stands outside of the
//!   layer, and logs URIs, sees those of the query. Of a key set's URL, user and query are not shown,
//!   and what others wrote is escaped and cut.
//! - **Limits**: a token has at most 16 KiB ([`GuardOptions::max_token_bytes`]); the cache of verified ones holds
//!   16 384 and 8 MiB of their text; a key set has at most 256 KiB and 100 keys, and comes within 10 s,
//!   three redirects within its host included; a token is tried with 16 keys, and with all as long as
//!   fewer than 1000 checks in a second go beyond these.
//! - **Cost**: under 3 µs for a token that was seen before (see the README); a signature once, for
//!   one that was not.

mod config;
mod credentials;
mod error;
mod escape;
mod future;
mod guard;
mod keys;
mod layer;
mod macros;
mod rejection;
mod service;
mod session;
mod token;

pub use credentials::Credentials;
pub use error::{Error, KeyError};
pub use future::ResponseFuture;
pub use guard::Guard;
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
