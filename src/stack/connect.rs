//! What registries and brokers answer: `tailwater check --connect`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, iter};
use tailwater_schema::Part;
use tailwater_schema::catalog::registry::{Fetched, Registry};
use tailwater_schema::catalog::{Catalog, Framing, Lookup, SchemaKind, SchemaRef, SchemaText};
use tailwater_schema::model::Check;
use tokio::time::{Instant, timeout_at};

use crate::config::bind::{self, Subject};
use crate::config::{self, Config, KafkaCacheServer, Kind, Model, SchemaName, Topic};
use crate::escape::{error_line, one_line};
use crate::stack::catalogs::Catalogs;
use crate::stack::listeners::{Stack, of_namespace};
use crate::stack::{Error, StackBuilder};

/// How long a cluster may take to answer.
#[cfg(feature = "kafka")]
const CLUSTER: Duration = Duration::from_secs(10);
/// How long a cluster may take to close its connections.
#[cfg(feature = "kafka")]
const CLOSING: Duration = Duration::from_secs(10);
/// How long a registry may take for all schemas.
const REGISTRY: Duration = Duration::from_secs(30);
/// So many schemas are asked for at the same time.
const AT_ONCE: usize = 8;
/// Of so many topics that match an expression the schemas are asked for.
const MATCHES: usize = 100;

/// What registries and brokers have answered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Answers {
    /// The answers in words, a line for each.
    pub text: String,
    /// Whether each registry and each cluster has answered, and has all schemas and topics that the configuration
    /// names.
    pub complete: bool,
}

/// Asks the registries of all namespaces for the schemas that models name, and the Kafka clusters for the topics
/// that the configuration names. `folder` is the base of the relative paths in the configuration.
///
/// Clusters have 10 s to answer, and registries 30 s. Of the topics that match an expression, 100 count.
///
/// # Errors
/// A certificate can't be read or used, or librdkafka rejects an option. See the variants of [`Error`].
///
/// # Panics
/// If it is called outside of a Tokio runtime.
pub async fn connect(namespaces: &[Config], folder: &Path) -> Result<Answers, Error> {
    let (stack, places) = Stack::empty(namespaces);
    let mut answers = Answers { text: "\nconnected:\n".to_owned(), complete: true };
    for config in namespaces {
        let of_this = |source| of_namespace(config, namespaces, source);
        let plan = config.plan();
        let builder = stack.builder(config, &plan, namespaces, &places, folder);
        // The names of the topics that match expressions come from the clusters.
        let (of_clusters, listings) = clusters(&builder).await.map_err(of_this)?;
        let catalogs = Catalogs::new(config, folder);
        let of_catalogs = of_catalogs(config, &catalogs, &listings).await.map_err(of_this)?;
        answers.append(of_catalogs);
        answers.append(of_clusters);
    }
    Ok(answers)
}

impl Answers {
    fn new() -> Self {
        Self { text: String::new(), complete: true }
    }

    fn append(&mut self, more: Self) {
        self.text.push_str(&more.text);
        self.complete &= more.complete;
    }

    fn line(&mut self, depth: usize, text: &str) {
        let indent = "  ".repeat(depth);
        // A String can be written to.
        let _ = writeln!(self.text, "{indent}{}", one_line(text));
    }

    /// A line about what is missing.
    fn problem(&mut self, depth: usize, text: &str) {
        self.complete = false;
        self.line(depth, text);
    }
}

/// The topics of the cluster at the end of a path of bindings.
struct Listing<'c> {
    path: Vec<&'c str>,
    /// `None` if the cluster does not answer.
    topics: Option<Vec<String>>,
}

/// Models that name the same schema.
struct Named<'c> {
    schema: SchemaRef,
    models: Vec<&'c Model>,
}

/// The schemas of a catalog that models name.
#[derive(Default)]
struct Schemas<'c> {
    named: Vec<Named<'c>>,
    /// What is not asked for.
    left: Vec<String>,
}

impl<'c> Schemas<'c> {
    /// The schemas of a catalog. The subject of a topic is known if its name is.
    fn of(config: &'c Config, catalog: &config::Catalog, listings: &[Listing<'_>]) -> Self {
        let mut schemas = Self::default();
        for binding in &config.bindings {
            match &binding.kind {
                Kind::KafkaCacheServer(server) => {
                    let behind = listings.iter().filter(|of| of.path.contains(&&*binding.name));
                    let topics: Vec<_> = behind.map(|of| of.topics.as_ref()).collect();
                    for topic in &server.topics {
                        schemas.of_topic(catalog, server, topic, &topics);
                    }
                }
                Kind::SseServer(server) => {
                    for request in &server.requests {
                        schemas.add(catalog, &request.content, Subject::Event);
                    }
                }
                _ => {}
            }
        }
        schemas
    }

    fn of_topic(
        &mut self,
        catalog: &config::Catalog,
        server: &KafkaCacheServer,
        entry: &'c Topic,
        listed: &[Option<&Vec<String>>],
    ) {
        let models = [(Part::Key, &entry.key), (Part::Value, &entry.value)];
        let models = models.iter().filter_map(|(part, model)| Some((*part, model.as_ref()?)));
        let mut has_expression = false;
        for (part, model) in models.clone() {
            let by_topic = names_by_topic(model, catalog);
            match entry.name.as_literal() {
                Some(topic) => self.add(catalog, model, Subject::Record { topic, part }),
                None if by_topic => has_expression = true,
                None => self.add(catalog, model, Subject::Event),
            }
        }
        if !has_expression {
            return;
        }
        let name = &entry.name;
        if listed.is_empty() || listed.contains(&None) {
            return self.left.push(format!("topics that match {name} are not known"));
        }
        let is_of_entry = |topic: &&String| {
            let first = server.topics.iter().find(|entry| entry.name.matches(topic));
            !topic.starts_with("__") && first.is_some_and(|first| std::ptr::eq(first, entry))
        };
        let mut matching: Vec<&String> =
            listed.iter().flatten().copied().flatten().filter(is_of_entry).collect();
        matching.sort_unstable();
        matching.dedup();
        for topic in matching.iter().take(MATCHES) {
            for (part, model) in models.clone().filter(|(_, model)| names_by_topic(model, catalog))
            {
                self.add(catalog, model, Subject::Record { topic, part });
            }
        }
        match matching.len() {
            0 => self.left.push(format!("no topic matches {name}")),
            count if count > MATCHES => {
                let more = count - MATCHES;
                self.left.push(format!("{more} more topics match {name} and were not asked for"));
            }
            _ => {}
        }
    }

    /// Adds the schema that a model names, if it is of this catalog.
    fn add(&mut self, catalog: &config::Catalog, model: &'c Model, subject: Subject<'_>) {
        if matches!(subject, Subject::Event) && names_by_topic(model, catalog) {
            return;
        }
        let choice = model.schema().filter(|choice| choice.catalog == catalog.name);
        let schema =
            choice.and_then(|choice| bind::schema_ref(&catalog.kind, &choice.schema, subject));
        let Some(schema) = schema else { return };
        match self.named.iter_mut().find(|named| named.schema == schema) {
            Some(named) => named.models.push(model),
            None => self.named.push(Named { schema, models: vec![model] }),
        }
    }
}

/// Whether a model names its schema by the name of a topic, in this catalog.
fn names_by_topic(model: &Model, catalog: &config::Catalog) -> bool {
    let choice = model.schema().filter(|choice| choice.catalog == catalog.name);
    choice.is_some_and(|choice| matches!(choice.schema, SchemaName::Topic { .. }))
}

async fn of_catalogs(
    config: &Config,
    catalogs: &Catalogs<'_>,
    listings: &[Listing<'_>],
) -> Result<Answers, Error> {
    let mut asked = Vec::new();
    for catalog in config.catalogs.iter().filter(|catalog| catalog.registry().is_some()) {
        let registry = catalogs.registry(catalog)?;
        let schemas = Schemas::of(config, catalog, listings);
        asked.push(async move { of_catalog(&catalog.name, &registry, schemas).await });
    }
    let mut answers = Answers::new();
    join_all(asked).await.into_iter().for_each(|of_catalog| answers.append(of_catalog));
    Ok(answers)
}

async fn of_catalog(name: &str, registry: &Registry, schemas: Schemas<'_>) -> Answers {
    let mut answers = Answers::new();
    answers.line(1, &format!("catalog {name}: {}", registry.url()));
    if schemas.named.is_empty() && schemas.left.is_empty() {
        answers.line(2, "no model names a schema");
    }
    let end = Instant::now() + REGISTRY;
    let asked = schemas.named.into_iter().map(|named| async move {
        let fetched = timeout_at(end, registry.fetch(&named.schema)).await;
        (named, fetched)
    });
    let mut fetched = iter(asked).buffered(AT_ONCE);
    // An absent registry has one line, however many schemas there are.
    let mut last = String::new();
    let mut repeated = 0;
    while let Some((named, fetched)) = fetched.next().await {
        let failed = match fetched {
            Ok(Ok(fetched)) => {
                answers.schema(&named, &fetched);
                continue;
            }
            Ok(Err(error)) => error_line(&error),
            Err(_) => format!("not asked for: the others took {} s", REGISTRY.as_secs()),
        };
        if failed == last {
            repeated += 1;
            continue;
        }
        answers.problem(2, &format!("{}: {failed}", named.schema));
        last = failed;
    }
    if repeated > 0 {
        let s = if repeated == 1 { "" } else { "s" };
        answers.line(2, &format!("{repeated} more schema{s}: the same"));
    }
    schemas.left.iter().for_each(|text| answers.line(2, text));
    answers
}

impl Answers {
    /// What the registry has for a schema, and which models can't use it.
    fn schema(&mut self, named: &Named<'_>, fetched: &Fetched) {
        let found = &fetched.schema;
        let version = fetched.version.iter().map(|version| format!("version {version}, "));
        let version: String = version.collect();
        let what = format!("{}: {version}{}", named.schema, found.id());
        let mut kinds: Vec<SchemaKind> = Vec::new();
        for model in &named.models {
            let Some((kind, choice)) = bind::schema_kind(model).zip(model.schema()) else {
                continue;
            };
            match unusable(model, kind, found) {
                Some(reason) => self.problem(2, &format!("{what}: {reason} ({})", choice.path)),
                None if kinds.contains(&kind) => {}
                None => {
                    kinds.push(kind);
                    self.line(2, &format!("{what}, {kind}"));
                }
            }
        }
    }
}

/// Why a model can't use a schema.
fn unusable(model: &Model, kind: SchemaKind, found: &Arc<SchemaText>) -> Option<String> {
    if let Err(reason) = found.compile(kind) {
        return Some(format!("no schema of {kind}: {reason}"));
    }
    let catalog = Arc::new(OneSchema(Arc::clone(found)));
    match bind::model(model, Some((catalog, SchemaRef::Id(found.id()))))?.check() {
        Check::Failed(rejection) => Some(rejection.to_string()),
        _ => None,
    }
}

/// A catalog that has a schema under each name.
#[derive(Debug)]
struct OneSchema(Arc<SchemaText>);

impl Catalog for OneSchema {
    fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
        Lookup::Known(Arc::clone(&self.0))
    }

    fn framing(&self) -> Framing {
        Framing::None
    }
}

#[cfg(not(feature = "kafka"))]
async fn clusters<'c>(_: &StackBuilder<'c>) -> Result<(Answers, Vec<Listing<'c>>), Error> {
    let mut answers = Answers::new();
    answers.line(1, "this program was built without the feature `kafka`");
    Ok((answers, Vec::new()))
}

#[cfg(feature = "kafka")]
async fn clusters<'c>(builder: &StackBuilder<'c>) -> Result<(Answers, Vec<Listing<'c>>), Error> {
    let mut asked = Vec::new();
    for used in builder.plan.clusters(|_| true) {
        let source = &used.source;
        let path = source.names();
        let topics = builder.plan.named_topics(source).len();
        let options = builder.connection_options(source)?;
        let cluster = tailwater_kafka::Cluster::new(options.name(path.join("/")));
        let cluster = cluster.map_err(|source| {
            let binding = path.last().copied().unwrap_or_default().to_owned();
            Error::Kafka { binding, source }
        })?;
        asked.push(of_cluster(path, cluster, topics));
    }
    let mut answers = Answers::new();
    let mut listings = Vec::new();
    for (of_cluster, listing) in join_all(asked).await {
        answers.append(of_cluster);
        listings.push(listing);
    }
    Ok((answers, listings))
}

/// What a cluster says of this many topics that the configuration names.
#[cfg(feature = "kafka")]
async fn of_cluster(
    path: Vec<&str>,
    cluster: tailwater_kafka::Cluster,
    topics: usize,
) -> (Answers, Listing<'_>) {
    let end = Instant::now() + CLUSTER;
    let health = answered(&cluster, topics, end).await;
    let names = timeout_at(end, cluster.topic_names()).await.ok().flatten();
    // The process may exit next, which threads of librdkafka must not outlive.
    let _ = tokio::time::timeout(CLOSING, cluster.close()).await;
    let mut answers = Answers::new();
    let servers = health.servers.join(", ");
    let of_path = path.join(" -> ");
    let topics = names.filter(|_| health.contact == tailwater_kafka::Contact::Made);
    let listing = Listing { path, topics };
    if health.contact != tailwater_kafka::Contact::Made {
        let error = health.last_error.map(|error| format!(": {error}"));
        let error = error.unwrap_or_default();
        answers.problem(1, &format!("{of_path}: {servers} does not answer{error}"));
        return (answers, listing);
    }
    answers.line(1, &format!("{of_path}: {servers}"));
    for topic in &health.topics {
        let name = &topic.name;
        match topic.partitions {
            _ if topic.missing => answers.problem(2, &format!("topic {name} does not exist")),
            _ if topic.forbidden => answers.problem(2, &format!("topic {name} is not permitted")),
            0 => answers.problem(2, &format!("topic {name}: no answer")),
            1 => answers.line(2, &format!("topic {name}: 1 partition")),
            count => answers.line(2, &format!("topic {name}: {count} partitions")),
        }
    }
    (answers, listing)
}

/// The health of a cluster when it has answered for all topics, or at `end`.
#[cfg(feature = "kafka")]
async fn answered(
    cluster: &tailwater_kafka::Cluster,
    topics: usize,
    end: Instant,
) -> tailwater_kafka::Health {
    const LOOK: Duration = Duration::from_millis(50);
    loop {
        let health = cluster.health();
        let known = health
            .topics
            .iter()
            .filter(|topic| topic.partitions > 0 || topic.missing || topic.forbidden);
        let is_complete =
            health.contact == tailwater_kafka::Contact::Made && known.count() >= topics;
        if is_complete || Instant::now() >= end {
            return health;
        }
        tokio::time::sleep(LOOK).await;
    }
}
