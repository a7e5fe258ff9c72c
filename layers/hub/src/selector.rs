use std::fmt;
use std::sync::Arc;

/// Decides whether a record is for a cursor.
pub type Predicate<R> = Arc<dyn Fn(&R) -> bool + Send + Sync>;

/// Selects the records that a cursor returns.
#[non_exhaustive]
pub enum Selector<R> {
    /// Every record.
    All,
    /// Every record that the predicate accepts. The predicate runs for each record of the log.
    Scan(Predicate<R>),
    /// Records with one of these hashes that the predicate accepts. The hashes are looked up in the hub's
    /// index, and the predicate tests the records found, since two values may share a hash. Records with
    /// other hashes cost nothing.
    Hashes(Box<[u64]>, Predicate<R>),
}

impl<R> Clone for Selector<R> {
    fn clone(&self) -> Self {
        match self {
            Self::All => Self::All,
            Self::Scan(predicate) => Self::Scan(Arc::clone(predicate)),
            Self::Hashes(hashes, predicate) => Self::Hashes(hashes.clone(), Arc::clone(predicate)),
        }
    }
}

impl<R> fmt::Debug for Selector<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Scan(_) => f.write_str("Scan(..)"),
            Self::Hashes(hashes, _) => {
                f.debug_tuple("Hashes").field(hashes).finish_non_exhaustive()
            }
        }
    }
}

impl<R: 'static> Selector<R> {
    /// Narrows the selection to records that this predicate accepts, too.
    #[must_use]
    pub fn and(self, also: impl Fn(&R) -> bool + Send + Sync + 'static) -> Self {
        match self {
            Self::All => Self::Scan(Arc::new(also)),
            Self::Scan(predicate) => {
                Self::Scan(Arc::new(move |record| predicate(record) && also(record)))
            }
            Self::Hashes(hashes, predicate) => {
                Self::Hashes(hashes, Arc::new(move |record| predicate(record) && also(record)))
            }
        }
    }
}

impl<R> Selector<R> {
    pub(crate) fn predicate(&self) -> Option<Predicate<R>> {
        match self {
            Self::All => None,
            Self::Scan(predicate) | Self::Hashes(_, predicate) => Some(Arc::clone(predicate)),
        }
    }
}
