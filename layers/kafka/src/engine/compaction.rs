//! The task that keeps the latest record of each key of compacted topics. It fills a [`Table`] as a stream
//! is filled: once by a backfill, and from then on by a cursor in the live log.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tailwater_hub::{Cursor, Selector};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::data::counters::{Counters, count};
use crate::data::events::Records;
use crate::data::positions::Positions;
use crate::timing::Timing;
use crate::topic::history::History;
use crate::topic::registry::Shared;
use crate::topic::snapshot::{Budget, BuildRequest, Snapshot};
use crate::topic::table::Table;
use crate::topic::{Topic, TopicLog};

/// How many segments of a log are taken before other tables have their turn.
const SEGMENTS: usize = 16;

/// Builds the tables that are requested, until the cluster is dropped.
pub(crate) async fn run(
    requests: &mut mpsc::UnboundedReceiver<BuildRequest>,
    shared: &Weak<Shared>,
    history: &History,
    budget: &Budget,
    timing: Timing,
) {
    let mut builders = FuturesUnordered::new();
    poll_fn(|cx| {
        loop {
            match requests.poll_recv(cx) {
                Poll::Ready(Some(BuildRequest { topic, log })) => {
                    let builder = SnapshotBuilder {
                        shared,
                        history,
                        budget,
                        timing,
                        table: Table::new(),
                        low: log.origin.clone(),
                        at: log.origin.clone(),
                        charged: 0,
                        topic,
                        log,
                    };
                    builders.push(builder.run());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => match builders.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    })
    .await;
}

/// Fills one table and makes snapshots of it, as long as its log is open.
struct SnapshotBuilder<'a> {
    shared: &'a Weak<Shared>,
    history: &'a History,
    budget: &'a Budget,
    timing: Timing,
    topic: Arc<Topic>,
    log: Arc<TopicLog>,
    table: Table,
    /// The table has nothing before these positions, because retention removed it.
    low: Positions,
    /// The table has taken everything before these positions.
    at: Positions,
    /// How much of the budget the table takes.
    charged: usize,
}

/// Why a builder stops reading a log.
enum Exit {
    Lost,
    TooLarge,
}

impl Drop for SnapshotBuilder<'_> {
    fn drop(&mut self) {
        self.budget.weight.fetch_sub(self.charged, Ordering::Relaxed);
        self.log.latest.reset();
    }
}

impl SnapshotBuilder<'_> {
    async fn run(mut self) {
        // The stream that needs the table has just queried where the topic begins.
        let mut known = self.log.latest.low();
        while !self.log.hub.is_closed() {
            // After a backfill, the live log continues, wherever the topic begins by then.
            let knows_all = self.log.hub.head().len() <= self.low.len();
            let mut live = if knows_all { self.live() } else { None };
            if live.is_none() {
                let low = match known.take() {
                    Some(low) => Some(low),
                    None => self.ask_low().await,
                };
                let Some(low) = low else { return };
                self.trim(Some(&low));
                self.at = self.at.max(&self.low);
                live = self.live();
            }
            let is_live = live.is_some();
            let mut cursor = match live {
                Some(cursor) => cursor,
                None => {
                    let joined =
                        self.history.join(&self.topic.name, &self.log, &self.at, &Selector::All);
                    let Some(cursor) = joined.await else { return };
                    cursor
                }
            };
            if let Exit::TooLarge = self.follow(&mut cursor, is_live).await {
                warn!(cluster = self.log.losses.cluster(), topic = %self.topic.name, bytes = self.table.weight(), "too many keys to keep the latest record of each, streams read the topic as it is in Kafka");
                self.log.latest.give_up();
                self.count(|counters| &counters.snapshots_given_up);
                return;
            }
            self.at = cursor.position().max(&self.table.next());
        }
    }

    fn count(&self, which: impl FnOnce(&Counters) -> &AtomicU64) {
        self.log.hub.format().counters().map(which).into_iter().for_each(count);
    }

    fn live(&self) -> Option<Cursor<Records>> {
        self.log.seek(&self.at, &Selector::All)
    }

    /// Queries where the topic begins. `None` if its log ended.
    async fn ask_low(&self) -> Option<Positions> {
        // The cluster must not be kept alive by this wait.
        let asked = self.shared.upgrade()?.request_watermarks(&self.topic, &self.log, &[], None);
        Some(Positions::new(asked.await.ok()?.low))
    }

    /// Removes from the table what retention removed from the topic, which begins at `low` if that is known.
    fn trim(&mut self, low: Option<&Positions>) {
        if let Some(low) = low {
            self.low = self.low.max(low);
        }
        let retention = self.log.tombstone_retention.get().copied().flatten();
        self.table.trim(&self.low, retention.unwrap_or(Duration::MAX));
    }

    async fn follow(&mut self, cursor: &mut Cursor<Records>, is_live: bool) -> Exit {
        poll_fn(|cx| {
            for _ in 0..SEGMENTS {
                match cursor.poll_each(cx, |record| self.table.take(record)) {
                    Poll::Ready(Ok(())) if self.fits() => {}
                    Poll::Ready(Ok(())) => return Poll::Ready(Exit::TooLarge),
                    Poll::Ready(Err(_)) => return Poll::Ready(Exit::Lost),
                    Poll::Pending if is_live => {
                        let end = cursor.position().max(&self.table.next());
                        // It is not known yet where a partition begins that was added.
                        if end.len() > self.low.len() {
                            return Poll::Ready(Exit::Lost);
                        }
                        self.serve(cx, end);
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Charges the table to the budget. False if it does not fit.
    fn fits(&mut self) -> bool {
        if self.charge() <= self.budget.most {
            return true;
        }
        let low = self.log.latest.low();
        self.trim(low.as_ref());
        // A table that is trimmed again for each record would be too slow.
        self.charge() <= self.budget.most / 8 * 7
    }

    /// Charges the current weight of the table. Returns the weight of all tables.
    fn charge(&mut self) -> usize {
        let weight = self.table.weight();
        let before = std::mem::replace(&mut self.charged, weight);
        let charged = &self.budget.weight;
        charged.fetch_add(weight, Ordering::Relaxed);
        charged.fetch_sub(before, Ordering::Relaxed) - before
    }

    /// Makes a snapshot if streams wait for one. The table has all records of the live log up to `end`.
    fn serve(&mut self, cx: &Context<'_>, end: Positions) {
        let (waiting, low) = self.log.latest.take_waiting(cx.waker());
        if waiting.is_empty() {
            return;
        }
        self.trim(low.as_ref());
        self.charge();
        let records = Records::new(self.log.hub.format().index.clone());
        // Streams look up records by key. The index is built here, where no stream waits for it.
        let is_indexed = self.log.hub.is_indexed();
        let start = self.low.clone();
        // Retention may have removed records that the live log has not reached.
        let end = end.max(&start);
        let snapshot =
            Arc::new(Snapshot::new(&self.table, records, start, end, self.timing, is_indexed));
        debug!(topic = %self.topic.name, streams = waiting.len(), "a snapshot was made");
        self.log.latest.publish(Arc::clone(&snapshot));
        self.count(|counters| &counters.snapshots);
        for waiting in waiting {
            // The stream may have left meanwhile.
            let _ = waiting.send(Arc::clone(&snapshot));
        }
    }
}
