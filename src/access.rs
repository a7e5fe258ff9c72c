//! The `access-control` of an `http` binding: CORS, the rules for pages of other origins.
//!
//! tower-http's [`CorsLayer`] writes the headers. This layer adds two rules: a request of a forbidden origin is
//! answered with 403, and a preflight with 204.
//!
//! - A request without `Origin`, or of the server's own origin, is always allowed.
//! - `allow.methods` and `allow.headers` are sent to the browser, which enforces them. The browser sends a
//!   preflight before any request other than a plain GET, HEAD or POST. As in Zilla, no request is rejected here
//!   because of its method, so that `methods: [GET]` does not reject a challenge response.
//! - `https://*.example.org` in `allow.origins` matches each host with one label in place of `*`.
//! - If there are event streams, the headers that they need are allowed, whatever `allow.headers` says.
//! - The own origin consists of [`Scheme`] and `Host`. If a proxy in front terminates TLS, our own pages have an
//!   `https` origin, which differs from it. Then `allow.origins` has to name their origin.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{future::Future, pin::Pin};

use http::header::{
    self, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tailwater_route::Scheme;
use tower::{Layer, Service};
use tower_http::cors::{
    self, AllowHeaders, AllowMethods, AllowOrigin, Any, Cors, CorsLayer, ExposeHeaders,
};

use crate::config::{AccessControl, CrossOrigin};

#[cfg(test)]
mod tests;

/// The response headers that a page may always read (Fetch 2.2.2), and those that are for the browser only.
const NOT_EXPOSED: [HeaderName; 9] = [
    header::CACHE_CONTROL,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
];

/// The request headers that event streams need. Without them a page that uses `fetch` cannot resume, and lists
/// made for other requests lack them.
const OF_STREAMS: [HeaderName; 2] =
    [HeaderName::from_static("last-event-id"), header::CACHE_CONTROL];

/// The services behind an `access-control`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind {
    /// Whether a guard can challenge clients. Over HTTP/1.1 they answer with a header that lists made for Zilla
    /// do not have.
    pub(crate) guarded: bool,
    /// Whether a route leads to event streams.
    pub(crate) streams: bool,
}

/// The layer of an `access-control`.
pub(crate) fn layer(access: &AccessControl, behind: Behind) -> AccessLayer {
    let AccessControl::CrossOrigin(cross) = access else {
        return AccessLayer { origins: Origins::Own, expose_all: false, cors: CorsLayer::new() };
    };
    let origins = match named(cross.origins.as_deref()) {
        Some(origins) => Origins::Named(origins.iter().map(|origin| Named::new(origin)).collect()),
        None => Origins::Any { credentials: cross.credentials },
    };
    AccessLayer {
        cors: cors(cross, &origins, behind),
        expose_all: cross.credentials && named(cross.expose.as_deref()).is_none(),
        origins,
    }
}

fn cors(cross: &CrossOrigin, origins: &Origins, behind: Behind) -> CorsLayer {
    let mut cors = CorsLayer::new().allow_credentials(cross.credentials);
    // With credentials a browser takes `*` literally, and the `*` of headers never includes `authorization`. So
    // a preflight is never answered with `*`.
    cors = match origins {
        Origins::Any { credentials: false } => cors.allow_origin(AllowOrigin::any()).vary([]),
        Origins::Any { .. } => cors.allow_origin(AllowOrigin::mirror_request()).vary([ORIGIN]),
        Origins::Named(names) => {
            let names = Arc::clone(names);
            let known = move |origin: &HeaderValue, _: &_| {
                origin.to_str().is_ok_and(|text| is_named(&names, &normal(text)))
            };
            cors.allow_origin(AllowOrigin::predicate(known)).vary([ORIGIN])
        }
        Origins::Own => cors,
    };
    // An invalid method or header name is skipped, since no request can have it.
    cors = cors.allow_methods(match named(cross.methods.as_deref()) {
        Some(methods) => {
            AllowMethods::list(methods.iter().filter_map(|method| method.parse().ok()))
        }
        None => AllowMethods::mirror_request(),
    });
    cors = cors.allow_headers(match named(cross.headers.as_deref()) {
        Some(names) => {
            let mut names: Vec<HeaderName> =
                names.iter().filter_map(|name| name.parse().ok()).collect();
            let answer = behind.guarded.then(|| HeaderName::from_static("x-challenge-session"));
            let of_streams = OF_STREAMS.into_iter().filter(|_| behind.streams);
            for name in answer.into_iter().chain(of_streams) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            AllowHeaders::list(names)
        }
        None => AllowHeaders::mirror_request(),
    });
    cors = match named(cross.expose.as_deref()) {
        Some(names) => cors
            .expose_headers(ExposeHeaders::list(names.iter().filter_map(|name| name.parse().ok()))),
        None if cross.credentials => cors,
        None => cors.expose_headers(Any),
    };
    cross.max_age.into_iter().fold(cors, CorsLayer::max_age)
}

/// The names of a list. `None` if the list is missing or contains `*`, so that it allows any name.
fn named(list: Option<&[String]>) -> Option<&[String]> {
    list.filter(|list| !list.iter().any(|item| item == "*"))
}

/// Forwards the requests that the policy allows, answers a forbidden origin with `403 Forbidden`, and answers
/// preflights.
#[derive(Clone, Debug)]
pub(crate) struct AccessLayer {
    origins: Origins,
    expose_all: bool,
    cors: CorsLayer,
}

#[derive(Clone, Debug)]
enum Origins {
    Own,
    Named(Arc<[Named]>),
    /// Any origin. With credentials `null` is not allowed: it is the origin of every sandbox and of every file.
    Any {
        credentials: bool,
    },
}

/// An entry of `allow.origins`, in lower case and without the default port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    One(String),
    /// Any one label between scheme and domain, as in `https://*.example.org`.
    Label {
        scheme: String,
        domain: String,
    },
}

impl Named {
    fn new(text: &str) -> Self {
        let origin = normal(text.trim_end_matches('/'));
        match origin.split_once("://*.") {
            Some((scheme, domain)) => {
                Self::Label { scheme: format!("{scheme}://"), domain: format!(".{domain}") }
            }
            None => Self::One(origin),
        }
    }

    fn is(&self, origin: &str) -> bool {
        match self {
            Self::One(one) => one == origin,
            Self::Label { scheme, domain } => {
                let label =
                    origin.strip_prefix(&**scheme).and_then(|rest| rest.strip_suffix(&**domain));
                let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(named))
            }
        }
    }
}

fn is_named(names: &[Named], origin: &str) -> bool {
    names.iter().any(|name| name.is(origin))
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access {
            origins: self.origins.clone(),
            expose_all: self.expose_all,
            cors: self.cors.layer(Restored(inner)),
        }
    }
}

/// Service of [`AccessLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Access<S> {
    origins: Origins,
    expose_all: bool,
    cors: Cors<Restored<S>>,
}

/// Restores the method of an `OPTIONS` request that is no preflight. [`Cors`] answers each `OPTIONS` as a
/// preflight, so that such a request passes it as a GET.
#[derive(Clone, Debug)]
struct Restored<S>(S);

/// Marks, in the extensions of a request, an `OPTIONS` that is no preflight.
#[derive(Clone, Copy, Debug)]
struct PlainOptions;

impl<S: Service<Request<B>>, B> Service<Request<B>> for Restored<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if request.extensions_mut().remove::<PlainOptions>().is_some() {
            *request.method_mut() = Method::OPTIONS;
        }
        self.0.call(request)
    }
}

/// The reason of a 403, in the extensions of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForeignOrigin;

impl<S, B, R> Service<Request<B>> for Access<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.cors.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut origins = request.headers().get_all(ORIGIN).iter();
        let allowed = match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.origins.allow(origin, &request),
            (Some(_), Some(_)) => false,
        };
        if !allowed {
            let mut response = Response::new(R::default());
            *response.status_mut() = StatusCode::FORBIDDEN;
            response.extensions_mut().insert(ForeignOrigin);
            return ResponseFuture::Answer { response: Some(response) };
        }
        let asks = request.method() == Method::OPTIONS;
        let preflight = asks
            && request.headers().contains_key(ORIGIN)
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if matches!(self.origins, Origins::Own) {
            return ResponseFuture::Inner { future: self.cors.get_mut().call(request) };
        }
        if preflight {
            join_requested_headers(request.headers_mut());
        }
        if asks && !preflight {
            *request.method_mut() = Method::GET;
            request.extensions_mut().insert(PlainOptions);
        }
        // A response without `Origin` also needs the headers, since a cache may serve it to a page of another
        // origin.
        ResponseFuture::Cors {
            future: self.cors.call(request),
            preflight,
            expose_all: self.expose_all,
        }
    }
}

/// Joins the requested headers of a preflight into one line: a list may be split anywhere (RFC 9110, 5.3).
fn join_requested_headers(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .map(HeaderValue::as_bytes)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.len() > 1
        && let Ok(one) = HeaderValue::from_bytes(&lines.join(&b","[..]))
    {
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, one);
    }
}

impl Origins {
    fn allow<B>(&self, origin: &HeaderValue, request: &Request<B>) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = normal(origin);
        match self {
            Origins::Any { credentials } => !(*credentials && origin == "null"),
            Origins::Named(names) if is_named(names, &origin) => true,
            Origins::Named(_) | Origins::Own => own(request).is_some_and(|own| own == origin),
        }
    }
}

/// The origin of the server that the request is sent to.
fn own<B>(request: &Request<B>) -> Option<String> {
    let scheme = match request.extensions().get::<Scheme>() {
        Some(Scheme::Https) => "https",
        _ => "http",
    };
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), ..) => authority.as_str(),
        (None, Some(host), None) => host.to_str().ok()?,
        _ => return None,
    };
    Some(normal(&format!("{scheme}://{authority}")))
}

/// An origin in lower case and without the default port of its scheme.
fn normal(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    let port = match origin.split_once("://") {
        Some(("http", _)) => ":80",
        Some(("https", _)) => ":443",
        _ => return origin,
    };
    if origin.ends_with(port) {
        origin.truncate(origin.len() - port.len());
    }
    origin
}

pin_project! {
    /// Future of [`Access`]: the future of the inner service, or a response that is ready.
    #[project = Projected]
    pub(crate) enum ResponseFuture<F, T> {
        Answer { response: Option<T> },
        Inner { #[pin] future: F },
        Cors { #[pin] future: cors::ResponseFuture<F>, preflight: bool, expose_all: bool },
    }
}

impl<F, R, E> Future for ResponseFuture<F, Response<R>>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Projected::Answer { response } => {
                Poll::Ready(Ok(response.take().expect("polled after completion")))
            }
            Projected::Inner { future } => future.poll(cx),
            Projected::Cors { future, preflight, expose_all } => {
                let mut response = ready!(future.poll(cx))?;
                if *preflight {
                    *response.status_mut() = StatusCode::NO_CONTENT;
                } else if *expose_all && let Some(names) = exposed(response.headers()) {
                    response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// The names of the headers that a page can't read unless they are exposed.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers.keys().filter(|name| {
        !NOT_EXPOSED.contains(name) && !name.as_str().starts_with("access-control-")
    });
    let names: Vec<&str> = names.map(HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(",")).ok().filter(|_| !names.is_empty())
}
