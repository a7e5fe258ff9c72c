//! `kafka` bindings: a cluster for each path that their exits take, and what is asked of it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{Extensions, StatusCode};
use bytes::Bytes;
use tailwater_kafka::{
    Cluster, ClusterOptions, EventIdFormat, FilterTemplate, Mapping, Query, Stream, StreamOptions,
    Variable,
};
use tailwater_route::Matched;
use tailwater_sse::Rejection;
use tower::Service;

use super::{Error, StackBuilder, guard};
use crate::config::{
    self, Config, DefaultOffset, EventId, KafkaAuthorization, Kind, StartParameter, TopicSource,
};

impl StackBuilder<'_> {
    pub(super) fn topics(&mut self, exit: &str) -> Result<Topics, Error> {
        let config = Arc::clone(self.config);
        for source in config.topic_sources(exit) {
            let key = path(&source);
            if !self.clusters.contains_key(&key) {
                let cluster = Cluster::new(self.cluster_options(&source)?.name(self.label(&key)));
                let binding =
                    source.path.last().map(|binding| binding.name.clone()).unwrap_or_default();
                let cluster = cluster.map_err(|source| Error::Kafka { binding, source })?;
                self.clusters.insert(key, cluster);
            }
        }
        Ok(Topics { config, exit: exit.into(), clusters: Arc::new(self.clusters.clone()) })
    }

    fn cluster_options(&self, source: &TopicSource<'_>) -> Result<ClusterOptions, Error> {
        let servers = source.cluster.servers.iter().map(ToString::to_string);
        let mut options = ClusterOptions::new(servers);
        for topic in self.config.named_topics(source) {
            options = options.named_topic(topic);
        }
        if let Some(KafkaAuthorization::Password { mechanism, username, password, .. }) =
            &source.cluster.authorization
        {
            options = options.sasl(sasl(*mechanism), username, password.reveal());
        }
        let way_out = self.config.binding(&source.cluster.exit);
        if let Some((binding, Kind::TlsClient(tls))) =
            way_out.map(|binding| (binding, &binding.kind))
        {
            options = options.tls(self.kafka_tls(binding, tls)?);
        }
        if let Some(memory_bytes) = source.memory_bytes() {
            options = options.memory_bytes(memory_bytes);
        }
        if let Some(max_record_bytes) = source.max_record_bytes() {
            options = options.max_record_bytes(max_record_bytes);
        }
        for topic in source.bootstrap() {
            options = options.preload_topic(topic);
        }
        for topic in source.topics_with(DefaultOffset::Live) {
            options = options.default_offset(topic, tailwater_kafka::DefaultOffset::Live);
        }
        // A filter without a key finds its records by its first header.
        let routes = self.config.bindings.iter().filter_map(|binding| match &binding.kind {
            Kind::SseKafka(mapping) => Some(&mapping.routes),
            _ => None,
        });
        let filters = routes.flatten().flat_map(|route| &route.with.filters);
        let keyless = filters
            .filter(|filter| filter.key.is_none())
            .filter_map(|filter| filter.headers.first());
        Ok(keyless.fold(options, |options, (name, _)| options.index_header(name.clone())))
    }
}

pub(super) fn mapping_of(with: &config::SseKafkaWith) -> Mapping {
    let format = match with.event_id {
        EventId::Etag => EventIdFormat::Etag,
        EventId::KeyAndEtag => EventIdFormat::KeyAndEtag,
    };
    let options = StreamOptions::new()
        .event_id_format(format)
        .id_only_blocks(with.positions)
        .live_event(with.live);
    let mut mapping = Mapping::new(with.topic.clone())
        .options(options)
        .allow_from(with.start.contains(&StartParameter::From))
        .allow_since(with.start.contains(&StartParameter::Since));
    for filter in &with.filters {
        let mut of = FilterTemplate::any();
        if let Some(key) = &filter.key {
            of = of.key(key.clone());
        }
        for (name, value) in &filter.headers {
            of = of.header(name.clone(), value.clone());
        }
        mapping = mapping.filter(of);
    }
    mapping
}

/// Fills the templates of a `sse-kafka` route with what its path captured and its guard knows.
pub(super) fn value(variable: &Variable, extensions: &Extensions) -> Option<Bytes> {
    match variable {
        Variable::Parameter(name) => {
            let value = extensions.get::<Matched>()?.parameter(name)?;
            Some(Bytes::copy_from_slice(value))
        }
        claim => guard::claim(claim, extensions.get()?),
    }
}

fn sasl(mechanism: config::SaslMechanism) -> tailwater_kafka::SaslMechanism {
    match mechanism {
        config::SaslMechanism::Plain => tailwater_kafka::SaslMechanism::Plain,
        config::SaslMechanism::ScramSha1 => tailwater_kafka::SaslMechanism::ScramSha1,
        config::SaslMechanism::ScramSha256 => tailwater_kafka::SaslMechanism::ScramSha256,
        config::SaslMechanism::ScramSha512 => tailwater_kafka::SaslMechanism::ScramSha512,
    }
}

fn path(source: &TopicSource<'_>) -> String {
    source.names().join("/")
}

/// Sends each query to the cluster that the routes of the `kafka` bindings lead its topic to.
#[derive(Clone)]
pub(super) struct Topics {
    config: Arc<Config>,
    exit: Arc<str>,
    clusters: Arc<HashMap<String, Cluster>>,
}

impl Service<Query> for Topics {
    type Response = Stream;
    type Error = Rejection;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Rejection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, query: Query) -> Self::Future {
        let source = self.config.topic_source(&self.exit, query.topic());
        let cluster = source.and_then(|source| self.clusters.get(&path(&source)).cloned());
        Box::pin(async move {
            let Some(mut cluster) = cluster else {
                let reason = "no route of the kafka bindings takes the topic";
                return Err(Rejection::new(StatusCode::NOT_FOUND, reason));
            };
            cluster.call(query).await.map_err(Into::into)
        })
    }
}
