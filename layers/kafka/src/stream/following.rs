//! A stream that is attached to a log: what it sends next, and its position.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tailwater_hub::{Cursor, CursorError};
use tailwater_sse::Encoded;

use crate::data::events::{self, Encoding, FEW_PARTITIONS, Records};
use crate::data::gap::{Gap, Reason};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::stream::conversion::Conversions;
use crate::stream::large::LargeEvent;
use crate::topic::share::Share;
use crate::topic::streams::Attached;

/// One poll passes over this many records before other tasks get their turn.
pub(crate) const RECORDS_A_POLL: usize = 1024;

/// How long conversions of one stream may take before other tasks get their turn.
const SHARE: Duration = Duration::from_millis(10);

/// A stream that is attached to a log.
pub(crate) struct Following {
    pub(crate) attached: Attached,
    pub(crate) cursor: Cursor<Records>,
    pub(crate) epoch: u64,
    /// The position of the client, while it is ahead of the log. The client has the records before it.
    pub(crate) ahead: Option<Positions>,
    /// What converts the records for this stream alone.
    pub(crate) conversions: Option<Box<Conversions>>,
    /// The last position that was sent to the client. `None` without a filter and conversions, if an event was
    /// sent last: its id is the position.
    pub(crate) last_reported: Option<Positions>,
    /// Whether there is a filter or a conversion, so that the position moves without an event.
    pub(crate) is_filtered: bool,
    /// Whether gaps are sent in place of rejected records.
    pub(crate) invalid_gaps: bool,
    /// An event of which a part was sent.
    pub(crate) large: Option<Box<LargeEvent>>,
    /// The gap of rejected records that were passed, and the position after it. It is sent before the stream
    /// waits, and before anything else.
    pub(crate) rejected: Option<Box<(Gap, Positions)>>,
}

/// What comes next in a log.
enum Next {
    Write(Encoded),
    /// Rejected records of which the stream is told by this gap, and the position after it.
    Rejected(Gap, Positions),
    /// Rejected records of which the stream is not told.
    Passed,
}

impl Following {
    /// The position of the stream: all records before it were delivered or do not pass the filters.
    pub(crate) fn position(&mut self) -> Positions {
        let waiting = self.conversions.as_ref().and_then(|conversions| conversions.position());
        let position = waiting.unwrap_or_else(|| self.cursor.position());
        self.ahead.as_ref().map_or_else(|| position.clone(), |ahead| ahead.max(&position))
    }

    /// The next part of an event of which a part was sent.
    pub(crate) fn next_part(&mut self, limit: usize) -> Option<Encoded> {
        let part = self.large.as_mut()?.next(limit);
        if !part.is_part() {
            self.large = None;
            self.attached.events(1);
        }
        Some(part)
    }

    /// The event of the rejected records that were passed.
    pub(crate) fn take_rejected(&mut self) -> Option<Encoded> {
        let (gap, after) = *self.rejected.take()?;
        self.attached.gap(gap.reason);
        Some(gap.encode(Some(&after.progress())))
    }

    /// The next write. `None` if the next records were rejected.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        encoding: Encoding,
        limit: usize,
        partitions: &AtomicUsize,
        due: &mut VecDeque<Encoded>,
    ) -> Poll<Result<Option<Encoded>, CursorError>> {
        let polled = match self.poll_next(cx, encoding, limit, partitions, due) {
            Poll::Ready(Ok(Next::Write(write))) => Poll::Ready(Ok(Some(write))),
            Poll::Ready(Ok(Next::Passed)) => return Poll::Ready(Ok(None)),
            Poll::Ready(Ok(Next::Rejected(gap, after))) => {
                let joined = self.rejected.as_deref().and_then(|(known, _)| known.joined(&gap));
                let before = if joined.is_none() { self.take_rejected() } else { None };
                self.rejected = Some(Box::new((joined.unwrap_or(gap), after)));
                return Poll::Ready(Ok(before));
            }
            Poll::Ready(Err(lost)) => Poll::Ready(Err(lost)),
            Poll::Pending => Poll::Pending,
        };
        let Some(gap) = self.take_rejected() else { return polled };
        // A loss is found again by the next poll.
        if let Poll::Ready(Ok(Some(write))) = polled {
            due.push_back(write);
        }
        Poll::Ready(Ok(Some(gap)))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        encoding: Encoding,
        limit: usize,
        partitions: &AtomicUsize,
        due: &mut VecDeque<Encoded>,
    ) -> Poll<Result<Next, CursorError>> {
        if let Some(write) = ready!(self.poll_singly(cx, encoding, limit, due)?) {
            return Poll::Ready(Ok(Next::Write(write)));
        }
        let batch = ready!(self.cursor.poll_batch(cx, &encoding, limit)?);
        if batch.bytes().is_empty() {
            let last = self.cursor.last(&batch);
            let rejected = rejected(last.record());
            if rejected.is_some() && !self.invalid_gaps {
                // No event has this position as its id. It is sent when the stream is idle.
                self.last_reported.get_or_insert_with(|| last.before());
                return Poll::Ready(Ok(Next::Passed));
            }
            let after = last.after();
            let reported = self.last_reported.take().filter(|_| self.is_filtered);
            self.last_reported = reported.map(|_| after.clone());
            if let Some(gap) = rejected {
                return Poll::Ready(Ok(Next::Rejected(gap, after)));
            }
            if let Some(gap) = last.record().as_gap() {
                self.attached.gap(gap.reason);
                return Poll::Ready(Ok(Next::Write(gap.encode(Some(&after.progress())))));
            }
            let event = LargeEvent::new(encoding, last.record(), &after.progress());
            self.large = Some(Box::new(event));
            return Poll::Ready(Ok(self.next_part(limit).map_or(Next::Passed, Next::Write)));
        }
        self.attached.events(batch.count());
        // Read after the batch, which may have records of a partition that was added just before.
        let wide = partitions.load(Ordering::Acquire) > FEW_PARTITIONS;
        let mut long = None;
        if !self.is_filtered {
            self.last_reported = None;
        }
        if wide || self.last_reported.is_some() {
            let last = self.cursor.last(&batch);
            let after = last.after();
            long = if wide { encoding.long_id(last.record(), &after.progress()) } else { None };
            self.last_reported = self.last_reported.take().map(|_| after);
        }
        let bytes = match long {
            Some(id) => with_id(batch.bytes(), &id),
            None => batch.into_bytes(),
        };
        Poll::Ready(Ok(Next::Write(Encoded::trusted(bytes))))
    }

    /// Whether each record is looked at by itself.
    fn is_single(&self) -> bool {
        self.ahead.is_some() || self.conversions.is_some()
    }

    /// Whether the log has passed the position of the client.
    fn has_caught_up(&mut self) -> bool {
        let is_waiting =
            self.conversions.as_ref().is_some_and(|conversions| conversions.position().is_some());
        let position = self.cursor.position();
        !is_waiting && self.ahead.as_ref().is_some_and(|ahead| ahead.is_behind(&position))
    }

    /// The log has passed the position of the client.
    fn catch_up(&mut self) {
        self.ahead = None;
        self.attached.caught_up();
    }

    /// The next record, and the position after it. No record, if the client has it.
    fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
        read_bytes: &mut usize,
    ) -> Poll<Result<(Option<Record>, Positions), CursorError>> {
        loop {
            if let Some(conversions) = &mut self.conversions
                && let Some((record, after)) = ready!(conversions.poll(cx))
            {
                return Poll::Ready(Ok((Some(record), after)));
            }
            let item = ready!(self.cursor.poll_next(cx))?;
            let record = item.record();
            let next = self.ahead.as_ref().map(|ahead| ahead.next(record.partition));
            if next.is_some_and(|next| record.offset < next) {
                return Poll::Ready(Ok((None, item.after())));
            }
            *read_bytes += record.weight();
            let rest = next.and_then(|next| record.gap_from(next));
            let record = rest.unwrap_or_else(|| record.clone());
            match &mut self.conversions {
                // Only the value is converted.
                Some(conversions) if record.value().is_some() => {
                    conversions.push(record, item.before(), item.after());
                }
                _ => return Poll::Ready(Ok((Some(record), item.after()))),
            }
        }
    }

    /// Delivers records one by one, while the position of the client is ahead of the log, or if they are converted
    /// for this stream. Ready with `None` when neither holds any more.
    fn poll_singly(
        &mut self,
        cx: &mut Context<'_>,
        encoding: Encoding,
        limit: usize,
        due: &mut VecDeque<Encoded>,
    ) -> Poll<Result<Option<Encoded>, CursorError>> {
        // A server may poll again at once, as long as there is something to write.
        if let Some(conversions) = &mut self.conversions
            && std::mem::take(&mut conversions.rests)
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut share = self.conversions.is_some().then(|| Share::new(SHARE));
        let mut write = Write::default();
        let mut read_bytes = 0;
        let mut events = 0;
        for _ in 0..RECORDS_A_POLL {
            // Records that are left out take time, too.
            if !self.is_single() || read_bytes > limit || share.as_ref().is_some_and(Share::is_over)
            {
                break;
            }
            let polled = self.poll_record(cx, &mut read_bytes);
            share.iter_mut().for_each(Share::count);
            let (record, after) = match polled {
                Poll::Ready(Ok(next)) => next,
                // The head of the log may move without a record, if a partition is added.
                Poll::Pending if write.is_empty() && self.has_caught_up() => {
                    self.catch_up();
                    break;
                }
                Poll::Ready(Err(lost)) if write.is_empty() => return Poll::Ready(Err(lost)),
                Poll::Pending if write.is_empty() => return Poll::Pending,
                // The next poll finds the loss again. The task is not registered to be woken before.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            };
            let position =
                self.ahead.as_ref().map_or_else(|| after.clone(), |ahead| ahead.max(&after));
            let mut next = Write::default();
            if let Some(gap) = record.as_ref().and_then(rejected) {
                if self.invalid_gaps {
                    write.reject(gap, position.clone(), &self.attached);
                    self.last_reported = Some(position);
                }
            } else if let Some(record) = record {
                let progress = position.progress();
                if events::is_large(&record) {
                    self.large = Some(Box::new(LargeEvent::new(encoding, &record, &progress)));
                } else {
                    match record.as_gap() {
                        Some(gap) => self.attached.gap(gap.reason),
                        None => events += 1,
                    }
                    encoding.encode(&record, &progress, &mut next.events);
                    next.id = encoding.long_id(&record, &progress);
                }
                self.last_reported = Some(position);
            }
            if self.ahead.as_ref().is_some_and(|ahead| ahead.is_behind(&after)) {
                self.catch_up();
            }
            if !write.is_empty() && write.events.len() + next.len() > limit {
                due.push_back(Encoded::trusted(next.finish(&self.attached)));
                break;
            }
            write.append(next, &self.attached);
            if write.len() >= limit || self.large.is_some() {
                break;
            }
        }
        if events > 0 {
            self.attached.events(events);
        }
        let has_event = !write.is_empty() || self.large.is_some();
        if let Some(conversions) = &mut self.conversions {
            conversions.rests = has_event && share.as_ref().is_some_and(Share::is_over);
        }
        if write.is_empty()
            && let Some(part) = self.next_part(limit)
        {
            return Poll::Ready(Ok(Some(part)));
        }
        match (self.is_single(), write.is_empty()) {
            (_, false) => Poll::Ready(Ok(Some(Encoded::trusted(write.finish(&self.attached))))),
            (false, true) => Poll::Ready(Ok(None)),
            (true, true) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// The gap, if the record is one in place of rejected records.
fn rejected(record: &Record) -> Option<Gap> {
    record.as_gap().filter(|gap| gap.reason == Reason::Invalid)
}

/// Events that are sent together. If ids are long, only the last event has one.
#[derive(Default)]
struct Write {
    events: Vec<u8>,
    /// The id line of the last event, if it was encoded without.
    id: Option<Vec<u8>>,
    /// The gap of the last records, which were rejected, and the position after it.
    rejected: Option<(Gap, Positions)>,
}

impl Write {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_none()
    }

    fn reject(&mut self, gap: Gap, after: Positions, attached: &Attached) {
        let known = self.rejected.as_ref();
        let joined = known.and_then(|(known, _)| known.joined(&gap));
        if joined.is_none() {
            self.encode_rejected(attached);
        }
        self.rejected = Some((joined.unwrap_or(gap), after));
    }

    fn encode_rejected(&mut self, attached: &Attached) {
        if let Some((gap, after)) = self.rejected.take() {
            attached.gap(gap.reason);
            let event = gap.encode(Some(&after.progress())).into_bytes();
            self.events.extend_from_slice(&event);
            self.id = None;
        }
    }

    fn len(&self) -> usize {
        self.events.len() + self.id.as_ref().map_or(0, Vec::len)
    }

    fn append(&mut self, next: Self, attached: &Attached) {
        if !next.is_empty() {
            self.encode_rejected(attached);
            self.events.extend_from_slice(&next.events);
            self.id = next.id;
        }
    }

    fn finish(mut self, attached: &Attached) -> Bytes {
        self.encode_rejected(attached);
        let events = Bytes::from(self.events);
        match self.id {
            Some(id) => with_id(&events, &id),
            None => events,
        }
    }
}

/// Adds the id line to the last event, before the empty line that ends it.
fn with_id(events: &Bytes, id: &[u8]) -> Bytes {
    let open = events.len().saturating_sub(1);
    let mut bytes = BytesMut::with_capacity(open + id.len());
    bytes.extend_from_slice(&events[..open]);
    bytes.extend_from_slice(id);
    bytes.freeze()
}
