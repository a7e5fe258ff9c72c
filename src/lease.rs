//! Joins the sessions of [`jwt`](crate::jwt) and the leases of [`sse`](crate::sse). Neither crate
//! depends on the other.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use ::http::request::Parts;
use tailwater_jwt::{Session, Token};
use tailwater_sse::{Due, Encoded, Event, Lease};

/// The lease of an event stream that a session has opened.
///
/// The stream sends `event:challenge` when the session asks for a fresh token, and ends when its token
/// has expired. A fresh token extends the lease if `still_allowed` returns `true` for it. `still_allowed`
/// has to check everything that allowed the stream to open, such as roles and the values of claims. It is
/// not called for the token of the request itself. [`Session::lease`] documents its other rules.
///
/// [`session_lease`] is shorter if the decision depends on the token alone.
#[must_use]
pub fn lease(
    session: &Session,
    still_allowed: impl Fn(&Token) -> bool + Send + Sync + 'static,
) -> Box<dyn Lease> {
    Box::new(SessionLease(session.lease(still_allowed)))
}

/// Leases for [`SseLayer::lease`](tailwater_sse::SseLayer::lease): each stream lives as long as the
/// session of its request has a token for which `allowed` returns `true`.
///
/// The session comes from an outer [`JwtLayer`](tailwater_jwt::JwtLayer). If the request has no session, or
/// `allowed` returns `false`, the stream ends before its first event. The source should reject such a request
/// with `403 Forbidden`: a browser whose stream ends reconnects again and again.
///
/// ```
/// # use std::convert::Infallible;
/// # use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
/// # use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
/// # use futures_util::stream;
/// # use http_body_util::BodyExt as _;
/// # use tower::{ServiceExt as _, service_fn};
/// use http::{Request, StatusCode};
/// use tailwater::jwt::{Credentials, Guard, GuardOptions, Jwk, JwtLayer, Keys};
/// use tailwater::sse::{Event, Rejection, SseLayer, Subscription, from_stream};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tailwater::sse::BoxError> {
/// # let private = Ed25519KeyPair::generate()?;
/// # let mut key = Jwk::default();
/// # key.kty = "OKP".to_owned();
/// # key.crv = Some("Ed25519".to_owned());
/// # key.x = Some(URL_SAFE_NO_PAD.encode(private.public_key()));
/// # let token = |roles: &str| {
/// #     let claims = format!(r#"{{"sub":"ada","scope":"{roles}","exp":4000000000}}"#);
/// #     let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#);
/// #     let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
/// #     let signature = URL_SAFE_NO_PAD.encode(private.sign(message.as_bytes()));
/// #     format!("Bearer {message}.{signature}")
/// # };
/// # let source = service_fn(async |_: Subscription| {
/// #     Ok::<_, Rejection>(from_stream(stream::iter([Ok::<_, Infallible>(Event::data("hello"))])))
/// # });
/// let guard = Guard::new(GuardOptions::new("members", Keys::list([key])?));
/// let lease = tailwater::session_lease(|token| token.has_roles(&["clock:read"]));
/// let service = ServiceBuilder::new()
///     .layer(JwtLayer::new(guard, Credentials::bearer()))
///     .layer(SseLayer::new().lease(lease))
///     .service(source);
///
/// let request = Request::get("/").header("authorization", token("clock:read")).body(())?;
/// let response = service.clone().oneshot(request).await?;
/// assert!(response.into_body().collect().await?.to_bytes().ends_with(b"data:hello\n\n"));
///
/// let response = service.clone().oneshot(Request::get("/").body(())?).await?;
/// assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
/// # let request = Request::get("/").header("authorization", token("other")).body(())?;
/// # let body = service.oneshot(request).await?.into_body().collect().await?.to_bytes();
/// # assert!(!body.windows(5).any(|part| part == b"hello"));
/// # Ok(())
/// # }
/// ```
pub fn session_lease(
    allowed: impl Fn(&Token) -> bool + Send + Sync + 'static,
) -> impl Fn(&Parts) -> Option<Box<dyn Lease>> + Clone + Send + Sync + 'static {
    let allowed = Arc::new(allowed);
    move |parts| {
        let session = parts.extensions.get::<Session>();
        Some(match session.filter(|session| allowed(session.token())) {
            Some(session) => {
                let allowed = Arc::clone(&allowed);
                lease(session, move |token| allowed(token))
            }
            None => Box::new(Ended),
        })
    }
}

struct SessionLease(tailwater_jwt::Lease);

impl Lease for SessionLease {
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        Poll::Ready(match ready!(self.0.poll_due(cx)) {
            tailwater_jwt::Due::Challenge(challenge) => {
                let event = Event::data(challenge.json()).event("challenge");
                Due::Challenge(Encoded::event(&event))
            }
            _ => Due::End,
        })
    }

    fn permits(&self) -> bool {
        self.0.permits()
    }

    fn expires(&self) -> Option<SystemTime> {
        self.0.expires()
    }

    fn is_revoked(&self) -> bool {
        self.0.is_revoked()
    }
}

/// A lease that permits nothing.
struct Ended;

impl Lease for Ended {
    fn poll_due(&mut self, _: &mut Context<'_>) -> Poll<Due> {
        Poll::Ready(Due::End)
    }

    fn permits(&self) -> bool {
        false
    }
}
