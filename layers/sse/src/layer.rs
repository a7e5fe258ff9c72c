use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tower_layer::Layer;

use crate::options::Options;
use crate::{Drain, Lease, Sse};

/// Serves a source over HTTP as event streams. The source is a `Service<Subscription>` whose response
/// implements [`Events`](crate::Events).
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

    /// Sets the reconnection time that the first write tells clients, in whole milliseconds. A random part
    /// of up to a fifth is added or subtracted, to spread reconnects after a restart. Default: 2 s. At 0
    /// clients reconnect at once.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.options.retry = retry;
        self
    }

    /// Sets after how long without a write a stream is sent a comment, or the id of its position if that
    /// has moved. Default: 15 s. At 0 nothing is written to idle streams: dead peers are then not noticed,
    /// and proxies may close the connection.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// Sets the maximum age of a stream, counted from its first write. Each stream draws a random time
    /// between nine tenths of it and all of it. An idle stream ends at that time. A stream that has events
    /// ends after the first write of events at or past that time; a stream whose client does not read ends
    /// at its next write. The last write is a `retry` field, and the response ends cleanly. Default: none.
    /// At 0 a stream ends after one write of the events that are ready.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.options.max_age = Some(max_age);
        self
    }

    /// Sets how many bytes of events the source may return for one write. A single event may be longer. It
    /// bounds the memory of a stalled stream, beside the buffers of its connection. Default: 64 KiB.
    pub fn write_limit(mut self, bytes: usize) -> Self {
        self.options.write_limit_bytes = bytes;
        self
    }

    /// Sets how long each stream may live. `lease` is called once for each request, before the source.
    /// Default, and if it returns `None`: without limit.
    pub fn lease<F>(mut self, lease: F) -> Self
    where
        F: Fn(&Parts) -> Option<Box<dyn Lease>> + Send + Sync + 'static,
    {
        self.options.lease = Some(Arc::new(lease));
        self
    }

    /// Ends the streams when `drain` starts. Default: streams end with their connections only.
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
