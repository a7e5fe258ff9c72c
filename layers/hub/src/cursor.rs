use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::batch::{Batch, BatchBuilder, COPY_BYTES, Entry};
use crate::log::Runs;
use crate::selector::Predicate;
use crate::state::Shared;
use crate::{CursorError, CursorView, Format};

/// The number of records that one poll tests before it yields to other tasks.
const TESTS: u64 = 4096;

/// A position in the log, and a selection of the records after it.
///
/// [`Hub::seek`](crate::Hub::seek) and [`Hub::tail`](crate::Hub::tail) make cursors. A cursor costs a
/// number and a waker, however far it lags. The task that polled it last is woken.
pub struct Cursor<F: Format> {
    shared: Arc<Shared<F>>,
    key: usize,
    id: u64,
    test: Option<Predicate<F::Record>>,
    /// The position before the record that was returned last. Without records after it in its chunk, `last` leaves
    /// none: a position may be large, and most cursors wait.
    known: Option<(u64, F::Position)>,
}

impl<F: Format> Cursor<F> {
    pub(crate) fn new(
        shared: Arc<Shared<F>>,
        (key, id): (usize, u64),
        test: Option<Predicate<F::Record>>,
    ) -> Self {
        Self { shared, key, id, test, known: None }
    }

    /// The next record. Waits until there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of [`next_batch`](Cursor::next_batch).
    pub async fn next(&mut self) -> Result<Entry<F>, CursorError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next records in an encoding: at most `limit` bytes, but at least one record. Waits until there is
    /// one. Dropping the future loses nothing.
    ///
    /// Large slices are shared with all other cursors of the encoding; small ones are copied together, up to
    /// 16 KiB.
    ///
    /// # Errors
    /// [`CursorError::Lagged`] if a record that this cursor selects was evicted before it was read, and at
    /// each later call; [`CursorError::Closed`] after the last record of a closed hub.
    pub async fn next_batch(
        &mut self,
        encoding: &F::Encoding,
        limit: usize,
    ) -> Result<Batch<F>, CursorError> {
        poll_fn(|cx| self.poll_batch(cx, encoding, limit)).await
    }

    /// [`next_batch`](Cursor::next_batch) for code that polls. The task is woken when there is a record for
    /// this cursor.
    ///
    /// # Errors
    /// Those of [`next_batch`](Cursor::next_batch).
    pub fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        encoding: &F::Encoding,
        limit: usize,
    ) -> Poll<Result<Batch<F>, CursorError>> {
        let mut tests = TESTS;
        while tests > 0 {
            let max = self.test.as_ref().map_or(u64::MAX, |_| tests);
            let mut claim = ready!(self.claim(cx, max, limit.min(COPY_BYTES)))?;
            let mut builder = BatchBuilder::new(limit);
            while let Some((from, to)) = claim.next() {
                if let Some(test) = &self.test {
                    tests = tests.saturating_sub(1);
                    if !test(claim.record()) {
                        claim.pass(1);
                        continue;
                    }
                }
                let to = if self.test.is_some() { from + 1 } else { to };
                let taken = claim.take(&mut builder, encoding, to);
                claim.pass(taken);
                if taken < to - from {
                    break;
                }
            }
            drop(claim);
            if let Some(batch) = builder.finish() {
                return Poll::Ready(Ok(batch));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The last record of a batch that this cursor returned. Positions are computed from that of the last entry before
    /// it, if it is of the same chunk.
    pub fn last(&mut self, batch: &Batch<F>) -> Entry<F> {
        let last = Entry::new(&self.shared, &batch.segment, batch.last, self.known.take());
        self.known = (!last.ends_part()).then(|| (last.sequence(), last.before()));
        last
    }

    /// [`next`](Cursor::next) for code that polls. Slower than [`poll_batch`](Cursor::poll_batch): each record
    /// takes the hub's lock.
    ///
    /// # Errors
    /// Those of [`next_batch`](Cursor::next_batch).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Entry<F>, CursorError>> {
        let mut tests = TESTS;
        while tests > 0 {
            let selective = self.test.is_some();
            let mut claim = ready!(self.claim(cx, if selective { tests } else { 1 }, 1))?;
            let mut found = None;
            while let Some((sequence, _)) = claim.next() {
                tests = tests.saturating_sub(1);
                if self.test.as_ref().is_none_or(|test| test(claim.record())) {
                    let segment = &claim.runs[claim.run].segment;
                    let item = Entry::new(&self.shared, segment, sequence, self.known.clone());
                    claim.pass(1);
                    found = Some(item);
                    break;
                }
                claim.pass(1);
            }
            drop(claim);
            if let Some(item) = found {
                self.known = Some((item.sequence(), item.before()));
                return Poll::Ready(Ok(item));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Calls `visit` with the next records, not encoded: those of one large or of several small chunks. For
    /// a reader that converts all records itself.
    ///
    /// # Errors
    /// Those of [`next_batch`](Cursor::next_batch).
    pub fn poll_each(
        &mut self,
        cx: &mut Context<'_>,
        mut visit: impl FnMut(&F::Record),
    ) -> Poll<Result<(), CursorError>> {
        let max = self.test.as_ref().map_or(u64::MAX, |_| TESTS);
        let mut claim = ready!(self.claim(cx, max, COPY_BYTES))?;
        while claim.next().is_some() {
            let record = claim.record();
            if self.test.as_ref().is_none_or(|test| test(record)) {
                visit(record);
            }
            claim.pass(1);
        }
        Poll::Ready(Ok(()))
    }

    /// A view of this cursor, which others can look at while it reads.
    pub fn view(&self) -> CursorView<F> {
        CursorView { shared: Arc::downgrade(&self.shared), key: self.key, id: self.id }
    }

    /// The position of this cursor: each selected record before it was returned.
    ///
    /// For a selective cursor without pending matches this is the end of the log. After
    /// [`CursorError::Lagged`] it is the position from which the missing records can be read elsewhere.
    #[expect(clippy::missing_panics_doc, reason = "a cursor has its slot until it is dropped")]
    pub fn position(&mut self) -> F::Position {
        self.shared.position(self.key, self.id).expect("the slot of this cursor")
    }

    fn claim(
        &self,
        cx: &Context<'_>,
        records: u64,
        bytes: usize,
    ) -> Poll<Result<Claim<'_, F>, CursorError>> {
        let runs = ready!(self.shared.claim(self.key, cx, records, bytes))?;
        Poll::Ready(Ok(Claim { shared: &self.shared, key: self.key, runs, run: 0 }))
    }
}

impl<F: Format> Unpin for Cursor<F> {}

impl<F: Format> Drop for Cursor<F> {
    fn drop(&mut self) {
        self.shared.leave(self.key);
    }
}

impl<F: Format> fmt::Debug for Cursor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Records that a cursor has taken from the log, to test and encode them without the lock. Drop returns the
/// records that were not passed, also when code of the format or a predicate panics.
struct Claim<'a, F: Format> {
    shared: &'a Shared<F>,
    key: usize,
    runs: Runs<F>,
    run: usize,
}

impl<F: Format> Claim<'_, F> {
    /// The next range of records.
    fn next(&mut self) -> Option<(u64, u64)> {
        while let Some(run) = self.runs.get(self.run) {
            if run.from < run.to {
                return Some((run.from, run.to));
            }
            self.run += 1;
        }
        None
    }

    /// The next record. Call it only after `next` returned a range.
    fn record(&self) -> &F::Record {
        let run = &self.runs[self.run];
        let (part, index) = run.segment.locate(run.from);
        &part.records[index]
    }

    fn pass(&mut self, count: u64) {
        self.runs[self.run].from += count;
    }

    fn take(&self, builder: &mut BatchBuilder<F>, encoding: &F::Encoding, to: u64) -> u64 {
        let run = &self.runs[self.run];
        let (encoded, fresh) =
            run.segment.encoded(&self.shared.format, &self.shared.encoded_bytes, encoding);
        if fresh {
            self.shared.shrink_encoded(&run.segment, encoding);
        }
        builder.take(&run.segment, encoded, run.from, to)
    }
}

impl<F: Format> Drop for Claim<'_, F> {
    fn drop(&mut self) {
        if self.next().is_some() {
            self.shared.give_back(self.key, &self.runs[self.run..]);
        }
    }
}
