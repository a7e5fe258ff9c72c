use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use crate::{Drain, Lease, jitter};

type LeaseOf = dyn Fn(&Parts) -> Option<Box<dyn Lease>> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) retry: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) write_limit_bytes: usize,
    pub(crate) lease: Option<Arc<LeaseOf>>,
    pub(crate) drain: Option<Drain>,
}

impl Options {
    /// A random reconnection time, for one client.
    pub(crate) fn draw_retry(&self) -> Duration {
        jitter::spread(self.retry, (80, 120))
    }

    pub(crate) fn draw_max_age(&self) -> Option<Duration> {
        self.max_age.map(|max_age| jitter::spread(max_age, (90, 100)))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(2),
            keep_alive: Duration::from_secs(15),
            max_age: None,
            write_limit_bytes: 64 << 10,
            lease: None,
            drain: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("retry", &self.retry)
            .field("keep_alive", &self.keep_alive)
            .field("max_age", &self.max_age)
            .field("write_limit_bytes", &self.write_limit_bytes)
            .field("lease", &self.lease.is_some())
            .field("drain", &self.drain)
            .finish()
    }
}
