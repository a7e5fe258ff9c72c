//! What is counted of a topic from the start of the cluster on. No counter ever falls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::data::gap::Reason;
use crate::data::histogram::Histogram;
use crate::data::record::Record;
use crate::data::start::epoch_ms;

/// The limits of the delay from a record's time to its append, in seconds.
const DELAYS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// The counters of a topic, or of all topics beyond the bound.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) name: Arc<str>,
    pub(crate) sent: Sent,
    pub(crate) records_read: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    delay: Mutex<Histogram>,
    gaps: [AtomicU64; Reason::ALL.len()],
    pub(crate) restarts: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_given_up: AtomicU64,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// Every write of every stream of the topic counts here. It has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Sent {
    pub(crate) events: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            sent: Sent::default(),
            records_read: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            delay: Mutex::new(Histogram::new(DELAYS)),
            gaps: Default::default(),
            restarts: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            snapshots_given_up: AtomicU64::new(0),
            rejected: Mutex::default(),
        }
    }

    /// Counts records that were read.
    pub(crate) fn read(&self, records: &[Record]) {
        let count = records.iter().map(Record::read_records).sum();
        let bytes = records.iter().map(|record| record.read_bytes() as u64).sum();
        self.records_read.fetch_add(count, Ordering::Relaxed);
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes how long the last of these records took until now.
    pub(crate) fn arrived(&self, records: &[Record]) {
        let timestamp = records.iter().rev().find_map(|record| record.timestamp);
        if let Some(timestamp) = timestamp {
            let delay = epoch_ms(SystemTime::now()).saturating_sub(timestamp);
            let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
            let mut delays = self.delay.lock().unwrap_or_else(PoisonError::into_inner);
            delays.add(delay.as_secs_f64());
        }
    }

    pub(crate) fn delay(&self) -> Histogram {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a gap that a stream was told of.
    pub(crate) fn gap(&self, reason: Reason) {
        self.gaps[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// The gaps that were told, by reason.
    pub(crate) fn gaps(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.gaps.iter().map(|count| count.load(Ordering::Relaxed));
        let all = Reason::ALL.iter().map(|reason| reason.name()).zip(counts);
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Counts a record that the topic's converter rejected.
    pub(crate) fn reject(&self, reason: &'static str) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(reason).or_default() += 1;
    }

    pub(crate) fn rejected(&self) -> BTreeMap<&'static str, u64> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
