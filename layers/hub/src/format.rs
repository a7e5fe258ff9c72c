/// Defines the records of a hub: their weight, their hashes for the index, and their encoding.
///
/// Encoding and the predicates of a [`Selector`](crate::Selector) run without a lock, with one exception: when
/// a record is about to be evicted, the predicate of a cursor that has not read it runs under the hub's lock.
/// The other methods may run under that lock, too. All of them must be short, must not block, and must not
/// call the hub.
pub trait Format: Send + Sync + 'static {
    /// A record of the log. A clone must be cheap: small neighbouring chunks are joined, which clones their
    /// records once.
    type Record: Clone + Send + Sync + 'static;
    /// A position in the log in the user's own terms, before a record: for Kafka the next offset of every
    /// partition, for a simple log a number. A clone must be cheap. Positions never decrease along the log.
    type Position: Clone + Send + Sync + 'static;
    /// One of the ways to encode records, if there are several; else `()`. A chunk is encoded once for all
    /// cursors with an equal encoding.
    type Encoding: Clone + Eq + Send + Sync + 'static;

    /// The memory that a record occupies, in bytes.
    fn weight(&self, record: &Self::Record) -> usize;

    /// The position after `records`, which begin at `position`.
    fn advance(&self, position: &Self::Position, records: &[Self::Record]) -> Self::Position;

    /// Appends the encoding of one record, which begins at `position`, to `out`.
    ///
    /// If nothing is appended, cursors return the record alone, in a batch without bytes. A record that is
    /// too long to be kept encoded can be encoded by each of them ([`Cursor::last`](crate::Cursor::last)).
    ///
    /// If it panics, the poll that called it panics and its cursor stays where it was. Other cursors are not
    /// affected.
    fn encode(
        &self,
        encoding: &Self::Encoding,
        position: &Self::Position,
        record: &Self::Record,
        out: &mut Vec<u8>,
    );

    /// Passes the hashes of the values that a cursor may select by
    /// ([`Selector::Hashes`](crate::Selector::Hashes)) to `add`. They must be the same at each call. Default:
    /// none.
    fn hashes(&self, record: &Self::Record, add: &mut dyn FnMut(u64)) {
        let _ = (record, add);
    }

    /// Encodes the records of a chunk, as [`encode`](Format::encode) does, and pushes the length of `out` after
    /// each record to `ends`. Runs once for each chunk and encoding, when the first cursor reads the chunk.
    ///
    /// Default: calls [`encode`](Format::encode) and [`advance`](Format::advance) for each record. Implement it
    /// where work can be shared among the records of a chunk.
    fn encode_all(
        &self,
        encoding: &Self::Encoding,
        position: &Self::Position,
        records: &[Self::Record],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) {
        let mut position = position.clone();
        for record in records {
            self.encode(encoding, &position, record, out);
            ends.push(out.len());
            position = self.advance(&position, std::slice::from_ref(record));
        }
    }
}
