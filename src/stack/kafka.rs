//! `kafka` bindings: a cluster for each path through their exits, and the queries of routes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{Extensions, StatusCode};
use bytes::Bytes;
pub(crate) use tailwater_kafka::Cluster;
use tailwater_kafka::{
    ClusterOptions, ConvertRecord, EventIdFormat, FilterTemplate, KafkaSourceLayer, Mapping, Query,
    Stream, StreamOptions, Variable,
};
use tailwater_route::Matched;
use tailwater_schema::Part;
use tailwater_sse::{Rejection, Subscription};
use tower::{Layer as _, Service};

use crate::config::bind::Subject;
use crate::config::{
    self, Binding, DefaultOffset, EventId, KafkaAuthorization, PathCondition, SseKafkaWith,
    StartParameter, TopicCondition, TopicName, TopicSource, Transforms, plan,
};
use crate::models::{Contents, RecordModels};
use crate::stack::catalogs::UnboundModel;
use crate::stack::{Error, HttpService, SseOptions, StackBuilder, boxed, guard};
use crate::streams::{Probe, TrackLayer};

impl<'c> StackBuilder<'c> {
    /// The models of the topics on a path, if there are any.
    fn topic_models(&mut self, source: &TopicSource<'c>) -> Result<Option<TopicModels>, Error> {
        let mut models = Vec::new();
        for topic in source.server_topics() {
            let key = topic.key.as_ref().map(|model| self.catalogs.model(model)).transpose()?;
            let value = topic.value.as_ref().map(|model| self.catalogs.model(model)).transpose()?;
            let transforms = topic.transforms.clone().unwrap_or_default();
            models.push((topic.name.clone(), TopicModel { key, value, transforms }));
        }
        let has_model = |(_, of): &(_, TopicModel)| of.key.is_some() || of.value.is_some();
        Ok(models.iter().any(has_model).then_some(TopicModels(models)))
    }

    /// The event streams of a route of an `sse-kafka` binding.
    pub(super) fn topic_stream(
        &mut self,
        _: &Binding,
        route: &plan::Branch<'c, PathCondition, plan::Topics<'c>, SseKafkaWith>,
        streams: SseOptions,
    ) -> Result<HttpService, Error> {
        let with = &route.rule.with;
        // The streams are framed below the routes, so that a rejection is a plain response.
        let frames = self.frames(streams, with.variables().cloned().collect());
        let mut source = KafkaSourceLayer::new(mapping_of(with)).variables(value);
        if streams.contents.is_some() {
            let sources = route.next.sources(None);
            let mut topics = sources.iter().flat_map(TopicSource::server_topics);
            let topic = with.topic.as_literal();
            let may_be = |name: &TopicName| topic.is_none_or(|topic| name.matches(topic));
            let is_raw = topics.all(|topic| topic.value.is_none() || !may_be(&topic.name));
            source = source.converters(by_path(&self.event_models(streams), is_raw));
        }
        let track = TrackLayer::new(&self.streams, |stream: &Stream| Some(Probe(stream.probe())));
        Ok(boxed(track.layer(frames.layer(source.layer(self.topics(&route.next)?)))))
    }

    /// Starts the clusters of an exit.
    fn topics(&mut self, topics: &plan::Topics<'c>) -> Result<Topics, Error> {
        let client = match topics {
            plan::Topics::Cluster(cluster) => {
                return self.cluster(&cluster.source()).map(Topics::Cluster);
            }
            plan::Topics::Cache(client) => client,
        };
        let mut servers = Vec::new();
        for server in &client.routes {
            let mut clusters = Vec::new();
            for cluster in &server.next.routes {
                let source = cluster.next.source().behind(client, &server.next);
                let cluster = (cluster.rule.when.clone(), self.cluster(&source)?);
                clusters.push(cluster);
            }
            servers.push((server.rule.when.clone(), clusters.into()));
        }
        Ok(Topics::Cache(servers.into()))
    }

    fn cluster(&mut self, source: &TopicSource<'c>) -> Result<Cluster, Error> {
        let path = source.names().join("/");
        if let Some(cluster) = self.clusters.get(&path) {
            return Ok(cluster.clone());
        }
        let cluster = Cluster::new(self.cluster_options(source)?.name(self.label(&path)));
        let binding = source.path.last().map(|binding| binding.name.clone()).unwrap_or_default();
        let cluster = cluster.map_err(|source| Error::Kafka { binding, source })?;
        self.clusters.insert(path, cluster.clone());
        Ok(cluster)
    }

    /// The options of a connection to a Kafka, and the topics that the configuration names.
    pub(super) fn connection_options(
        &self,
        source: &TopicSource<'c>,
    ) -> Result<ClusterOptions, Error> {
        let servers = source.cluster.servers.iter().map(ToString::to_string);
        let mut options = ClusterOptions::new(servers);
        for topic in self.plan.named_topics(source) {
            options = options.named_topic(topic);
        }
        if let Some(KafkaAuthorization::Password { mechanism, username, password, .. }) =
            &source.cluster.authorization
        {
            options = options.sasl(sasl(*mechanism), username, password.reveal());
        }
        if let Some(tls) = source.connection.tls() {
            options = options.tls(self.kafka_tls(tls)?);
        }
        Ok(options)
    }

    fn cluster_options(&mut self, source: &TopicSource<'c>) -> Result<ClusterOptions, Error> {
        let mut options = self.connection_options(source)?;
        if let Some(memory_bytes) = source.memory_bytes() {
            options = options.memory_bytes(memory_bytes);
        }
        if let Some(max_record_bytes) = source.max_record_bytes() {
            options = options.max_record_bytes(max_record_bytes);
        }
        for topic in source.bootstrap() {
            options = options.preload_topic(topic);
        }
        let offsets = source.default_offsets();
        options = options.default_offsets(move |topic| match offsets.of(topic) {
            DefaultOffset::Historical => tailwater_kafka::DefaultOffset::Historical,
            DefaultOffset::Live => tailwater_kafka::DefaultOffset::Live,
        });
        if let Some(models) = self.topic_models(source)? {
            options = options.converters(move |topic| models.of(topic));
        }
        // A filter without a key looks up its records by its first header, which needs an index.
        let filters = self.plan.topic_routes.iter().flat_map(|route| &route.with.filters);
        let keyless = filters
            .filter(|filter| filter.key.is_none())
            .filter_map(|filter| filter.headers.first());
        Ok(keyless.fold(options, |options, (name, _)| options.index_header(name.clone())))
    }
}

/// The model of the events of a stream, by the path of its request. `is_raw`: the values of records are as they are
/// in Kafka.
fn by_path(
    contents: &Contents,
    is_raw: bool,
) -> impl Fn(&Subscription) -> Option<Arc<dyn ConvertRecord>> + use<> {
    let models = contents.0.iter().map(|(path, model)| {
        (path.clone(), Arc::new(RecordModels::of_events(model.clone(), is_raw)))
    });
    let models: Vec<_> = models.collect();
    move |subscription| {
        let path = subscription.parts().uri.path();
        let (_, model) = models.iter().find(|(expression, _)| expression.matches(path))?;
        Some(Arc::<RecordModels>::clone(model))
    }
}

/// The models and transforms of the topics of a cluster.
struct TopicModels(Vec<(TopicName, TopicModel)>);

/// What an entry of `topics` makes of records.
struct TopicModel {
    key: Option<UnboundModel>,
    value: Option<UnboundModel>,
    transforms: Transforms,
}

impl TopicModels {
    /// What converts the records of a topic. The first entry that matches counts.
    fn of(&self, topic: &str) -> Option<Arc<dyn ConvertRecord>> {
        let (_, of_topic) = self.0.iter().find(|(name, _)| name.matches(topic))?;
        let bind = |model: &Option<UnboundModel>, part| {
            model.as_ref().and_then(|model| model.bind(Subject::Record { topic, part }))
        };
        let key = bind(&of_topic.key, Part::Key);
        let value = bind(&of_topic.value, Part::Value);
        if key.is_none() && value.is_none() {
            return None;
        }
        Some(Arc::new(RecordModels::new(key, value, of_topic.transforms.clone())))
    }
}

fn mapping_of(with: &config::SseKafkaWith) -> Mapping {
    let format = match with.event_id {
        EventId::Etag => EventIdFormat::Etag,
        EventId::KeyAndEtag => EventIdFormat::KeyAndEtag,
    };
    let options = StreamOptions::new()
        .event_id_format(format)
        .id_only_blocks(with.positions)
        .live_event(with.live)
        .invalid_gaps(with.invalid_gaps);
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

/// The value of a variable in the templates of an `sse-kafka` route: a parameter of the path, or a claim.
fn value(variable: &Variable, extensions: &Extensions) -> Option<Bytes> {
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

/// Routes of a `kafka` binding, which match the name of a topic.
type CacheRoutes<T> = Arc<[(Vec<TopicCondition>, T)]>;

/// Sends each query to the cluster of its topic, by the routes of the `kafka` bindings.
#[derive(Clone)]
enum Topics {
    Cluster(Cluster),
    Cache(CacheRoutes<CacheRoutes<Cluster>>),
}

impl Topics {
    fn cluster(&self, topic: &str) -> Option<&Cluster> {
        match self {
            Topics::Cluster(cluster) => Some(cluster),
            Topics::Cache(servers) => first(first(servers, topic)?, topic),
        }
    }
}

/// The target of the first route that matches a topic.
fn first<'r, T>(routes: &'r CacheRoutes<T>, topic: &str) -> Option<&'r T> {
    let takes = |when: &[TopicCondition]| {
        when.is_empty() || when.iter().any(|condition| condition.matches(topic))
    };
    routes.iter().find(|(when, _)| takes(when)).map(|(_, next)| next)
}

impl Service<Query> for Topics {
    type Response = Stream;
    type Error = Rejection;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Rejection>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, query: Query) -> Self::Future {
        let cluster = self.cluster(query.topic()).cloned();
        Box::pin(async move {
            let Some(mut cluster) = cluster else {
                let reason = "no route of the kafka bindings matches the topic";
                return Err(Rejection::new(StatusCode::NOT_FOUND, reason));
            };
            cluster.call(query).await.map_err(Into::into)
        })
    }
}
