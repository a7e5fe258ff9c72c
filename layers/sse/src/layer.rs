use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use crate::options::Options;
use crate::{Drain, Lease, Sse};

/// Serves an inner `Service<Subscription>`, whose response is a stream of [`Events`](crate::Events), as
/// event streams over HTTP.
///
/// ```
/// use std::time::Duration;
/// use tailwater_sse::SseLayer;
///
/// let layer = SseLayer::new().retry(Duration::from_secs(5)).max_age(Duration::from_secs(3600));
/// # drop(layer);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SseLayer {
    options: Options,
}

impl SseLayer {
    /// A layer with all options at their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The reconnection time that clients are told with the first write, give or take a fifth, so that
    /// a restart is no stampede. In whole milliseconds. Default: 2 s. At 0 clients reconnect at once.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.options.retry = retry;
        self
    }

    /// After how long without a write a stream gets a comment line, or the id of its position if that
    /// has moved. Default: 15 s. At 0 idle streams are never written to: dead peers and proxies that
    /// close idle connections then go unnoticed.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// How old a stream may become. Each stream draws a time between nine tenths and all of this,
    /// which begins with its first write. It ends when that time is over if it has nothing to write
    /// then, or else after the first write of events ([`write_limit`](Self::write_limit)) at or past
    /// that time; one whose client takes nothing ends when it is asked for its next write. The last
    /// write is a `retry` field, and the response ends cleanly. Default: no such time. At 0 a stream
    /// ends after one write of what its source has at once, if it has any.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.options.max_age = Some(max_age);
        self
    }

    /// How many bytes of events a source is asked for at a time; a longer event comes whole. Bounds
    /// what a stalled stream holds beside the buffers of its connection. Default: 64 KiB.
    pub fn write_limit(mut self, bytes: usize) -> Self {
        self.options.write_limit_bytes = bytes;
        self
    }

    /// How long each stream may live: `lease` is asked once for each request, before the source is.
    /// `None`, and the default: without end.
    pub fn lease<F>(mut self, lease: F) -> Self
    where
        F: Fn(&Parts) -> Option<Box<dyn Lease>> + Send + Sync + 'static,
    {
        self.options.lease = Some(Arc::new(lease));
        self
    }

    /// Ends the streams when `drain` starts. Default: nothing does but their connections.
    pub fn drain(mut self, drain: &Drain) -> Self {
        self.options.drain = Some(drain.clone());
        self
    }
}

impl<S> Layer<S> for SseLayer {
    type Service = Sse<S>;

    fn layer(&self, inner: S) -> Sse<S> {
        Sse::new(inner, Arc::new(self.options.clone()))
    }
}
