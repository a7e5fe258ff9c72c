use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The HTTP version that a server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// HTTP/1.1. An answer in HTTP/1.0 is read, too.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge: nothing is negotiated here. A connector that speaks TLS has to offer
    /// `h2` and nothing else.
    Http2,
}

/// How an event stream is asked for, read, and asked for again. The same for
/// [`EventSource`](crate::EventSource) and [`UpstreamLayer`](crate::UpstreamLayer).
///
/// ```
/// use std::time::Duration;
/// use http::header::{AUTHORIZATION, HeaderValue};
/// use tailwater_client::{Options, Version};
///
/// let options = Options::new()
///     .version(Version::Http2)
///     .header(AUTHORIZATION, HeaderValue::from_static("Bearer eyJhbGciOi"))
///     .idle_deadline(Duration::from_secs(45));
/// assert!(!format!("{options:?}").contains("eyJ"));
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) last_event_id: Bytes,
    pub(crate) retry: Duration,
    pub(crate) least_retry: Duration,
    pub(crate) most_retry: Duration,
    pub(crate) most_delay: Duration,
    pub(crate) connect_deadline: Duration,
    pub(crate) head_deadline: Duration,
    pub(crate) idle_deadline: Option<Duration>,
    pub(crate) max_event_bytes: usize,
}

impl Options {
    /// All options at their defaults.
    pub fn new() -> Self {
        Self {
            version: Version::default(),
            headers: HeaderMap::new(),
            last_event_id: Bytes::new(),
            retry: Duration::from_secs(3),
            least_retry: Duration::from_millis(100),
            most_retry: Duration::from_secs(60),
            most_delay: Duration::from_secs(30),
            connect_deadline: Duration::from_secs(10),
            head_deadline: Duration::from_secs(10),
            idle_deadline: None,
            max_event_bytes: 4 << 20,
        }
    }

    /// The version of HTTP. Default: [`Version::Http1`].
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sends one more header with each request. `accept`, `cache-control`, `host` and `last-event-id` are
    /// written here and stay as they are; nothing is sent of the headers that are about a connection or
    /// a body.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The id after which the stream is to begin. Default, and if empty: none is sent. An
    /// [`UpstreamLayer`](crate::UpstreamLayer) sends that of its client instead.
    #[must_use]
    pub fn last_event_id(mut self, id: impl Into<Bytes>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// The reconnection time until the server sends one (`retry:`). Default: 3 s. At 0 the first attempt
    /// comes at once, and so does every other.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }

    /// What is made of a reconnection time of the server's that is shorter or longer. Default: 100 ms and
    /// 60 s. It holds for connections to the server: what [`UpstreamEvents`](crate::UpstreamEvents) hands
    /// on is what the server sent.
    #[must_use]
    pub fn retry_bounds(mut self, least: Duration, most: Duration) -> Self {
        self.least_retry = least;
        self.most_retry = most;
        self
    }

    /// Up to what the time between two attempts grows: it doubles with each connection that brought
    /// nothing, begins at the reconnection time and never is shorter than that. A random quarter may come
    /// on top. Default: 30 s.
    #[must_use]
    pub fn max_delay(mut self, most: Duration) -> Self {
        self.most_delay = most;
        self
    }

    /// How long the connector may take, names, TLS and all. Default: 10 s. At 0 only what is there at once
    /// counts.
    #[must_use]
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// How long it may take from the connection to the whole head of the response. Default: 10 s. At 0
    /// only what is there at once counts.
    #[must_use]
    pub fn head_deadline(mut self, deadline: Duration) -> Self {
        self.head_deadline = deadline;
        self
    }

    /// After how long without a byte a stream counts as lost, as if its connection had failed. Set it above
    /// the server's keep-alive (15 s for tailwater). Default: never; a peer that vanished is then
    /// found by the probes of TCP ([`TcpConnector`](crate::TcpConnector)) or the pings of HTTP/2. At 0 a
    /// stream is lost whenever nothing is there at once.
    #[must_use]
    pub fn idle_deadline(mut self, deadline: Duration) -> Self {
        self.idle_deadline = Some(deadline);
        self
    }

    /// How long the data of an event may be; a line, and with it an id, an event type or a comment, a few
    /// bytes more. Default: 4 MiB.
    #[must_use]
    pub fn max_event_bytes(mut self, limit: usize) -> Self {
        self.max_event_bytes = limit;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the values of headers: they may be credentials.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("version", &self.version)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("retry", &self.retry)
            .field("retry_bounds", &(self.least_retry, self.most_retry))
            .field("max_delay", &self.most_delay)
            .field("connect_deadline", &self.connect_deadline)
            .field("head_deadline", &self.head_deadline)
            .field("idle_deadline", &self.idle_deadline)
            .field("max_event_bytes", &self.max_event_bytes)
            .finish_non_exhaustive()
    }
}
