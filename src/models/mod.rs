//! Models of the configuration at work: on the records of topics, and on the data of events.

mod content;
#[cfg(feature = "kafka")]
mod records;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::content::{ContentLayer, Contents};
#[cfg(feature = "kafka")]
pub(crate) use self::records::RecordModels;

/// At most one warning is logged within this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a warning is logged, or counted for the next one.
#[derive(Debug, Default)]
struct Warnings(Mutex<Warned>);

#[derive(Debug, Default)]
struct Warned {
    last: Option<Instant>,
    /// How many were not logged since.
    unlogged: u64,
}

impl Warnings {
    /// How many warnings were not logged since the last one, if this one is.
    fn due(&self) -> Option<u64> {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if warned.last.is_some_and(|last| now.duration_since(last) < WARNING_INTERVAL) {
            warned.unlogged += 1;
            return None;
        }
        warned.last = Some(now);
        Some(std::mem::take(&mut warned.unlogged))
    }
}
