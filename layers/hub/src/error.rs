/// The reason why a cursor returns no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// A record that the cursor had not read was evicted.
    #[error("record {missed} is not kept any more, the log begins at {first}")]
    #[non_exhaustive]
    Lagged {
        /// Sequence number of the first record that the cursor missed.
        missed: u64,
        /// Sequence number of the oldest record that is kept.
        first: u64,
    },
    /// The hub was closed, and the cursor has returned all records that were left for it.
    #[error("the hub is closed")]
    Closed,
}
