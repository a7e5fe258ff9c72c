//! Whether a thread reads a value.

use std::cell::Cell;

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread converts a value, or reads fields of it.
///
/// A panic hook asks this: a panic of a parser may quote the value in its message, which must not be in a log then.
#[must_use]
pub fn reads_value() -> bool {
    READS.get()
}

/// Lasts as long as a value is read.
pub(super) struct Reading(());

impl Reading {
    pub(super) fn begin() -> Self {
        READS.set(true);
        Self(())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READS.set(false);
    }
}
