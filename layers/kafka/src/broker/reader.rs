//! A consumer of librdkafka.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tracing::{debug, warn};

use crate::Error;
use crate::broker::buffers::RecordBuffers;
use crate::broker::context::Context;
use crate::broker::handle::Handle;
use crate::broker::librdkafka::create;
use crate::broker::{Consumer, Fetched, headers, timeouts};
use crate::data::gap::Reason;
use crate::data::record::Record;
use crate::threads::Threads;

/// How long a history consumer waits for the leaders of a topic.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(1);

/// Late fetches are forgotten after this time.
const CALM: Duration = Duration::from_secs(600);

/// The gap of a record that is too large has its key if that is at most this long: a compacted topic may have
/// an older record of the key.
const KEPT_KEY_BYTES: usize = 64 * 1024;

/// The clients of the consumers that exist.
pub(super) type Readers = Arc<Mutex<Vec<Weak<Handle<Context>>>>>;

pub(super) struct Reader {
    pub(super) handle: Arc<Handle<Context>>,
    readers: Readers,
    threads: Threads,
    config: ClientConfig,
    context: Context,
    /// The assigned partitions, and the offsets at which they were assigned.
    assigned: HashMap<(String, i32), i64>,
    /// The request timeout, at first and now.
    first_request_timeout: Duration,
    request_timeout: Duration,
    buffers: RecordBuffers,
    history: bool,
    max_record_bytes: usize,
}

impl Reader {
    pub(super) fn new(
        config: ClientConfig,
        context: Context,
        readers: Readers,
        threads: Threads,
        history: bool,
        max_record_bytes: usize,
    ) -> Result<Self, Error> {
        // Each consumer has its own fetches and errors.
        let context = Context { late: Arc::default(), last: Arc::default(), ..context };
        let handle = new_handle(&config, context.clone(), &readers)?;
        let first_request_timeout = timeouts::request_timeout(&config);
        Ok(Self {
            handle,
            readers,
            threads,
            config,
            context,
            assigned: HashMap::new(),
            first_request_timeout,
            request_timeout: first_request_timeout,
            buffers: RecordBuffers::default(),
            history,
            max_record_bytes,
        })
    }

    /// Doubles the request timeout if fetches are late: on a slow link, an answer that takes longer than the
    /// timeout would be requested again and again. If no fetch was late for a while, the timeout is as at first,
    /// so that a connection that has died is found soon.
    fn fit_request_timeout(&mut self) {
        if self.context.has_late_fetches(self.request_timeout) {
            self.renew(timeouts::longer(self.request_timeout));
            warn!(
                cluster = self.context.reachability.name(),
                seconds = self.request_timeout.as_secs_f64(),
                "answers of Kafka come late, waiting longer"
            );
        } else if self.request_timeout > self.first_request_timeout
            && self.context.late().is_over(CALM)
        {
            self.renew(self.first_request_timeout);
        }
    }

    /// Continues with another client that has this request timeout.
    fn renew(&mut self, request_timeout: Duration) {
        self.request_timeout = request_timeout;
        timeouts::set_request_timeout(&mut self.config, self.request_timeout);
        let handle = match new_handle(&self.config, self.context.clone(), &self.readers) {
            Ok(handle) => handle,
            Err(error) => {
                let cluster = self.context.reachability.name();
                warn!(cluster, %error, "can't create a consumer with another timeout");
                return;
            }
        };
        let positions = self.handle.consumer.position();
        for element in positions.iter().flat_map(TopicPartitionList::elements) {
            let partition = (element.topic().to_owned(), element.partition());
            if let (Offset::Offset(next), Some(at)) =
                (element.offset(), self.assigned.get_mut(&partition))
            {
                *at = next.max(*at);
            }
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.assigned {
            // librdkafka has accepted this offset before.
            let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*next));
        }
        if let Err(error) = handle.consumer.incremental_assign(&list) {
            let cluster = self.context.reachability.name();
            warn!(cluster, %error, "partitions can't be assigned to the new consumer");
        }
        let former = std::mem::replace(&mut self.handle, handle);
        // The drop waits until the partitions are unassigned. Without a thread it does so here.
        let _ = self.threads.spawn("kafka-close", move || drop(former));
    }
}

fn new_handle(
    config: &ClientConfig,
    context: Context,
    readers: &Readers,
) -> Result<Arc<Handle<Context>>, Error> {
    let handle = Arc::new(Handle::new(create(config, context)?));
    let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
    readers.retain(|reader| reader.strong_count() > 0);
    readers.push(Arc::downgrade(&handle));
    Ok(handle)
}

/// The record, or a gap in its place if it is too large.
fn record(message: &BorrowedMessage<'_>, buffers: &mut RecordBuffers, max_bytes: usize) -> Fetched {
    let (topic, buffer) = buffers.of(message.topic());
    let partition = message.partition();
    let offset = message.offset();
    let of_headers = |headers| {
        let sizes = headers::readable(headers)
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        sizes.sum::<usize>()
    };
    let mut bytes = message.key_len().saturating_add(message.payload_len());
    if bytes <= max_bytes {
        bytes = bytes.saturating_add(message.headers().map_or(0, of_headers));
    }
    if bytes > max_bytes {
        debug!(%topic, partition, offset, bytes, "a record is too large");
        let key = message.key().filter(|key| key.len() <= KEPT_KEY_BYTES.min(max_bytes));
        let gap = Record::gap(partition, (offset, offset + 1), Reason::TooLarge, key);
        return Fetched::Record(Arc::clone(topic), gap);
    }
    let headers = message.headers().into_iter().flat_map(headers::readable);
    let record = Record::new(
        (partition, offset, message.timestamp().to_millis()),
        message.key(),
        message.payload(),
        headers.map(|header| (header.key.as_bytes(), header.value)),
        buffer,
    );
    Fetched::Record(Arc::clone(topic), record)
}

impl Consumer for Reader {
    fn cluster(&self) -> &str {
        self.context.reachability.name()
    }

    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        if self.history {
            // Otherwise a connected client looks for the leaders of an unknown topic at the next tick of its
            // timer, within a second. It still does so if this query gets no answer.
            self.handle.learn(topic, LEADERS_TIMEOUT);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(Error::kafka)?;
        self.assigned.insert((topic.to_owned(), partition), offset);
        self.handle.consumer.incremental_assign(&list).map_err(Error::kafka)
    }

    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        self.buffers.forget(topic);
        self.assigned.remove(&(topic.to_owned(), partition));
        self.handle.consumer.incremental_unassign(&list).map_err(Error::kafka)
    }

    fn poll<'a>(
        &'a mut self,
        timeout: Duration,
        limit_bytes: usize,
        into: &'a mut Vec<Fetched>,
    ) -> BoxFuture<'a, ()> {
        async move { self.poll_blocking(timeout, limit_bytes, into) }.boxed()
    }
}

impl Reader {
    fn poll_blocking(&mut self, timeout: Duration, limit_bytes: usize, into: &mut Vec<Fetched>) {
        self.fit_request_timeout();
        let mut timeout = timeout;
        let mut bytes = 0;
        while bytes < limit_bytes {
            let Some(polled) = self.handle.consumer.poll(timeout) else { return };
            timeout = Duration::ZERO;
            let fetched = match polled {
                Ok(message) => record(&message, &mut self.buffers, self.max_record_bytes),
                Err(KafkaError::PartitionEOF(partition)) => Fetched::End(partition),
                Err(KafkaError::MessageConsumption(code)) if out_of_range(code) => {
                    Fetched::OutOfRange
                }
                Err(KafkaError::MessageConsumption(code)) if is_of_data(code) => {
                    Fetched::Error(self.context.fetch_error())
                }
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    Fetched::Denied
                }
                Err(error) => {
                    // The loss of a broker and the like: librdkafka recovers by itself.
                    debug!(%error, "fetch failed, trying again");
                    continue;
                }
            };
            if let Fetched::Record(_, record) = &fetched {
                bytes += record.weight();
            }
            into.push(fetched);
        }
    }
}

fn out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation
    )
}

/// Whether the error is about the data of a partition, not about the connection: a wrong checksum, a compression
/// that is unknown or does not decompress, an unknown format. The last two codes come from the broker and for
/// batches that never arrive whole.
fn is_of_data(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::MessageSizeTooLarge
    )
}
