//! The http crate and the sse crate know nothing of each other: here an end of the server ends the
//! streams.

use crate::http::Shutdown;
use crate::sse::Drain;

/// A drain that starts when the shutdown begins. With it one call ends a server:
/// [`Shutdown::begin`] with ten seconds ends the streams one by one within nine, and drops what is
/// open after ten.
///
/// ```
/// use std::time::Duration;
/// use tailwater::http::{HttpLayer, Shutdown};
/// use tailwater::sse::SseLayer;
///
/// let shutdown = Shutdown::new();
/// let http = HttpLayer::new().shutdown(shutdown.clone());
/// let drain = tailwater::drain(&shutdown);
/// let events = SseLayer::new().drain(&drain);
/// // … and when the process is to stop:
/// shutdown.begin(Duration::from_secs(10));
/// assert!(drain.is_started());
/// # drop((http, events));
/// ```
#[must_use]
pub fn drain(shutdown: &Shutdown) -> Drain {
    let drain = Drain::new();
    shutdown.on_begin({
        let drain = drain.clone();
        move |time| drain.start(time)
    });
    drain
}
