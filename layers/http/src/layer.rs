//! The layer, with every limit that it sets.

use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use crate::config::{Config, OnRejection, Options, Versions};
use crate::connection::Rejection;
use crate::service::Http;
use crate::shutdown::Shutdown;

/// Turns a service of requests into a service of connections: see [`Http`].
///
/// Some limits have no option. HTTP/1.1 buffers at most 64 KiB of a request body or of a response, reads
/// no further while a request is not answered, and treats a client that closes its sending half as gone.
/// HTTP/2 sends frames of at most 16 KiB, and grants clients a window of 64 KiB for a stream and 256 KiB
/// for the connection.
///
/// An HTTP/2 connection is ended by GOAWAY (`ENHANCE_YOUR_CALM`) if its client
/// - resets more than 20 streams that are not accepted yet (rapid reset, CVE-2023-44487),
/// - makes 128 stream errors,
/// - spreads a head over more than 7 frames (CONTINUATION flood),
/// - sends a head that is, decompressed, over four times [`max_head_bytes`](Self::max_head_bytes) (a head
///   above the limit itself is answered 431),
/// - sends the data of a request in very many very small frames.
///
/// A request of HTTP/1.1 without a `Host`, with several, or with an invalid one is answered 400 (RFC 9112,
/// 3.2). It does not reach the inner service.
///
/// PING and SETTINGS are answered one by one, and no frame is read before the answer to the last one is
/// written, so that a flood of them fills no memory. They are no requests: a connection that sends nothing
/// else runs into the timeouts.
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
    /// A layer with the defaults of its options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The versions of HTTP on connections without [`Negotiated`](crate::Negotiated). Default: both.
    pub fn versions(mut self, versions: Versions) -> Self {
        self.options.versions = versions;
        self
    }

    /// The time from the call of the service until the whole head of the first request has arrived,
    /// detection of the version included. Then the connection is dropped. Default: 10 s. 0 is no timeout.
    ///
    /// A TLS handshake comes before the call and needs a timeout of its own.
    pub fn first_request_timeout(mut self, deadline: Duration) -> Self {
        self.options.first_request_timeout = deadline;
        self
    }

    /// The time without an open request after which a connection is closed, HTTP/2 by GOAWAY. It counts
    /// from the end of a request until the whole head of the next one has arrived, so that hyper's own
    /// timeout for heads is not used. Default: 60 s. 0 is no timeout.
    ///
    /// A request is open from its head until the last byte of the response is written to the socket,
    /// however slow the client is. If a client takes no bytes of a response,
    /// [`WriteDeadline`](crate::WriteDeadline) ends the connection. If a request body makes no progress,
    /// the inner service has to end the request.
    pub fn idle_timeout(mut self, deadline: Duration) -> Self {
        self.options.idle_timeout = deadline;
        self
    }

    /// The largest head of a request in bytes, its first line included. A larger one is answered 431. For
    /// HTTP/2 the size of the header list counts (RFC 9113, 6.5.2: 32 bytes more for each field).
    /// Default: 32 KiB, so that long event ids fit. Values below 1 KiB and above 64 KiB are set to these.
    pub fn max_head_bytes(mut self, bytes: u32) -> Self {
        self.options.max_head_bytes = bytes.clamp(1024, 64 * 1024);
        self
    }

    /// The largest number of header fields of an HTTP/1.1 request. More are answered 431. Default: 100.
    /// Any other number costs an allocation for each request, and 0 allows no fields. For HTTP/2 only
    /// [`max_head_bytes`](Self::max_head_bytes) is a limit.
    pub fn max_headers(mut self, count: usize) -> Self {
        self.options.max_headers = Some(count);
        self
    }

    /// Whether an HTTP/1.1 connection accepts a second request. Default: true.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// The bytes of a response that may wait in memory for a slow client: over HTTP/2 for each stream, over
    /// HTTP/1.1 for each connection. HTTP/1.1 buffers at least [`max_head_bytes`](Self::max_head_bytes), and
    /// HTTP/2 collects up to 32 KiB of frames for each connection. Default: 64 KiB (hyper has 400 KiB).
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.send_buffer_bytes = bytes;
        self
    }

    /// The number of streams that an HTTP/2 connection may have open at once. Default: 128. Browsers assume
    /// 100 until the server announces its limit. 0 allows none.
    pub fn max_concurrent_streams(mut self, count: u32) -> Self {
        self.options.max_concurrent_streams = count;
        self
    }

    /// The time without a frame from an HTTP/2 client after which it is sent a PING, and the time that it
    /// has to answer. Default: 30 s and 20 s. With `None` no PING is sent, and only TCP detects a client
    /// that is gone.
    pub fn ping(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.options.ping_interval = interval;
        self.options.ping_timeout = timeout;
        self
    }

    /// Is called for each request that is answered before it reaches the inner service: 431 and 414 if its head is
    /// too large, 400 if its bytes read as no request or its `Host` is not valid. It must not block. Default:
    /// nothing. Over HTTP/2 such requests are answered by frames and are not told.
    pub fn on_rejection(
        mut self,
        callback: impl Fn(Rejection<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.options.on_rejection = OnRejection(Some(Arc::new(callback)));
        self
    }

    /// The shutdown that ends the connections. Default: one that never begins.
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
