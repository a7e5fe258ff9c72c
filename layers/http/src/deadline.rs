//! Turns durations into deadlines.

use std::time::Duration;

use tokio::time::Instant;

const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The instant that long from now, or thirty years from now if the clock cannot represent it.
pub(crate) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + FAR)
}

/// The instant that long from now. Zero is no deadline, which is thirty years from now.
pub(crate) fn after_or_never(duration: Duration) -> Instant {
    after(if duration.is_zero() { FAR } else { duration })
}
