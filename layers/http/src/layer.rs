//! The layer, and every limit that it sets.

use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use crate::config::{Config, Options, Versions};
use crate::service::Http;
use crate::shutdown::Shutdown;

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
/// - sends a head that is, decompressed, over four times [`max_head_bytes`](Self::max_head_bytes); one over
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
///     .first_request_timeout(Duration::from_secs(5))
///     .shutdown(shutdown.clone());
/// let service = layer.layer(tower::service_fn(async |_: Request<Incoming>| {
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// }));
/// # let _ = service;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct HttpLayer {
    options: Options,
}

impl HttpLayer {
    /// A layer with the defaults that its options name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The protocol versions that are spoken, on connections that do not carry
    /// [`Negotiated`](crate::Negotiated). Default: both.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.options.versions = versions;
        self
    }

    /// How long a client has, from the call of the service, to send the whole head of its first
    /// request, version detection included; then it is cut. Default: 10 s; 0 is no deadline.
    ///
    /// A TLS handshake stands before the call and needs a deadline of its own.
    pub fn first_request_timeout(mut self, deadline: Duration) -> Self {
        self.options.first_request_timeout = deadline;
        self
    }

    /// How long a connection may be without an open request once it has had one: then it is closed,
    /// HTTP/2 by GOAWAY. The head of the next request has to be there by then: hyper's own timeout
    /// for heads is not used, it measures the same. Default: 60 s; 0 is no deadline.
    ///
    /// A stream is open from the head of its request until the last byte of its response went to
    /// the socket, however slow the client is: a response that stands still is the matter of
    /// [`WriteDeadline`](crate::WriteDeadline), a request body that does is that of the inner service.
    pub fn idle_timeout(mut self, deadline: Duration) -> Self {
        self.options.idle_timeout = deadline;
        self
    }

    /// The largest head of a request, its first line included; over it the answer is 431. For
    /// HTTP/2 it is the size of the header list as RFC 9113, 6.5.2 counts it (32 bytes more for
    /// each field). Default: 32 KiB, so that long event ids fit; at most 64 KiB, and what is below
    /// 1 KiB is 1 KiB.
    pub fn max_head_bytes(mut self, bytes: u32) -> Self {
        self.options.max_head_bytes = bytes.clamp(1024, 64 * 1024);
        self
    }

    /// The largest number of header fields over HTTP/1.1; over it the answer is 431. Default: 100;
    /// another number costs an allocation for each request, and 0 accepts no fields at all. HTTP/2 has
    /// the limit of the size only.
    pub fn max_headers(mut self, count: usize) -> Self {
        self.options.max_headers = Some(count);
        self
    }

    /// Whether an HTTP/1.1 connection takes a second request. Default: true.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// How many bytes of a response wait in memory for a slow client: over HTTP/2 for each stream,
    /// over HTTP/1.1 for the connection, and there at least as many as a head may have. Default: 64 KiB (hyper's is 400).
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.send_buffer_bytes = bytes;
        self
    }

    /// How many streams an HTTP/2 connection may have open at once. Default: 128; browsers take
    /// 100 for granted until they are told. 0 lets none open.
    pub fn max_concurrent_streams(mut self, count: u32) -> Self {
        self.options.max_concurrent_streams = count;
        self
    }

    /// After how long of hearing nothing an HTTP/2 client is sent a PING, and how long it has to
    /// answer. Default: 30 s and 20 s. `None`: no pings; who is gone is then found by TCP only.
    pub fn ping(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.options.ping_interval = interval;
        self.options.ping_timeout = timeout;
        self
    }

    /// What ends the connections. Default: one of its own, so that nothing does.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.options.shutdown = shutdown;
        self
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = Http<S>;

    fn layer(&self, inner: S) -> Http<S> {
        Http::new(inner, Arc::new(Config::from(&self.options)))
    }
}
