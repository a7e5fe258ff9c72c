//! The log as records, queued for the exporters that push them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field as FieldName, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The maximum number of records that wait for a collector.
const MOST_RECORDS: usize = 2048;
/// The length of the texts that are pushed at once. Collectors take 1 MiB and more.
const MOST_BYTES_AT_ONCE: usize = 256 * 1024;
/// The length to which texts are cut.
const MOST_BYTES: usize = 4096;

/// The queues of all exporters of this process, which has one log.
static QUEUES: Mutex<Vec<Arc<Records>>> = Mutex::new(Vec::new());
static HAS_QUEUES: AtomicBool = AtomicBool::new(false);

/// An entry of the log.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time: SystemTime,
    /// The number and the text of its level.
    pub(crate) severity: (u8, &'static str),
    pub(crate) target: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Field)>,
}

impl Record {
    /// The length of its texts.
    fn bytes(&self) -> usize {
        let of_fields = self.fields.iter().map(|(name, value)| match value {
            Field::Text(text) => name.len() + text.len(),
            Field::Integer(_) | Field::Number(_) | Field::Bool(_) => name.len(),
        });
        self.message.len() + of_fields.sum::<usize>()
    }
}

/// The value of a field.
#[derive(Debug)]
pub(crate) enum Field {
    Text(String),
    Integer(i64),
    Number(f64),
    Bool(bool),
}

/// The queue of an exporter.
#[derive(Debug, Default)]
pub(crate) struct Records {
    queue: Mutex<VecDeque<Arc<Record>>>,
    dropped: AtomicU64,
}

/// Adds the queue of an exporter, which gets all records from now on.
pub(crate) fn add(records: &Arc<Records>) {
    locked(&QUEUES).push(Arc::clone(records));
    HAS_QUEUES.store(true, Relaxed);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Records {
    fn push(&self, record: &Arc<Record>) {
        let mut queue = locked(&self.queue);
        if queue.len() < MOST_RECORDS {
            queue.push_back(Arc::clone(record));
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// The first records, at most so many. They stay in the queue.
    pub(crate) fn first(&self, most: usize) -> Vec<Arc<Record>> {
        let mut bytes = 0;
        let queue = locked(&self.queue);
        let first = queue.iter().take(most).take_while(|record| {
            let is_first = bytes == 0;
            bytes += record.bytes();
            is_first || bytes <= MOST_BYTES_AT_ONCE
        });
        first.cloned().collect()
    }

    /// Removes so many of the first records.
    pub(crate) fn remove(&self, count: usize) {
        let mut queue = locked(&self.queue);
        let count = count.min(queue.len());
        queue.drain(..count);
    }

    /// Removes so many of the first records, which no collector takes.
    pub(crate) fn drop_first(&self, count: usize) {
        self.remove(count);
        self.dropped.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// The layer that queues the log, from the level `info` on, and the access log.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let wanted =
        |metadata: &Metadata<'_>| *metadata.level() <= Level::INFO && HAS_QUEUES.load(Relaxed);
    Export.with_filter(filter_fn(wanted).with_max_level_hint(LevelFilter::INFO))
}

struct Export;

impl<S: Subscriber> Layer<S> for Export {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let severity = match *metadata.level() {
            Level::ERROR => (17, "ERROR"),
            Level::WARN => (13, "WARN"),
            _ => (9, "INFO"),
        };
        let mut texts = Texts::default();
        event.record(&mut texts);
        let record = Arc::new(Record {
            time: SystemTime::now(),
            severity,
            target: metadata.target(),
            message: texts.message(metadata.target()),
            fields: texts.fields,
        });
        for queue in &*locked(&QUEUES) {
            queue.push(&record);
        }
    }
}

/// The message and the fields of an event.
#[derive(Default)]
struct Texts {
    message: String,
    fields: Vec<(&'static str, Field)>,
}

impl Texts {
    /// The text of the record. Lines of the access log have an event in place of a message.
    fn message(&mut self, target: &str) -> String {
        let event = self.fields.iter().find_map(|(name, value)| match value {
            Field::Text(text) if *name == "event" => Some(text.as_str()),
            _ => None,
        });
        match std::mem::take(&mut self.message) {
            none if none.is_empty() => event.unwrap_or(target).to_owned(),
            message => message,
        }
    }

    fn add(&mut self, name: &FieldName, value: Field) {
        self.fields.push((name.name(), value));
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MOST_BYTES));
    text
}

impl Visit for Texts {
    fn record_debug(&mut self, name: &FieldName, value: &dyn fmt::Debug) {
        let text = cut(format!("{value:?}"));
        match name.name() {
            "message" => self.message = text,
            _ => self.add(name, Field::Text(text)),
        }
    }

    fn record_str(&mut self, name: &FieldName, value: &str) {
        match name.name() {
            "message" => self.message = cut(value.to_owned()),
            _ => self.add(name, Field::Text(cut(value.to_owned()))),
        }
    }

    fn record_i64(&mut self, name: &FieldName, value: i64) {
        self.add(name, Field::Integer(value));
    }

    fn record_u64(&mut self, name: &FieldName, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.add(name, Field::Integer(value)),
            Err(_) => self.add(name, Field::Text(value.to_string())),
        }
    }

    fn record_f64(&mut self, name: &FieldName, value: f64) {
        match value.is_finite() {
            true => self.add(name, Field::Number(value)),
            false => self.add(name, Field::Text(value.to_string())),
        }
    }

    fn record_bool(&mut self, name: &FieldName, value: bool) {
        self.add(name, Field::Bool(value));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_collector_that_is_away_costs_no_more_than_the_queue() {
        let records = Arc::<Records>::default();
        add(&records);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer()), || {
            for number in 0..3000_u64 {
                tracing::warn!(number, text = "a".repeat(10_000), "told: {}", "b".repeat(10_000));
                tracing::debug!("not pushed");
            }
        });
        let ours = |record: &&Arc<Record>| record.message.starts_with("told");
        let first = records.first(usize::MAX);
        // Each has two texts of 4 KiB, and the names of two fields.
        assert_eq!(first.len(), MOST_BYTES_AT_ONCE / (2 * MOST_BYTES + 10));
        let len = || locked(&records.queue).len();
        assert_eq!(len(), MOST_RECORDS);
        assert!(records.dropped() >= (3000 - MOST_RECORDS) as u64);
        let record = first.iter().find(ours).unwrap();
        assert_eq!((record.message.len(), record.severity), (MOST_BYTES, (13, "WARN")));
        let longest = record.fields.iter().map(|(_, value)| match value {
            Field::Text(text) => text.len(),
            _ => 0,
        });
        assert_eq!(longest.max(), Some(MOST_BYTES));
        let dropped = records.dropped();
        records.remove(1000);
        records.drop_first(1000);
        assert_eq!((len(), records.dropped()), (48, dropped + 1000));
    }
}
