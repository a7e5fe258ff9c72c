use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::jitter;

/// Tells the streams of the layers that share it to end. Clones are the same drain.
///
/// Each stream ends at an instant of its own within a window, at an event's end, after a `retry` field
/// that spreads the reconnects over what is left of the window. A stream that is opened later ends after
/// its first write. Nothing waits for the streams: that is for whoever owns the connections.
///
/// ```
/// use std::time::Duration;
/// use tailwater_sse::{Drain, SseLayer};
///
/// let drain = Drain::new();
/// let layer = SseLayer::new().drain(&drain);
/// // … and when the process is told to stop:
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

    /// Ends every stream at a random instant within `window`. At 0 they end at once. The first call
    /// counts, later ones do nothing.
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

    /// Ready when the drain starts, or if it has started after this call.
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
    /// When a stream ends: drawn anew by each call. `None` if that is beyond the clock.
    pub(crate) fn draw_end(&self) -> Option<Instant> {
        self.start.checked_add(jitter::up_to(self.length))
    }

    /// A share of what is left of the window.
    pub(crate) fn draw_delay(&self, now: Instant) -> Duration {
        jitter::up_to(self.length.saturating_sub(now.saturating_duration_since(self.start)))
    }
}
