//! Records that are converted for one stream alone, after they were selected from the log of their topic.

use std::cell::RefCell;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::debug;

use crate::data::convert::{Changes, ConvertRecord, RecordRef};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::{Retry, Scratch};

/// So often a record is converted again without a pause. A converter may say at once that it is worth to try
/// again, each time.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    /// Streams keep no memory for conversions: there are many, and most of them are idle.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What converts the records of a stream.
pub(crate) struct EventConverter {
    pub(crate) by: Arc<dyn ConvertRecord>,
    pub(crate) topic: Arc<str>,
    pub(crate) max_record_bytes: usize,
}

/// The conversions of a stream: one record at a time.
pub(crate) struct Conversions {
    by: Arc<EventConverter>,
    next: Option<Next>,
    /// The last poll took all of its time, so other tasks come before the next one.
    pub(crate) rests: bool,
}

/// A record that is not converted yet.
struct Next {
    record: Record,
    before: Positions,
    after: Positions,
    attempts: u32,
    /// When to try again.
    retry: Option<Retry>,
}

impl fmt::Debug for EventConverter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventConverter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Conversions {
    pub(crate) fn new(by: &Arc<EventConverter>) -> Box<Self> {
        Box::new(Self { by: Arc::clone(by), next: None, rests: false })
    }

    /// The position of the stream, if a record waits to be converted.
    pub(crate) fn position(&self) -> Option<Positions> {
        self.next.as_ref().map(|next| next.before.clone())
    }

    /// Takes a record and the positions before and after it, when there is no other one.
    pub(crate) fn push(&mut self, record: Record, before: Positions, after: Positions) {
        self.next = Some(Next { record, before, after, attempts: 0, retry: None });
    }

    /// The record that was pushed as it is now, and the position after it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Record, Positions)>> {
        while let Some(next) = &mut self.next {
            if let Some(retry) = &mut next.retry {
                ready!(retry.poll_unpin(cx));
            }
            let EventConverter { by, topic, max_record_bytes } = &*self.by;
            let log = |record: &Record, reason, detail: &str| {
                let Record { partition, offset, .. } = *record;
                debug!(%topic, partition, offset, reason, detail, "a record is left out of a stream");
            };
            let record = next.record.clone();
            let convert = |record: &RecordRef<'_>, changes: &mut Changes| {
                let conversion = by.convert(record, changes);
                changes.keep_value();
                conversion
            };
            let converted = SCRATCH.with_borrow_mut(|scratch| {
                scratch.convert(convert, topic, record, *max_record_bytes, log)
            });
            match converted {
                Ok(record) => {
                    let next = self.next.take();
                    return Poll::Ready(next.map(|next| (record, next.after)));
                }
                Err(retry) => {
                    next.attempts += 1;
                    next.retry = Some(match next.attempts < ATTEMPTS {
                        // One that panics counts as ready.
                        true => AssertUnwindSafe(retry).catch_unwind().map(drop).boxed(),
                        false => tokio::time::sleep(PAUSE).boxed(),
                    });
                }
            }
        }
        Poll::Ready(None)
    }
}
