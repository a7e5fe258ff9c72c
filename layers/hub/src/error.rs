/// Why a cursor is given no further record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// A record that the cursor still had to read is not kept any more.
    #[error("record {wanted} is not kept any more, the log begins at {first}")]
    #[non_exhaustive]
    Evicted {
        /// Sequence number of the first record that the cursor missed.
        wanted: u64,
        /// Sequence number of the oldest record that is kept.
        first: u64,
    },
    /// The hub was closed, and the cursor was given all that is for it.
    #[error("the hub is closed")]
    Closed,
}
