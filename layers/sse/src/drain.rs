use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::jitter;

/// Ends the streams of all layers that share it. A clone is the same drain.
///
/// Streams are closed at random times within a window, after whole events, to spread reconnects. The last
/// write is a `retry` field with a random time up to the end of the window. A stream that is opened later
/// ends after its first write. The drain does not wait for streams to end; the server's graceful shutdown
/// does.
///
/// ```
/// use std::time::Duration;
/// use tailwater_sse::{Drain, SseLayer};
///
/// let drain = Drain::new();
/// let layer = SseLayer::new().drain(&drain);
/// // … and when the process receives SIGTERM:
/// drain.start(Duration::from_secs(5));
/// assert!(drain.is_started());
/// # drop(layer);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Drain {
    window: Arc<OnceLock<Window>>,
    started: Arc<Notify>,
}

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts to end the streams, each at a random time within `window`. At 0 they end at once. Later calls
    /// have no effect.
    pub fn start(&self, window: Duration) {
        let first = self.window.set(Window { start: Instant::now(), length: window }).is_ok();
        if first {
            self.started.notify_waiters();
        }
    }

    /// Whether [`Drain::start`] has been called.
    pub fn is_started(&self) -> bool {
        self.window.get().is_some()
    }

    pub(crate) fn window(&self) -> Option<&Window> {
        self.window.get()
    }

    /// Ready when the drain starts after this call.
    pub(crate) fn notified(&self) -> OwnedNotified {
        Arc::clone(&self.started).notified_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    start: Instant,
    length: Duration,
}

impl Window {
    /// A random time for a stream to end. `None` if the clock cannot represent it.
    pub(crate) fn draw_end(&self) -> Option<Instant> {
        self.start.checked_add(jitter::up_to(self.length))
    }

    /// A random part of the time that is left of the window.
    pub(crate) fn draw_delay(&self, now: Instant) -> Duration {
        jitter::up_to(self.length.saturating_sub(now.saturating_duration_since(self.start)))
    }
}
