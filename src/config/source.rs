//! Where the records of a topic come from: the path through the `kafka` bindings.

use std::collections::BTreeSet;

use tailwater_kafka_types::Template;

use super::Config;
use super::bindings::kafka::{
    DefaultOffset, KafkaCacheClient, KafkaCacheServer, KafkaClient, Topic,
};
use super::bindings::{Binding, Kind};
use super::plan::{self, Connection, Resolver};

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

/// A Kafka, by one path through the `kafka` bindings.
#[derive(Debug)]
pub(crate) struct Used<'c> {
    pub(crate) source: TopicSource<'c>,
    /// What the `sse-kafka` routes that lead there take for a topic.
    pub(crate) topics: Vec<&'c Template>,
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

    /// Where a stream of this topic without an id begins: what `cache_server` says of the topic,
    /// else what `cache_client` says, else [`DefaultOffset::Historical`].
    #[must_use]
    pub fn default_offset(&self, topic: &str) -> DefaultOffset {
        self.topics()
            .find(|candidate| candidate.name == topic)
            .and_then(|topic| topic.default_offset)
            .unwrap_or_default()
    }

    /// The topics that are spelled out with this default offset.
    #[must_use]
    pub fn topics_with(&self, offset: DefaultOffset) -> Vec<&'c str> {
        let mut names: Vec<&str> = self.topics().map(|topic| topic.name.as_str()).collect();
        names.retain(|name| self.default_offset(name) == offset);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The topics that the bindings on the path name, whatever they say of them.
    pub(crate) fn named(&self) -> impl Iterator<Item = &'c str> + use<'c> {
        let names = self.all_topics().map(|topic| topic.name.as_str());
        names.chain(self.bootstrap().iter().map(String::as_str))
    }

    /// The topics that are read from the start on.
    #[must_use]
    pub fn bootstrap(&self) -> &'c [String] {
        self.cache_server.map(|server| server.bootstrap.as_slice()).unwrap_or_default()
    }

    /// What is kept of all topics together, if the file says so.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<usize> {
        self.cache_server.and_then(|server| server.memory_bytes)
    }

    /// The largest record that is delivered, if the file says so.
    #[must_use]
    pub fn max_record_bytes(&self) -> Option<usize> {
        self.cache_server.and_then(|server| server.max_record_bytes)
    }

    fn topics(&self) -> impl Iterator<Item = &'c Topic> + use<'c> {
        self.all_topics().filter(|topic| topic.default_offset.is_some())
    }

    fn all_topics(&self) -> impl Iterator<Item = &'c Topic> + use<'c> {
        let server = self.cache_server.map(|server| server.topics.as_slice()).unwrap_or_default();
        let client = self.cache_client.map(|client| client.topics.as_slice()).unwrap_or_default();
        server.iter().chain(client)
    }
}

impl Config {
    /// Where the records of a topic come from, for the exit of an `sse-kafka` route; none where
    /// no route of the `kafka` bindings takes the topic.
    #[must_use]
    pub fn topic_source(&self, exit: &str, topic: &str) -> Option<TopicSource<'_>> {
        self.sources(exit, Some(topic)).into_iter().next()
    }

    /// The topics that the file names of those that come by this path: fixed ones of `sse-kafka` routes, and
    /// those that the `kafka` bindings name.
    #[must_use]
    pub fn named_topics<'c>(&'c self, source: &TopicSource<'c>) -> BTreeSet<&'c str> {
        let first = source.path.first().map(|binding| binding.name.as_str()).unwrap_or_default();
        let of_bindings = source.named().map(|topic| (first, topic));
        let routes = self.bindings.iter().filter_map(|binding| match &binding.kind {
            Kind::SseKafka(mapping) => Some(&mapping.routes),
            _ => None,
        });
        let of_routes = routes.flatten().filter_map(|route| {
            let topic = route.with.topic.as_literal().filter(|topic| !topic.is_empty())?;
            Some((route.exit.as_str(), topic))
        });
        let comes_by = |(exit, topic): &(&str, &str)| {
            self.topic_source(exit, topic).is_some_and(|found| found.names() == source.names())
        };
        of_bindings.chain(of_routes).filter(comes_by).map(|(_, topic)| topic).collect()
    }

    /// Each Kafka that `sse-kafka` bindings lead to, of those that `counts` names.
    pub(crate) fn clusters(&self, counts: impl Fn(&Binding) -> bool) -> Vec<Used<'_>> {
        let mut clusters: Vec<Used<'_>> = Vec::new();
        for binding in self.bindings.iter().filter(|binding| counts(binding)) {
            let Kind::SseKafka(mapping) = &binding.kind else { continue };
            for route in &mapping.routes {
                for source in self.topic_sources(&route.exit) {
                    let names = source.names();
                    match clusters.iter_mut().find(|used| used.source.names() == names) {
                        Some(used) => used.topics.push(&route.with.topic),
                        None => clusters.push(Used { source, topics: vec![&route.with.topic] }),
                    }
                }
            }
        }
        clusters
    }

    /// All ways that a topic may take, whatever its name.
    #[must_use]
    pub fn topic_sources(&self, exit: &str) -> Vec<TopicSource<'_>> {
        self.sources(exit, None)
    }

    fn sources(&self, exit: &str, topic: Option<&str>) -> Vec<TopicSource<'_>> {
        let topics = Resolver::new(self).topics_of(exit);
        topics.map(|topics| topics.sources(topic)).unwrap_or_default()
    }
}
