//! Serves the files of a `filesystem` binding to the requests of an `http-filesystem` binding.
//!
//! tower-http's [`ServeDir`] answers with validators, conditions, ranges and types. [`Files`] finds the path of
//! a file for a request. [`Folder`] opens the file, and nothing outside of its location.
//!
//! - The path of a folder serves its `index.html`, and never a listing. Without that file it is 404. If the path
//!   lacks the last `/`, it is redirected to the same path with `/`, so that relative links of the page lead
//!   into the folder. There is no redirect if `with.path` maps both paths to the same file.
//! - A path with an encoded `/`, `\` or NUL is 404, and so is a file that can't be read.
//! - If the location does not exist, a warning is logged at the start. Requests are 404 until it exists.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pin_project_lite::pin_project;
use tailwater_kafka_types::{Part, Template, Variable};
use tailwater_route::Matched;
use tower::Service;
use tower_http::services::fs::{DefaultServeDirFallback, ServeDir, ServeFileSystemResponseBody};

use self::folder::Folder;
use crate::config::{FileWith, Symlinks};

mod folder;
#[cfg(test)]
mod tests;

/// Body of the responses of [`Files`].
pub(crate) type FileBody = ServeFileSystemResponseBody;

type Serve = ServeDir<DefaultServeDirFallback, Folder>;
type Serving = <Serve as Service<Request<()>>>::Future;

/// The characters that are percent-encoded in a path.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// The request headers that [`ServeDir`] reads, except `range`.
const CONDITIONS: [http::HeaderName; 4] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// Answers requests with the files below a location.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    serve: Serve,
    /// The template of the file's path. Without one it is the path of the request.
    template: Option<Arc<[Part]>>,
}

/// Warns if a location does not exist or can't be read.
pub(crate) fn look_at(location: &Path) {
    if let Err(error) = std::fs::read_dir(location) {
        tracing::warn!(%error, location = %location.display(), "the folder can't be read, so requests for its files are answered with 404");
    }
}

impl Files {
    /// Serves the files below `location`. `with` maps a request to the path of a file.
    pub(crate) fn new(location: PathBuf, symlinks: Symlinks, with: &FileWith) -> Files {
        // `Folder` knows the location, so that `ServeDir` gets relative paths.
        let serve = ServeDir::with_backend(Path::new(""), Folder::new(location, symlinks));
        let template = match (&with.directory, &with.path) {
            (Some(directory), Some(path)) => Some(joined(directory, path)),
            (one, other) => one.as_ref().or(other.as_ref()).map(|one| one.parts().into()),
        };
        Files { serve: serve.ignore_multi_range_requests(true), template }
    }

    /// The file that a request is for.
    fn target<'r, B>(&self, request: &'r Request<B>) -> Result<Target<'r>, StatusCode> {
        let decoded = decoded(request.uri().path()).ok_or(StatusCode::NOT_FOUND)?;
        let Some(template) = &self.template else {
            return Ok(Target { path: decoded, slash_counts: true });
        };
        let matched = request.extensions().get::<Matched>();
        let mut path = String::new();
        let mut slash_counts = false;
        for part in template.iter() {
            match part {
                Part::Literal(text) => {
                    path.push_str(text);
                    slash_counts = false;
                }
                Part::Variable(Variable::Parameter(name)) => {
                    let value = matched
                        .and_then(|matched| matched.parameter(name))
                        .and_then(|value| str::from_utf8(value).ok());
                    let value = value.ok_or(StatusCode::NOT_FOUND)?;
                    path.push_str(value);
                    slash_counts = decoded.ends_with(value);
                }
                // Claims of a session have no value here yet.
                _ => return Err(StatusCode::FORBIDDEN),
            }
        }
        Ok(Target { path: path.into(), slash_counts })
    }
}

/// The file that a request is for.
struct Target<'r> {
    path: Cow<'r, str>,
    /// Whether a `/` at the end of the request's path is also at the end of this path. Only then is a redirect
    /// to the path with `/` useful.
    slash_counts: bool,
}

/// The path of a request, decoded once. `None` if it can't be the path of a file.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    // A decoded `/` would be a separator that the routes above have not seen.
    let hides = |encoded: &[u8]| {
        [b"%2F", b"%5C", b"%00"].iter().any(|hidden| encoded.eq_ignore_ascii_case(*hidden))
    };
    if bytes.windows(3).any(hides) {
        return None;
    }
    percent_decode_str(path).decode_utf8().ok().filter(|path| is_plain(path))
}

/// `directory/path`.
fn joined(directory: &Template, path: &Template) -> Arc<[Part]> {
    let mut parts = directory.parts().to_vec();
    if let Some(Part::Literal(text)) = parts.last_mut() {
        text.truncate(text.trim_end_matches('/').len());
    }
    parts.push(Part::Literal("/".to_owned()));
    let mut rest = path.parts().to_vec();
    if let Some(Part::Literal(text)) = rest.first_mut() {
        *text = text.trim_start_matches('/').to_owned();
    }
    parts.extend(rest);
    parts.into()
}

/// Whether a path has no `.`, no `..` and no `//`.
///
/// They are rejected instead of resolved. The routes above do not resolve them either, and a guarded path must
/// have only one spelling.
fn is_plain(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let names = path.strip_suffix('/').unwrap_or(path);
    let refused = |name: &str| matches!(name, "" | "." | "..") || name.contains(['\\', '\0']);
    path.is_empty() || !names.split('/').any(refused)
}

/// The URI under which [`ServeDir`] finds a path.
fn uri(path: &str) -> Option<Uri> {
    let names = path.strip_prefix('/').unwrap_or(path);
    is_plain(path).then(|| format!("/{}", utf8_percent_encode(names, PLAIN)).parse().ok())?
}

/// A redirect to the same path with a `/` at its end.
///
/// It is relative, so that it is right behind a proxy that strips a prefix, and never names another host,
/// however the path begins.
fn with_slash(uri: &Uri) -> Option<HeaderValue> {
    let (_, name) = uri.path().rsplit_once('/')?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    HeaderValue::from_str(&format!("./{name}/{query}")).ok()
}

impl<B> Service<Request<B>> for Files {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let head = request.method() == Method::HEAD;
        if !head && request.method() != Method::GET {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return ResponseFuture::answer(response);
        }
        let target = match self.target(&request) {
            Ok(target) => target,
            Err(status) => return ResponseFuture::answer(empty(status)),
        };
        let Some(uri) = uri(&target.path) else {
            return ResponseFuture::answer(empty(StatusCode::NOT_FOUND));
        };
        // HEAD is served as GET: it must not succeed for a file that can't be read.
        let mut asked = Request::new(());
        *asked.uri_mut() = uri;
        copy(request.headers(), asked.headers_mut(), &CONDITIONS);
        // `ServeDir` does not support `if-range`. The whole file is always a valid answer (RFC 9110 14.2).
        if !head && !request.headers().contains_key(IF_RANGE) {
            copy(request.headers(), asked.headers_mut(), &[RANGE]);
        }
        let mut serve = self.serve.clone().redirect_to_trailing_slash(target.slash_counts);
        ResponseFuture {
            serving: Some(serve.call(asked)),
            answer: None,
            head,
            with_slash: with_slash(request.uri()),
        }
    }
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[http::HeaderName]) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

fn empty(status: StatusCode) -> Response<FileBody> {
    let mut response = Response::new(FileBody::default());
    *response.status_mut() = status;
    response
}

pin_project! {
    /// Future of [`Files`].
    pub(crate) struct ResponseFuture {
        #[pin]
        serving: Option<Serving>,
        answer: Option<Response<FileBody>>,
        head: bool,
        with_slash: Option<HeaderValue>,
    }
}

impl ResponseFuture {
    fn answer(response: Response<FileBody>) -> ResponseFuture {
        ResponseFuture { serving: None, answer: Some(response), head: false, with_slash: None }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<FileBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(serving) = this.serving.as_pin_mut() else {
            return Poll::Ready(Ok(this.answer.take().expect("polled after completion")));
        };
        let Ok(mut response) = ready!(serving.poll(cx));
        if response.status().is_redirection()
            && let Some(there) = response.headers_mut().get_mut(LOCATION)
        {
            match this.with_slash.take() {
                Some(location) => *there = location,
                None => return Poll::Ready(Ok(empty(StatusCode::NOT_FOUND))),
            }
        }
        // For an empty file tower-http answers a range with 206 and no bytes.
        if response.status() == StatusCode::PARTIAL_CONTENT
            && response.headers().get(CONTENT_LENGTH).is_some_and(|value| value == "0")
        {
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().remove(CONTENT_RANGE);
        }
        if let Some(kind) = response.headers_mut().get_mut(CONTENT_TYPE)
            && let Some(named) = with_charset(kind)
        {
            *kind = named;
        }
        if *this.head {
            *response.body_mut() = FileBody::default();
        }
        Poll::Ready(Ok(response))
    }
}

/// A `text/` type with `charset=utf-8`, if it has no parameter.
fn with_charset(kind: &HeaderValue) -> Option<HeaderValue> {
    let text =
        kind.to_str().ok().filter(|text| text.starts_with("text/") && !text.contains(';'))?;
    HeaderValue::from_str(&format!("{text}; charset=utf-8")).ok()
}
