//! One request and its response, on a connection of its own.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connect::{BoxFuture, Io};
use crate::options::Options;
use crate::{Error, Version};

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The maximum size of a response's head, and of the part of an HTTP/1 response that is read ahead.
const MAX_HEAD_BYTES: u32 = 32 << 10;
/// The maximum size of the part of an HTTP/2 response that is read ahead.
const WINDOW_BYTES: u32 = 64 << 10;
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_DEADLINE: Duration = Duration::from_secs(20);

/// Headers that belong to a connection or a body, or that this crate sets.
const OWN_HEADERS: [HeaderName; 15] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CACHE_CONTROL,
    HOST,
    LAST_EVENT_ID,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The parts that all requests for a stream share.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

impl Target {
    /// Removes headers that the user may not set from `headers`.
    pub(crate) fn new(uri: Uri, accept: HeaderValue, mut headers: HeaderMap) -> Self {
        for name in &OWN_HEADERS {
            headers.remove(name);
        }
        headers.insert(ACCEPT, accept);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Self { uri, headers }
    }

    fn request(
        &self,
        version: Version,
        last_event_id: &[u8],
    ) -> Result<Request<Empty<Bytes>>, Error> {
        let mut request = Request::new(Empty::new());
        *request.headers_mut() = self.headers.clone();
        *request.uri_mut() = self.uri.clone();
        if !last_event_id.is_empty() {
            let id = HeaderValue::from_bytes(last_event_id).map_err(|_| Error::LastEventId)?;
            request.headers_mut().insert(LAST_EVENT_ID, id);
        }
        match version {
            Version::Http1 => {
                if let Some(host) = self.uri.authority() {
                    let host = HeaderValue::from_str(host.as_str());
                    let host = host.map_err(|_| Error::Url("a host"))?;
                    request.headers_mut().insert(HOST, host);
                }
                if let Some(path) = self.uri.path_and_query() {
                    *request.uri_mut() = path.clone().into();
                }
            }
            Version::Http2 => *request.version_mut() = http::Version::HTTP_2,
        }
        Ok(request)
    }
}

/// Sends one request for the stream. Dropping the future closes the connection.
pub(crate) fn open(
    connecting: BoxFuture<Result<Box<dyn Io>, Error>>,
    target: &Target,
    last_event_id: &[u8],
    options: &Arc<Options>,
) -> BoxFuture<Result<Body, Error>> {
    let request = target.request(options.version, last_event_id);
    let options = Arc::clone(options);
    Box::pin(async move {
        let request = request?;
        let connection = timeout(options.connect_timeout, connecting).await;
        let connection = connection.map_err(|_| Error::ConnectTimeout)??;
        let answer =
            timeout(options.response_timeout, exchange(connection, request, options.version));
        let (response, connection) = answer.await.map_err(|_| Error::ResponseTimeout)??;
        check(&response)?;
        Ok(Body { incoming: response.into_body(), _connection: connection })
    })
}

async fn exchange(
    io: Box<dyn Io>,
    request: Request<Empty<Bytes>>,
    version: Version,
) -> Result<(Response<Incoming>, Connection), Error> {
    let failed = |error: hyper::Error| Error::Http(error.into());
    let connection = Connection(Tasks::default());
    let io = TokioIo::new(io);
    let response = match version {
        Version::Http1 => {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MAX_HEAD_BYTES as usize);
            let (mut sender, driver) = builder.handshake(io).await.map_err(failed)?;
            connection.0.execute(async { drop(driver.await) });
            sender.send_request(request).await
        }
        Version::Http2 => {
            let mut builder = http2::Builder::new(connection.0.clone());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_DEADLINE)
                // hyper treats a connection as idle once its sender is dropped, even with open streams.
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .max_header_list_size(MAX_HEAD_BYTES);
            let (mut sender, driver) = builder.handshake(io).await.map_err(failed)?;
            connection.0.execute(async { drop(driver.await) });
            sender.send_request(request).await
        }
    };
    Ok((response.map_err(failed)?, connection))
}

/// The tasks that drive a connection. Drop aborts them and closes the connection, even if the peer does not
/// read.
#[derive(Debug)]
struct Connection(Tasks);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.lock().abort_all();
    }
}

#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.lock().spawn(task);
    }
}

/// HTML 9.2.3, with two exceptions: redirects are not followed, and a content coding is an error.
fn check(response: &Response<Incoming>) -> Result<(), Error> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NO_CONTENT => return Err(Error::NoContent),
        status if status.is_redirection() => return Err(Error::Redirect(status)),
        status => return Err(Error::Status(status)),
    }
    let headers = response.headers();
    let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    if !essence.trim_ascii().eq_ignore_ascii_case(EVENT_STREAM.as_bytes()) {
        return Err(Error::ContentType(readable(content_type)));
    }
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(coding) => Err(Error::ContentType(readable(coding))),
    }
}

/// A header value of the server, shortened and escaped.
fn readable(value: &[u8]) -> String {
    const MOST: usize = 100;
    if value.is_empty() {
        return "no content type".to_owned();
    }
    value.escape_ascii().take(MOST).map(char::from).collect()
}

/// The body of an event stream's response, and its connection.
#[derive(Debug)]
pub(crate) struct Body {
    incoming: Incoming,
    _connection: Connection,
}

impl Body {
    /// The next bytes; `None` at the end of the body.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Some(Err(Error::Http(error.into()))),
                None => None,
            });
        }
    }
}
