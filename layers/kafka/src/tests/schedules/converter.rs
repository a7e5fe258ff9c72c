//! The converters of the schedules: that of the topic and those of single streams. What becomes of a record is
//! written in it, so that the expected state can know it without the engine.

use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::Notify;

use super::super::*;
use crate::{Changes, Conversion, RecordRef};

/// What the converter of the topic makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    Unchanged,
    /// It becomes ten times as long.
    Grown,
    /// It gets the header `tag`.
    Tagged,
    Rejected,
    /// The converter panics.
    Panics,
}

impl Verdict {
    /// The verdict about the record of this number. Some that are rejected are neighbours.
    pub(super) fn of(number: usize, tagged: bool) -> Self {
        match number % 8 {
            _ if tagged && number.is_multiple_of(3) => Self::Tagged,
            3 => Self::Panics,
            4 | 5 => Self::Rejected,
            _ if number.is_multiple_of(2) => Self::Grown,
            _ => Self::Unchanged,
        }
    }

    pub(in super::super) fn is_rejected(self) -> bool {
        matches!(self, Self::Rejected | Self::Panics)
    }

    /// The first byte of the value's last part.
    pub(super) fn mark(self) -> char {
        match self {
            Self::Unchanged => ' ',
            Self::Grown => 'g',
            Self::Tagged => 't',
            Self::Rejected => 'r',
            Self::Panics => 'p',
        }
    }
}

/// The key of a record in Kafka that has the key `x-` before it was converted.
pub(in super::super) fn unconverted(key: &str) -> String {
    format!("x-{key}")
}

/// Whether what is needed to convert records is there. It is there at first.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_away: AtomicBool,
    /// A task may wait for several of these. Tokio's watch would wake them in a random order.
    back: Notify,
}

impl Registry {
    pub(in super::super) fn set_there(&self, there: bool) {
        self.0.is_away.store(!there, Ordering::Relaxed);
        if there {
            self.0.back.notify_waiters();
        }
    }

    /// A converter of one instance. Every fourth time it can't say yet what becomes of a record, and while the
    /// registry is away, for none of a third of the records.
    pub(in super::super) fn converter(&self) -> impl crate::ConvertRecord {
        let asked = AtomicUsize::new(0);
        let registry = Arc::clone(&self.0);
        move |record: &RecordRef<'_>, changes: &mut Changes| {
            if registry.is_away.load(Ordering::Relaxed) && record.offset() % 3 == 0 {
                let registry = Arc::clone(&registry);
                return Conversion::NotYet(Box::pin(async move {
                    let back = registry.back.notified();
                    if registry.is_away.load(Ordering::Relaxed) {
                        back.await;
                    }
                }));
            }
            if asked.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
                changes.key_mut().extend_from_slice(b"of no record");
                return Conversion::NotYet(soon());
            }
            convert(record, changes)
        }
    }
}

fn convert(record: &RecordRef<'_>, changes: &mut Changes) -> Conversion {
    if let Some(key) = record.key().and_then(|key| key.strip_prefix(b"x-")) {
        changes.key_mut().extend_from_slice(key);
    }
    let Some(value) = record.value() else { return Conversion::Accepted };
    match marks(value).and_then(<[u8]>::first) {
        Some(b'g') => {
            let value = [value, &b"+".repeat(9 * value.len())].concat();
            changes.value_mut().extend_from_slice(&value);
        }
        Some(b't') => changes.add_header("tag", Some(b"x".to_vec())),
        Some(b'r') => {
            return Conversion::Rejected { reason: "bad", detail: "the value says so".into() };
        }
        // Without a message for each of them.
        Some(b'p') => panic::resume_unwind(Box::new("the value says so")),
        _ => {}
    }
    Conversion::Accepted
}

/// The last part of a value: a mark for the converter of the topic, one for those of streams, and anything.
fn marks(value: &[u8]) -> Option<&[u8]> {
    value.split(|byte| *byte == b':').nth(3)
}

/// What begins the marks of a record that the converters of streams reject, after the mark of its verdict.
pub(super) const LEFT_OUT: char = 'o';

/// A converter of one stream, which every fourth time can't say yet what becomes of a record.
pub(super) fn of_stream() -> impl crate::ConvertRecord {
    let asked = AtomicUsize::new(0);
    move |record: &RecordRef<'_>, changes: &mut Changes| {
        if asked.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
            changes.value_mut().extend_from_slice(b"of no record");
            return Conversion::NotYet(soon());
        }
        let value = record.value().expect("only values are converted");
        match marks(value).and_then(|marks| marks.get(1)) {
            Some(b'o') if record.offset() % 2 == 0 => {
                panic::resume_unwind(Box::new("the value says so"))
            }
            Some(b'o') => {
                return Conversion::Rejected { reason: "bad", detail: "the value says so".into() };
            }
            _ => changes.value_mut().extend_from_slice(&[value, b"-"].concat()),
        }
        Conversion::Accepted
    }
}

/// Ready at the second poll.
fn soon() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut polled = false;
    Box::pin(poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}
