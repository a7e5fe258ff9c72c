use std::fmt;
use std::sync::Arc;

/// What a hub holds, how it is indexed and how it is shown.
///
/// [`render`](Content::render) runs without a lock, and so do the tests of a [`Want`], but where a record
/// is about to be lost for a cursor: whether it wants that is tested under the lock of the hub. So may the
/// other methods be run: they are short, wait for nothing and do not call the hub.
pub trait Content: Send + Sync + 'static {
    /// What is appended. A clone is cheap: small neighbouring chunks are joined by cloning their
    /// records once.
    type Record: Clone + Send + Sync + 'static;
    /// The place before a record, in the composer's own terms (Kafka: the position of every
    /// partition). Cheap to clone. Marks never go back along the log.
    type Mark: Clone + Send + Sync + 'static;
    /// A form in which records are shown. Equal views share one encoding.
    type View: Clone + Eq + Send + Sync + 'static;

    /// Bytes that a record keeps in memory.
    fn weight(&self, record: &Self::Record) -> usize;

    /// Hashes of the values that a cursor may select by. A record always has the same ones.
    fn values(&self, record: &Self::Record, add: &mut dyn FnMut(u64));

    /// The place after `records`, which begin at `mark`.
    fn advance(&self, mark: &Self::Mark, records: &[Self::Record]) -> Self::Mark;

    /// Appends the encoding of each record to `out` and, for each, the length of `out` after it to
    /// `ends`. One for which nothing is appended is given to its readers alone, in a batch without bytes:
    /// what is too long to be kept encoded is encoded by each of them ([`Cursor::last`](crate::Cursor::last)).
    ///
    /// Runs once for each chunk and view, for the first cursor that comes to it. If it panics, the
    /// poll that called it panics and the cursor stays where it was; other cursors are not harmed.
    fn render(
        &self,
        view: &Self::View,
        mark: &Self::Mark,
        records: &[Self::Record],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    );
}

/// The test that decides whether a record is for a cursor.
pub type Test<R> = Arc<dyn Fn(&R) -> bool + Send + Sync>;

/// Which records a cursor is given.
#[non_exhaustive]
pub enum Want<R> {
    /// Every record.
    All,
    /// Every record that passes the test. Costs a test for each record of the log.
    Scan(Test<R>),
    /// Records with one of these values that pass the test, which sorts out collisions. Costs
    /// nothing for records that have none of the values.
    Values(Box<[u64]>, Test<R>),
}

impl<R> Clone for Want<R> {
    fn clone(&self) -> Self {
        match self {
            Self::All => Self::All,
            Self::Scan(test) => Self::Scan(Arc::clone(test)),
            Self::Values(values, test) => Self::Values(values.clone(), Arc::clone(test)),
        }
    }
}

impl<R> fmt::Debug for Want<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Scan(_) => f.write_str("Scan(..)"),
            Self::Values(values, _) => {
                f.debug_tuple("Values").field(values).finish_non_exhaustive()
            }
        }
    }
}

impl<R: 'static> Want<R> {
    /// Only those of these records that pass this test, too.
    #[must_use]
    pub fn and(self, also: impl Fn(&R) -> bool + Send + Sync + 'static) -> Self {
        match self {
            Self::All => Self::Scan(Arc::new(also)),
            Self::Scan(test) => Self::Scan(Arc::new(move |record| test(record) && also(record))),
            Self::Values(values, test) => {
                Self::Values(values, Arc::new(move |record| test(record) && also(record)))
            }
        }
    }
}

impl<R> Want<R> {
    pub(crate) fn test(&self) -> Option<Test<R>> {
        match self {
            Self::All => None,
            Self::Scan(test) | Self::Values(_, test) => Some(Arc::clone(test)),
        }
    }
}
