//! Where the records of a topic come from: the path through the `kafka` bindings.

use std::collections::BTreeSet;

use tailwater_kafka_types::Template;

use crate::config::bindings::Binding;
use crate::config::bindings::kafka::{
    DefaultOffset, KafkaCacheClient, KafkaCacheServer, KafkaClient,
};
use crate::config::bindings::topics::Topic;
#[cfg(feature = "kafka")]
use crate::config::bindings::topics::TopicName;
use crate::config::plan::{self, Connection, Plan, Topics};

/// The path of a topic through the `kafka` bindings, from an exit of an `sse-kafka` route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicSource<'c> {
    /// The bindings on the path, in order.
    pub path: Vec<&'c Binding>,
    /// The `cache_client`, if there is one.
    pub cache_client: Option<&'c KafkaCacheClient>,
    /// The `cache_server`, if there is one.
    pub cache_server: Option<&'c KafkaCacheServer>,
    /// The cluster at its end.
    pub cluster: &'c KafkaClient,
    /// How the cluster is connected to.
    pub connection: Connection<'c>,
}

/// A Kafka cluster, reached by one path through the `kafka` bindings.
#[derive(Debug)]
pub(crate) struct Used<'c> {
    pub(crate) source: TopicSource<'c>,
    /// The topics of the `sse-kafka` routes that lead there.
    pub(crate) topics: Vec<&'c Template>,
}

/// The default offsets of the topics of a `cache_server`, and those of a `cache_client`.
#[cfg(feature = "kafka")]
pub(crate) struct DefaultOffsets([Vec<(TopicName, Option<DefaultOffset>)>; 2]);

#[cfg(feature = "kafka")]
impl DefaultOffsets {
    /// The same as [`TopicSource::default_offset`].
    pub(crate) fn of(&self, topic: &str) -> DefaultOffset {
        let first_match = |topics: &Vec<(TopicName, Option<DefaultOffset>)>| {
            topics.iter().find(|(name, _)| name.matches(topic)).and_then(|(_, offset)| *offset)
        };
        self.0.iter().find_map(first_match).unwrap_or_default()
    }
}

impl<'c> TopicSource<'c> {
    /// The same topic through a cache.
    #[must_use]
    pub fn behind(
        self,
        client: &plan::KafkaCacheClient<'c>,
        server: &plan::KafkaCacheServer<'c>,
    ) -> Self {
        let path = [client.binding, server.binding].into_iter().chain(self.path).collect();
        let cache_client = Some(client.options);
        let cache_server = Some(server.options);
        Self { path, cache_client, cache_server, ..self }
    }

    /// The names of the bindings on the path.
    pub(crate) fn names(&self) -> Vec<&'c str> {
        self.path.iter().map(|binding| binding.name.as_str()).collect()
    }

    /// Where a stream of this topic begins without an event id: the `defaultOffset` of the
    /// `cache_server`, otherwise that of the `cache_client`, otherwise [`DefaultOffset::Historical`].
    #[must_use]
    pub fn default_offset(&self, topic: &str) -> DefaultOffset {
        let of = |topics: &'c [Topic]| first_match(topics, topic)?.default_offset;
        of(self.server_topics()).or_else(|| of(self.client_topics())).unwrap_or_default()
    }

    /// The default offsets of all topics, without the configuration.
    #[cfg(feature = "kafka")]
    pub(crate) fn default_offsets(&self) -> DefaultOffsets {
        let of = |topics: &[Topic]| {
            topics.iter().map(|topic| (topic.name.clone(), topic.default_offset)).collect()
        };
        DefaultOffsets([of(self.server_topics()), of(self.client_topics())])
    }

    /// The topics, and the expressions for names of topics, for which a binding on the path has this default
    /// offset.
    #[must_use]
    pub fn topics_with(&self, offset: DefaultOffset) -> Vec<&'c str> {
        let has_offset = |topic: &&Topic| match topic.name.as_literal() {
            Some(name) => topic.default_offset.is_some() && self.default_offset(name) == offset,
            None => topic.default_offset == Some(offset),
        };
        let topics = self.server_topics().iter().chain(self.client_topics());
        let mut names: Vec<&str> =
            topics.filter(has_offset).map(|topic| topic.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The entry of the `cache_server` for a topic, with its models and transforms.
    #[must_use]
    pub fn topic(&self, topic: &str) -> Option<&'c Topic> {
        first_match(self.server_topics(), topic)
    }

    /// The topics that the bindings on the path name in `topics` or `bootstrap`.
    pub(crate) fn named(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        let topics = self.server_topics().iter().chain(self.client_topics());
        let names = topics.filter_map(|topic| topic.name.as_literal());
        names.chain(self.bootstrap().iter().map(String::as_str))
    }

    /// The topics that are read from the start of the program.
    #[must_use]
    pub fn bootstrap(&self) -> &'c [String] {
        self.cache_server.map(|server| server.bootstrap.as_slice()).unwrap_or_default()
    }

    /// `options.memory` of the `cache_server`.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<usize> {
        self.cache_server.and_then(|server| server.memory_bytes)
    }

    /// `options.max-record` of the `cache_server`.
    #[must_use]
    pub fn max_record_bytes(&self) -> Option<usize> {
        self.cache_server.and_then(|server| server.max_record_bytes)
    }

    /// `topics` of the `cache_server`, in their order.
    pub(crate) fn server_topics(&self) -> &'c [Topic] {
        self.cache_server.map(|server| server.topics.as_slice()).unwrap_or_default()
    }

    fn client_topics(&self) -> &'c [Topic] {
        self.cache_client.map(|client| client.topics.as_slice()).unwrap_or_default()
    }
}

/// The first entry that matches a topic.
pub(crate) fn first_match<'t>(topics: &'t [Topic], topic: &str) -> Option<&'t Topic> {
    topics.iter().find(|candidate| candidate.name.matches(topic))
}

impl<'c> Plan<'c> {
    /// Where the records of a topic come from, for an exit of an `sse-kafka` route. `None` if no route of the
    /// `kafka` bindings takes the topic.
    #[must_use]
    pub fn topic_source(&self, exit: &str, topic: &str) -> Option<TopicSource<'c>> {
        self.topics_of(exit)?.sources(Some(topic)).into_iter().next()
    }

    /// The topics of this path that the file names: the literal topics of `sse-kafka` routes, and the topics
    /// of `kafka` bindings.
    #[must_use]
    pub fn named_topics(&self, source: &TopicSource<'c>) -> BTreeSet<&'c str> {
        let first = source.path.first().and_then(|binding| self.topics_of(&binding.name));
        let of_bindings =
            first.into_iter().flat_map(|topics| source.named().map(move |topic| (topics, topic)));
        let of_routes = self.topic_routes.iter().filter_map(|route| {
            let topic = route.with.topic.as_literal().filter(|topic| !topic.is_empty())?;
            Some((&route.topics, topic))
        });
        let comes_by = |(topics, topic): &(&Topics<'c>, &str)| {
            let sources = topics.sources(Some(topic));
            sources.first().is_some_and(|found| found.names() == source.names())
        };
        of_bindings.chain(of_routes).filter(comes_by).map(|(_, topic)| topic).collect()
    }

    /// The Kafka clusters to which those `sse-kafka` bindings lead for which `counts` is true.
    pub(crate) fn clusters(&self, counts: impl Fn(&Binding) -> bool) -> Vec<Used<'c>> {
        let mut clusters: Vec<Used<'c>> = Vec::new();
        for route in self.topic_routes.iter().filter(|route| counts(route.binding)) {
            for source in route.topics.sources(None) {
                let names = source.names();
                match clusters.iter_mut().find(|used| used.source.names() == names) {
                    Some(used) => used.topics.push(&route.with.topic),
                    None => clusters.push(Used { source, topics: vec![&route.with.topic] }),
                }
            }
        }
        clusters
    }

    fn topics_of(&self, exit: &str) -> Option<&Topics<'c>> {
        let mut topics = self.topic_routes.iter().map(|route| &route.topics);
        topics.find(|topics| topics.binding().name == exit)
    }
}
