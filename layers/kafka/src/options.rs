use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tailwater_kafka_types::{Budget, EventIdFormat, Limits, SaslMechanism};

use crate::Error;
use crate::broker::contact::Reachability;
use crate::broker::security::TlsOptions;
use crate::data::convert::{ConvertRecord, Converters};
use crate::data::start::DefaultOffset;
use crate::timing::Timing;

const LARGEST_RECORD_BYTES: usize = 1024 * 1024 * 1024;

/// The format of the events of a stream: for a [`Query`](crate::Query), and for all queries of a
/// [`Mapping`](crate::Mapping).
///
/// ```
/// use tailwater_kafka::{EventIdFormat, Mapping, Query, StreamOptions, Template};
///
/// let options = StreamOptions::new().event_id_format(EventIdFormat::KeyAndEtag);
/// let query = Query::new("orders").options(options);
/// let mapping = Mapping::new(Template::literal("orders")).options(options);
/// # let _ = (query, mapping);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct StreamOptions {
    pub(crate) event_id_format: EventIdFormat,
    pub(crate) timestamps: bool,
    pub(crate) id_only_blocks: bool,
    pub(crate) live_event: bool,
    pub(crate) invalid_gaps: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            event_id_format: EventIdFormat::Etag,
            timestamps: false,
            id_only_blocks: true,
            live_event: false,
            invalid_gaps: false,
        }
    }

    /// The format of the event ids. [`EventIdFormat::Etag`] by default.
    pub fn event_id_format(mut self, format: EventIdFormat) -> Self {
        self.event_id_format = format;
        self
    }

    /// Whether events begin with a `timestamp` field, the time of the record. False by default. Streams of a
    /// [`Mapping`](crate::Mapping) have it also if the request asks for it
    /// ([`Subscription::timestamps`](tailwater_sse::Subscription::timestamps)).
    pub fn timestamps(mut self, timestamps: bool) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// Whether a block that has only an `id` line is sent if no event tells the client its position.
    /// `EventSource` remembers the id and dispatches no event. True by default.
    pub fn id_only_blocks(mut self, id_only_blocks: bool) -> Self {
        self.id_only_blocks = id_only_blocks;
        self
    }

    /// Whether the stream sends one `event:live`, with the data `{}`, when it has delivered every record that
    /// was in the topic when the stream began and that passes the filters. A stream that begins at the end
    /// sends it at once. The event waits until Kafka has answered where the topic ends.
    ///
    /// False by default. Streams of a [`Mapping`](crate::Mapping) send it also if the query of the request
    /// has `liveEvent=true`.
    pub fn live_event(mut self, live_event: bool) -> Self {
        self.live_event = live_event;
        self
    }

    /// Whether an `event:gap` with the reason `invalid` is sent in place of records that the topic's
    /// converter rejects ([`ClusterOptions::converter`]), or that of the stream
    /// ([`Query::converter`](crate::Query::converter)). Neighbouring records that the stream has not been told
    /// of yet are one gap. The gap does not wait for more of them: if the next record is rejected later,
    /// another gap begins where this one ended. As any gap it is sent no matter what the filters are. False by
    /// default: nothing is sent.
    pub fn invalid_gaps(mut self, invalid_gaps: bool) -> Self {
        self.invalid_gaps = invalid_gaps;
        self
    }
}

/// Finds the default offset of a topic.
type DefaultLookup = dyn Fn(&str) -> DefaultOffset + Send + Sync;

/// The options of a [`Cluster`](crate::Cluster).
#[derive(Clone)]
#[must_use]
pub struct ClusterOptions {
    name: String,
    properties: Vec<(String, String)>,
    sasl: bool,
    tls: Option<TlsOptions>,
    pub(crate) memory_bytes: usize,
    pub(crate) max_topics: usize,
    pub(crate) max_record_bytes: usize,
    pub(crate) max_missing_topics: usize,
    pub(crate) history_readers: usize,
    pub(crate) named: Vec<String>,
    pub(crate) preloaded: Vec<String>,
    defaults: HashMap<String, DefaultOffset>,
    default_lookup: Option<Arc<DefaultLookup>>,
    pub(crate) indexed_headers: Vec<Bytes>,
    pub(crate) converters: Converters,
    pub(crate) timing: Timing,
}

impl fmt::Debug for ClusterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the properties: a password is among them.
        f.debug_struct("ClusterOptions")
            .field("memory_bytes", &self.memory_bytes)
            .field("name", &self.name)
            .field("max_topics", &self.max_topics)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("max_missing_topics", &self.max_missing_topics)
            .field("history_readers", &self.history_readers)
            .field("named", &self.named)
            .field("preloaded", &self.preloaded)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl ClusterOptions {
    /// The cluster that these servers (`host:port`) belong to.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let servers: Vec<String> = servers.into_iter().map(Into::into).collect();
        let limits = Limits::default();
        Self {
            name: String::new(),
            properties: vec![("bootstrap.servers".to_owned(), servers.join(","))],
            sasl: false,
            tls: None,
            memory_bytes: limits.memory_bytes,
            max_topics: limits.max_topics,
            max_record_bytes: limits.max_record_bytes,
            max_missing_topics: 1000,
            history_readers: limits.history_readers,
            named: Vec::new(),
            preloaded: Vec::new(),
            defaults: HashMap::new(),
            default_lookup: None,
            indexed_headers: Vec::new(),
            converters: Converters::default(),
            timing: Timing::default(),
        }
    }

    /// The name of the cluster in the log. By default its servers.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Authenticates to Kafka. Default: no authentication. Without [`tls`](Self::tls),
    /// [`SaslMechanism::Plain`] sends the password in the clear.
    pub fn sasl(mut self, mechanism: SaslMechanism, username: &str, password: &str) -> Self {
        self.sasl = true;
        self.property("sasl.mechanism", mechanism.to_string())
            .property("sasl.username", username)
            .property("sasl.password", password)
    }

    /// Connects by TLS. Default: in the clear.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets a property of librdkafka. It has no effect on properties that correctness depends on: offsets,
    /// isolation and groups.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// The bytes that the logs of all topics together keep in memory. 256 MiB by default. Records that are not
    /// kept are read from Kafka again for the streams that need them.
    ///
    /// At most a quarter of it is for the latest records of compacted topics that are replayed, and
    /// up to twice the size of those records for their snapshots. The logs get the rest. A topic with too
    /// many keys for that is replayed as Kafka has it.
    pub fn memory_bytes(mut self, memory_bytes: usize) -> Self {
        self.memory_bytes = memory_bytes;
        self
    }

    /// How many topics that Kafka has are held at once, beside those that the configuration names
    /// ([`named_topic`](Self::named_topic), [`preload_topic`](Self::preload_topic)). 1000 by default. A topic
    /// without streams makes room for another one. If all topics have streams, queries for more of them fail
    /// with [`Error::TooManyTopics`].
    pub fn max_topics(mut self, max_topics: usize) -> Self {
        self.max_topics = max_topics;
        self
    }

    /// The largest record that is delivered: key, value and headers after decompression, in bytes. 16 MiB
    /// by default, and at most 1 GiB, the limit of librdkafka. In place of a larger record, all streams of
    /// the topic get an `event:gap` with the reason `too_large`.
    ///
    /// A response of a broker may have 100 MB, or three times this size if that is more
    /// (`receive.message.max.bytes`). A batch that is larger on the disk can't be received.
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes.min(LARGEST_RECORD_BYTES);
        self
    }

    /// How many topics that Kafka does not have or does not permit are held at once, beside those that the
    /// configuration names. 1000 by default. Queries for more of them fail with [`Error::TooManyTopics`] once
    /// Kafka has answered. As many more may wait for an answer at once.
    pub fn max_missing_topics(mut self, max_missing_topics: usize) -> Self {
        self.max_missing_topics = max_missing_topics;
        self
    }

    /// Holds a topic no matter how many others are held. Kafka is queried for it from the start. The log and
    /// [`Health`](crate::Health) say if Kafka does not have it or does not permit it. It is consumed only
    /// while it has streams.
    pub fn named_topic(mut self, topic: impl Into<String>) -> Self {
        self.named.push(topic.into());
        self
    }

    /// How many consumers read history at once, at least one. 2 by default. Each keeps up to 49 MiB
    /// of its own and 20 MiB in librdkafka.
    pub fn history_readers(mut self, history_readers: usize) -> Self {
        self.history_readers = history_readers.max(1);
        self
    }

    /// As [`named_topic`](Self::named_topic), and consumes the topic from the start, whether it has streams or
    /// not.
    pub fn preload_topic(mut self, topic: impl Into<String>) -> Self {
        self.preloaded.push(topic.into());
        self
    }

    /// Where streams of this topic without an id begin. [`DefaultOffset::Historical`] by default.
    pub fn default_offset(mut self, topic: impl Into<String>, offset: DefaultOffset) -> Self {
        self.defaults.insert(topic.into(), offset);
        self
    }

    /// As [`default_offset`](Self::default_offset), for topics that are not known beforehand. `lookup` is
    /// called with the name of each topic that has no default offset of its own, for each stream without an
    /// id. It must not block.
    pub fn default_offsets(
        mut self,
        lookup: impl Fn(&str) -> DefaultOffset + Send + Sync + 'static,
    ) -> Self {
        self.default_lookup = Some(Arc::new(lookup));
        self
    }

    pub(crate) fn default_offset_of(&self, topic: &str) -> DefaultOffset {
        match (self.defaults.get(topic), &self.default_lookup) {
            (Some(offset), _) => *offset,
            (None, Some(lookup)) => lookup(topic),
            (None, None) => DefaultOffset::default(),
        }
    }

    /// Converts the records of this topic before they enter its log. Default: records are delivered as they
    /// are in Kafka.
    pub fn converter(mut self, topic: impl Into<String>, converter: impl ConvertRecord) -> Self {
        self.converters.named.insert(topic.into(), Arc::new(converter));
        self
    }

    /// As [`converter`](Self::converter), for topics that are not known beforehand. `lookup` is called with
    /// the name of each topic that no other converter is for, when a stream asks for the topic. It must not
    /// block.
    pub fn converters(
        mut self,
        lookup: impl Fn(&str) -> Option<Arc<dyn ConvertRecord>> + Send + Sync + 'static,
    ) -> Self {
        self.converters.lookup = Some(Arc::new(lookup));
        self
    }

    /// Indexes records by this header. A filter without a key finds its records by an indexed header. If it
    /// has none, it tests every record of the topic.
    pub fn index_header(mut self, name: impl Into<Bytes>) -> Self {
        let name = name.into();
        if !self.indexed_headers.contains(&name) {
            self.indexed_headers.push(name);
        }
        self
    }

    /// The most that a cluster with these options keeps in memory.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let mut limits = Limits::default();
        limits.memory_bytes = self.memory_bytes;
        limits.max_topics = self.max_topics;
        limits.max_record_bytes = self.max_record_bytes;
        limits.history_readers = self.history_readers;
        Budget::new(&limits)
    }

    pub(crate) fn reachability(&self) -> Reachability {
        let servers = self.properties.iter().rev().find(|(name, _)| name == "bootstrap.servers");
        Reachability::new(&self.name, servers.map_or("", |(_, servers)| servers))
    }

    /// The properties of librdkafka. A property that was set by name overrides those of other options.
    pub(crate) fn properties(&self) -> Result<Vec<(String, String)>, Error> {
        let protocol = match (self.sasl, &self.tls) {
            (false, None) => "plaintext",
            (true, None) => "sasl_plaintext",
            (false, Some(_)) => "ssl",
            (true, Some(_)) => "sasl_ssl",
        };
        let tls = self.tls.as_ref().map_or(Ok(Vec::new()), TlsOptions::properties)?;
        let own = tls.into_iter().chain([("security.protocol", protocol.to_owned())]);
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Ok(own.chain(self.properties.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_that_of_tls_and_sasl() {
        let plain = || ClusterOptions::new(["a:1", "b:2"]);
        let sasl =
            |options: ClusterOptions| options.sasl(SaslMechanism::ScramSha512, "me", "secret");
        let tls = |options: ClusterOptions| options.tls(TlsOptions::new());
        let rows = [
            (plain(), "plaintext"),
            (sasl(plain()), "sasl_plaintext"),
            (tls(plain()), "ssl"),
            (tls(sasl(plain())), "sasl_ssl"),
            (sasl(tls(plain())), "sasl_ssl"),
        ];
        for (options, protocol) in rows {
            let properties: HashMap<_, _> = options.properties().unwrap().into_iter().collect();
            assert_eq!(properties["security.protocol"], protocol);
            assert_eq!(properties["bootstrap.servers"], "a:1,b:2");
            assert_eq!(properties.contains_key("sasl.mechanism"), protocol.starts_with("sasl"));
            assert_eq!(properties.contains_key("ssl.ca.location"), protocol.ends_with("ssl"));
        }
    }
}
