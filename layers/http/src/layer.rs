//! The layer, and every limit that it sets.

use std::{sync::Arc, time::Duration};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_layer::Layer;

use crate::{service::Http, shutdown::Shutdown};

/// The protocol versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Versions {
    /// HTTP/1.1 (and 1.0) only; a client of HTTP/2 is answered 400.
    Http1,
    /// HTTP/2 with prior knowledge only; a client of HTTP/1.1 is closed.
    Http2,
    /// Whichever the first bytes of a connection are.
    #[default]
    Both,
}

/// What the services of a layer share.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) versions: Versions,
    pub(crate) first_request: Duration,
    pub(crate) idle: Duration,
    pub(crate) send_buffer_bytes: usize,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<TokioExecutor>,
    pub(crate) shutdown: Shutdown,
}

/// Turns a service of requests into a service of connections: see [`Http`].
///
/// Limits that have no option here: HTTP/1.1 buffers 64 KiB of a request body or of a response,
/// does not read on while a request is not answered, and takes a client that closes its sending
/// half as gone. HTTP/2 sends frames of at most 16 KiB, and gives clients a window of 64 KiB for a
/// stream and 256 KiB for the connection.
///
/// An HTTP/2 connection is ended by GOAWAY (`ENHANCE_YOUR_CALM`) when its client
/// - has reset more than 20 streams that were not accepted yet (rapid reset, CVE-2023-44487),
/// - has made 128 stream errors,
/// - spreads a head over more than 7 frames (CONTINUATION flood),
/// - sends a head that is, decompressed, over four times [`head_bytes`](Self::head_bytes); one over
///   that limit only is answered 431,
/// - sends the data of a request in very many very small frames.
///
/// A request of HTTP/1.1 without a `Host`, and one with several or with one that is none, is answered
/// 400 (RFC 9112, 3.2), and no service sees it.
///
/// PING and SETTINGS are answered one by one, and no frame is read before the answer to the last is
/// taken, so that a flood of them fills no memory; they are no requests, so that the deadlines end a
/// connection that has nothing else.
///
/// ```
/// # use std::{convert::Infallible, time::Duration};
/// # use http::{Request, Response};
/// # use hyper::body::Incoming;
/// # use tower_layer::Layer;
/// use tailwater_http::{HttpLayer, Shutdown, Versions};
///
/// let shutdown = Shutdown::new();
/// let layer = HttpLayer::new()
///     .versions(Versions::Both)
///     .first_request(Duration::from_secs(5))
///     .shutdown(shutdown.clone());
/// let service = layer.layer(tower::service_fn(async |_: Request<Incoming>| {
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// }));
/// # let _ = service;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpLayer {
    versions: Versions,
    first_request: Duration,
    idle: Duration,
    head_bytes: u32,
    headers: Option<usize>,
    keep_alive: bool,
    send_buffer_bytes: usize,
    streams: u32,
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
    shutdown: Shutdown,
}

impl Default for HttpLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpLayer {
    /// A layer with the defaults that its options name.
    pub fn new() -> Self {
        Self {
            versions: Versions::Both,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            head_bytes: 32 * 1024,
            headers: None,
            keep_alive: true,
            send_buffer_bytes: 64 * 1024,
            streams: 128,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            shutdown: Shutdown::new(),
        }
    }

    /// The protocol versions that are spoken, on connections that do not carry
    /// [`Negotiated`](crate::Negotiated). Default: both.
    pub fn versions(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// How long a client has, from the call of the service, to send the whole head of its first
    /// request, version detection included; then it is cut. Default: 10 s; 0 is no deadline.
    ///
    /// A TLS handshake stands before the call and needs a deadline of its own.
    pub fn first_request(self, deadline: Duration) -> Self {
        Self { first_request: deadline, ..self }
    }

    /// How long a connection may be without an open request once it has had one: then it is closed,
    /// HTTP/2 by GOAWAY. The head of the next request has to be there by then: hyper's own timeout
    /// for heads is not used, it measures the same. Default: 60 s; 0 is no deadline.
    ///
    /// A stream is open from the head of its request until the last byte of its response went to
    /// the socket, however slow the client is: a response that stands still is the matter of
    /// [`Progress`](crate::Progress), a request body that does is that of the inner service.
    pub fn idle(self, deadline: Duration) -> Self {
        Self { idle: deadline, ..self }
    }

    /// The largest head of a request, its first line included; over it the answer is 431. For
    /// HTTP/2 it is the size of the header list as RFC 9113, 6.5.2 counts it (32 bytes more for
    /// each field). Default: 32 KiB, so that long event ids fit; at most 64 KiB, and what is below
    /// 1 KiB is 1 KiB.
    pub fn head_bytes(self, bytes: u32) -> Self {
        Self { head_bytes: bytes.clamp(1024, 64 * 1024), ..self }
    }

    /// The largest number of header fields over HTTP/1.1; over it the answer is 431. Default: 100;
    /// another number costs an allocation for each request, and 0 accepts no fields at all. HTTP/2 has
    /// the limit of the size only.
    pub fn headers(self, count: usize) -> Self {
        Self { headers: Some(count), ..self }
    }

    /// Whether an HTTP/1.1 connection takes a second request. Default: true.
    pub fn keep_alive(self, keep_alive: bool) -> Self {
        Self { keep_alive, ..self }
    }

    /// How many bytes of a response wait in memory for a slow client: over HTTP/2 for each stream,
    /// over HTTP/1.1 for the connection, and there at least as many as a head may have. Default: 64 KiB (hyper's is 400).
    pub fn send_buffer_bytes(self, bytes: usize) -> Self {
        Self { send_buffer_bytes: bytes, ..self }
    }

    /// How many streams an HTTP/2 connection may have open at once. Default: 128; browsers take
    /// 100 for granted until they are told. 0 lets none open.
    pub fn streams(self, count: u32) -> Self {
        Self { streams: count, ..self }
    }

    /// After how long of hearing nothing an HTTP/2 client is sent a PING, and how long it has to
    /// answer. Default: 30 s and 20 s. `None`: no pings; who is gone is then found by TCP only.
    pub fn ping(self, interval: Option<Duration>, timeout: Duration) -> Self {
        Self { ping_interval: interval, ping_timeout: timeout, ..self }
    }

    /// What ends the connections. Default: one of its own, so that nothing does.
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }

    fn config(&self) -> Config {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(false)
            .keep_alive(self.keep_alive)
            .max_header_size(self.head_bytes as usize)
            // hyper reads heads into it as well: never smaller than the largest head.
            .max_buf_size(self.send_buffer_bytes.max(self.head_bytes as usize).max(8 * 1024));
        if let Some(count) = self.headers {
            http1.max_headers(count);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_frame_size(16 * 1024)
            .max_concurrent_streams(self.streams)
            .max_header_list_size(self.head_bytes)
            .max_send_buf_size(self.send_buffer_bytes)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(128)
            .header_table_size(4096)
            .keep_alive_interval(self.ping_interval)
            .keep_alive_timeout(self.ping_timeout);
        Config {
            versions: self.versions,
            first_request: self.first_request,
            idle: self.idle,
            send_buffer_bytes: self.send_buffer_bytes.max(1),
            http1,
            http2,
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = Http<S>;

    fn layer(&self, inner: S) -> Http<S> {
        Http::new(inner, Arc::new(self.config()))
    }
}
