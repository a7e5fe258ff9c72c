//! Durations to deadlines.

use std::time::Duration;

use tokio::time::Instant;

const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// This long from now; what is past the end of time is thirty years from now.
pub(crate) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + FAR)
}

/// This long from now; zero is no deadline, that is, thirty years from now.
pub(crate) fn after_or_never(duration: Duration) -> Instant {
    after(if duration.is_zero() { FAR } else { duration })
}
