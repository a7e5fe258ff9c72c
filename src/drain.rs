//! Joins the shutdown of [`http`](crate::http) and the drain of [`sse`](crate::sse). Neither crate depends
//! on the other.

use crate::http::Shutdown;
use crate::sse::Drain;

/// A drain that starts when the shutdown begins, so that one call stops a server.
///
/// After [`Shutdown::begin`] with ten seconds, the streams end one by one within nine seconds. What is still
/// open after ten seconds is dropped.
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
/// // … and when the process has to stop:
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
