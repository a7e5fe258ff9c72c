//! Responses of the port for administration.

use ::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use serde_json::json;
use tailwater_sse::BoxError;

pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A request that is not served.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), header: None }
    }

    pub(super) fn bad_request(text: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn unauthorized() -> Self {
        let header = Some((WWW_AUTHENTICATE, "Bearer"));
        Self { header, ..Self::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong") }
    }

    pub(super) fn forbidden(text: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn not_found(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let header = Some((ALLOW, allowed));
        Self { header, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "another method is allowed") }
    }

    pub(super) fn unavailable(text: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = json!({ "error": self.text });
        let mut response = of_type(JSON, self.status, body.to_string());
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

pub(super) const JSON: &str = "application/json";

/// A response of JSON.
pub(super) fn ok(body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("maps of answers have strings as keys");
    of_type(JSON, StatusCode::OK, body)
}

/// A response that is neither kept nor taken for anything else than it is.
pub(super) fn of_type(
    content_type: &'static str,
    status: StatusCode,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = boxed(Response::new(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A response whose body is boxed.
pub(super) fn boxed<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}
