//! What readers and inspections tell each other about a partition with a fetch error. The threads that inspect
//! are in `engine/inspection.rs`.

use std::fmt;
use std::sync::Arc;

use crate::topic::losses::LogLosses;

/// The result of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A record, at the offset or behind a hole, or the end, or the offset is gone: a consumer can read on.
    Readable,
    /// No consumer can read the offsets before `to`.
    Unreadable { to: i64, why: String },
}

/// A request to inspect a partition from an offset on. Its end is `until`.
pub(crate) struct Inspection {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// The known losses of the topic.
    pub(crate) losses: LogLosses,
    pub(crate) on_finding: OnFinding,
    /// Whether the finding is still wanted.
    pub(crate) is_wanted: Box<dyn Fn() -> bool + Send>,
}

/// The callback that takes the finding. If an inspection is dropped or panics, the finding is `Readable`: the
/// partition is read again.
pub(crate) struct OnFinding(Option<Box<dyn FnOnce(Finding) + Send>>);

impl OnFinding {
    pub(crate) fn new(found: impl FnOnce(Finding) + Send + 'static) -> Self {
        Self(Some(Box::new(found)))
    }

    pub(crate) fn give(&mut self, finding: Finding) {
        if let Some(found) = self.0.take() {
            found(finding);
        }
    }
}

impl Drop for OnFinding {
    fn drop(&mut self) {
        self.give(Finding::Readable);
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, from, until, .. } = self;
        f.debug_tuple("Inspection").field(topic).field(partition).field(from).field(until).finish()
    }
}
