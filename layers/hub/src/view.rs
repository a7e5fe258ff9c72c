use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use crate::Format;
use crate::state::Shared;

/// How far a [`Cursor`](crate::Cursor) is behind the end of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The number of records from the first that the cursor selects and has not returned to the end of the log.
    /// 0 for a selective cursor without a pending match.
    pub records: u64,
    /// How long that record is in the log: the age of its chunk, or of the oldest one if small chunks were joined.
    /// If the record was evicted, the age of the oldest record. 0 if `records` is 0 or no record is kept.
    pub age: Duration,
}

/// A view of a [`Cursor`](crate::Cursor) that others can look at while it reads. It takes the lock of the hub for
/// a moment. It keeps neither the cursor nor the log in memory.
pub struct CursorView<F: Format> {
    pub(crate) shared: Weak<Shared<F>>,
    pub(crate) key: usize,
    pub(crate) id: u64,
}

impl<F: Format> CursorView<F> {
    /// How far the cursor is behind. `None` if it was dropped.
    pub fn lag(&self) -> Option<Lag> {
        self.shared.upgrade()?.lag(self.key, self.id)
    }

    /// The [position](crate::Cursor::position) of the cursor. `None` if it was dropped.
    pub fn position(&self) -> Option<F::Position> {
        self.shared.upgrade()?.position(self.key, self.id)
    }

    /// The [lag](Self::lag) of the cursor, and the position at the end of its log at the same moment. `None` if the
    /// cursor was dropped.
    pub fn lag_and_head(&self) -> Option<(Lag, F::Position)> {
        self.shared.upgrade()?.lag_and_head(self.key, self.id)
    }
}

impl<F: Format> Clone for CursorView<F> {
    fn clone(&self) -> Self {
        Self { shared: Weak::clone(&self.shared), key: self.key, id: self.id }
    }
}

impl<F: Format> fmt::Debug for CursorView<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorView").field("key", &self.key).finish_non_exhaustive()
    }
}
