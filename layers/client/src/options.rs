use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::HeaderMap;

/// The version of HTTP for requests to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// HTTP/1.1. Responses in HTTP/1.0 are accepted.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge: the version is not negotiated. A connector for TLS must offer `h2`, and no
    /// other protocol.
    Http2,
}

/// How requests for an event stream are made, and how its responses are read.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) retry: Duration,
    pub(crate) min_retry: Duration,
    pub(crate) max_retry: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_event_bytes: usize,
    /// The number of times that a stream was requested again. All clones count together.
    pub(crate) reconnects: Arc<AtomicU64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::default(),
            headers: HeaderMap::new(),
            retry: Duration::from_secs(3),
            min_retry: Duration::from_millis(100),
            max_retry: Duration::from_secs(60),
            max_delay: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(10),
            idle_timeout: None,
            max_event_bytes: 4 << 20,
            reconnects: Arc::default(),
        }
    }
}

/// The builder methods of a type that has `options_mut`.
macro_rules! define_option_methods {
    () => {
        /// Sets the version of HTTP. Default: [`Version::Http1`](crate::Version::Http1).
        pub fn version(mut self, version: $crate::Version) -> Self {
            self.options_mut().version = version;
            self
        }

        /// Adds a header to each request. `accept`, `cache-control`, `host` and `last-event-id` cannot be
        /// replaced. Headers that belong to a connection or to a body are not sent.
        pub fn header(mut self, name: http::HeaderName, value: http::HeaderValue) -> Self {
            self.options_mut().headers.append(name, value);
            self
        }

        /// Sets the reconnection time that holds until the server sends one (`retry:`). Default: 3 s. At 0 the
        /// first attempt is made at once, and so is every later one.
        pub fn retry(mut self, retry: std::time::Duration) -> Self {
            self.options_mut().retry = retry;
            self
        }

        /// Sets the shortest and the longest reconnection time that is accepted from the server; others are
        /// replaced by the nearer bound. Default: 100 ms and 60 s. The bounds hold for connections to the
        /// server: [`UpstreamEvents`](crate::UpstreamEvents) forwards what the server sent.
        pub fn retry_bounds(mut self, min: std::time::Duration, max: std::time::Duration) -> Self {
            let options = self.options_mut();
            options.min_retry = min;
            options.max_retry = max;
            self
        }

        /// Sets the longest time between two attempts. The time begins at the reconnection time, doubles with
        /// each connection that brought nothing, and is never shorter than the reconnection time. A random part
        /// of up to a quarter is added. Default: 30 s.
        pub fn max_delay(mut self, max: std::time::Duration) -> Self {
            self.options_mut().max_delay = max;
            self
        }

        /// Sets how long the connector may take, with name resolution and TLS. Default: 10 s. At 0 only a
        /// connection that is ready at once is used.
        pub fn connect_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options_mut().connect_timeout = timeout;
            self
        }

        /// Sets how long the head of the response may take, from the moment the connection is made. Default:
        /// 10 s. At 0 only a response that is ready at once is used.
        pub fn response_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options_mut().response_timeout = timeout;
            self
        }

        /// Sets after how long without a byte a stream is lost, as if its connection had failed. It should be
        /// longer than the server's interval of comments (15 s for tailwater). Default: never. A peer that has
        /// vanished is then found by TCP keep-alive ([`TcpConnector`](crate::TcpConnector)) or by HTTP/2 pings.
        /// At 0 a stream is lost whenever no byte is ready.
        pub fn idle_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options_mut().idle_timeout = Some(timeout);
            self
        }

        /// Sets how long the data of an event may be, in bytes. A line, and with it an id, an event type or a
        /// comment, may be a few bytes longer. Default: 4 MiB.
        pub fn max_event_bytes(mut self, limit: usize) -> Self {
            self.options_mut().max_event_bytes = limit;
            self
        }
    };
}
pub(crate) use define_option_methods;

/// Leaves out the values of headers, which may be credentials.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("version", &self.version)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("retry", &self.retry)
            .field("retry_bounds", &(self.min_retry, self.max_retry))
            .field("max_delay", &self.max_delay)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_event_bytes", &self.max_event_bytes)
            .finish_non_exhaustive()
    }
}
