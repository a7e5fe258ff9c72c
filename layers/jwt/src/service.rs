use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tower_service::Service;
use tracing::debug;

use crate::config::Config;
use crate::guard::Checked;
use crate::session::registry::SessionId;
use crate::{ConnectionSessions, Guard, Rejection, ResponseFuture, Session, Token};

/// Service of [`JwtLayer`](crate::JwtLayer). The inner service finds a [`Session`] in the extensions of
/// the request.
///
/// A request is answered or passed on at once, unless its token needs a key set that has yet to be fetched.
/// Then the request waits for the fetch, at most 5 s, and keeps the inner service that was ready for it.
#[derive(Clone, Debug)]
pub struct JwtAuth<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> JwtAuth<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    /// The inner service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutable.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for JwtAuth<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let config = &self.config;
        let Some(token) = config.credentials.find(request.headers(), request.uri()) else {
            return match authorize(config, request, Err(Rejection::NoCredentials)) {
                Ok((request, refusal)) => ResponseFuture::inner(self.inner.call(request), refusal),
                Err(response) => ResponseFuture::answer(response),
            };
        };
        match config.guard.check(&token) {
            Checked::Known(result) => {
                drop(token);
                match authorize(config, request, result) {
                    Ok((request, refusal)) => {
                        ResponseFuture::inner(self.inner.call(request), refusal)
                    }
                    Err(response) => ResponseFuture::answer(response),
                }
            }
            Checked::Refreshing(refreshed) => {
                let token = token.into_owned();
                let guard = config.guard.clone();
                let verified = Box::pin(async move {
                    refreshed.await;
                    guard.verify_with_known_keys(&token)
                });
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::waiting(verified, ready, request, Arc::clone(config))
            }
        }
    }
}

/// The request as the inner service receives it, or the response to a request that is not passed on.
pub(crate) fn authorize<B, R: Default>(
    config: &Config,
    mut request: Request<B>,
    verified: Result<Arc<Token>, Rejection>,
) -> Result<(Request<B>, Option<Refusal>), Response<R>> {
    if let Err(rejection) = &verified {
        debug!(%rejection, guard = config.guard.name(), "no session");
    }
    if is_challenge_response(&request) {
        let mut response = Response::new(R::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let is_renewed = verified.as_ref().is_ok_and(|token| renew(config, &request, token));
        config.guard.counters().record_renewal(is_renewed);
        if let Err(rejection) = verified {
            response.extensions_mut().insert(rejection);
        }
        return Err(response);
    }
    let mut optional = None;
    match verified {
        Ok(token) => {
            let session = session(config, &request, token);
            request.extensions_mut().insert(session);
        }
        Err(rejection) if config.optional => {
            request.extensions_mut().insert(rejection);
            optional = Some(Refusal { guard: config.guard.clone(), rejection });
        }
        Err(rejection) => {
            config.guard.counters().record_rejection(rejection);
            return Err(rejection.response());
        }
    }
    if !config.keep_credentials {
        strip(config, &mut request);
    }
    Ok((request, optional))
}

/// A rejection that the inner service may make a refusal.
pub(crate) struct Refusal {
    guard: Guard,
    rejection: Rejection,
}

impl Refusal {
    /// Counts the rejection, if this status is its own.
    pub(crate) fn answered(&self, status: StatusCode) {
        if status == self.rejection.status() {
            self.guard.counters().record_rejection(self.rejection);
        }
    }
}

fn is_challenge_response<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let value = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    request.method() == Method::POST
        && kind.trim_ascii().eq_ignore_ascii_case(b"application/x-challenge-response")
}

/// Renews the session whose id the challenge response carries. Without an id it renews the session of the
/// connection. Returns whether it has extended a lease.
fn renew<B>(config: &Config, request: &Request<B>, token: &Token) -> bool {
    match request.headers().get("x-challenge-session") {
        Some(id) => {
            let id = SessionId::parse(id.as_bytes());
            let session = id.and_then(|id| config.guard.sessions().find(id));
            session.is_some_and(|session| session.renew(token))
        }
        None => connection_sessions(request)
            .is_some_and(|sessions| sessions.renew(&config.guard, token)),
    }
}

fn session<B>(config: &Config, request: &Request<B>, token: Arc<Token>) -> Session {
    match connection_sessions(request) {
        Some(sessions) => sessions.join(&config.guard, token),
        None => Session::alone(&config.guard, token),
    }
}

/// Over HTTP/1.1 there are none: a proxy may send the requests of several clients on one connection.
fn connection_sessions<B>(request: &Request<B>) -> Option<&ConnectionSessions> {
    let multiplexed = request.version() >= Version::HTTP_2;
    request.extensions().get::<ConnectionSessions>().filter(|_| multiplexed)
}

fn strip<B>(config: &Config, request: &mut Request<B>) {
    let mut uri = mem::take(request.uri_mut());
    let headers: &mut HeaderMap = request.headers_mut();
    config.credentials.strip(headers, &mut uri);
    *request.uri_mut() = uri;
}
