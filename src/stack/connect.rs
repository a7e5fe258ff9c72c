//! What registries and brokers answer: `tailwater check --connect`.

use std::fmt::Write as _;
use std::path::Path;

use tailwater_schema::Part;
use tailwater_schema::catalog::registry::{FetchError, Registry};
use tailwater_schema::catalog::{SchemaKind, SchemaRef};

use crate::config::bind::{self, Subject};
use crate::config::{Config, Kind, Model, SchemaName};
use crate::escape::one_line;
use crate::stack::catalogs::Catalogs;
use crate::stack::listeners::{Stack, of_namespace};
use crate::stack::{Error, StackBuilder};

/// How long a cluster may take to close its connections.
#[cfg(feature = "kafka")]
const CLOSING: std::time::Duration = std::time::Duration::from_secs(10);

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
        let catalogs = Catalogs::new(config, folder);
        answers.catalogs(config, &catalogs).await.map_err(of_this)?;
        let plan = config.plan();
        let builder = stack.builder(config, &plan, namespaces, &places, folder);
        answers.clusters(&builder).await.map_err(of_this)?;
    }
    Ok(answers)
}

impl Answers {
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

    async fn catalogs(&mut self, config: &Config, catalogs: &Catalogs<'_>) -> Result<(), Error> {
        for catalog in config.catalogs.iter().filter(|catalog| catalog.registry().is_some()) {
            let registry = catalogs.registry(catalog)?;
            self.line(1, &format!("catalog {}: {}", catalog.name, registry.url()));
            let schemas = named_schemas(config, &catalog.name);
            if schemas.is_empty() {
                self.line(2, "no model names a schema");
            }
            for (schema, kind) in schemas {
                self.schema(&registry, &schema, kind).await;
            }
        }
        Ok(())
    }

    async fn schema(&mut self, registry: &Registry, schema: &SchemaRef, kind: SchemaKind) {
        let fetched = match registry.fetch(schema).await {
            Ok(fetched) => fetched,
            Err(error) => return self.problem(2, &format!("{schema}: {}", chain(&error))),
        };
        let found = &fetched.schema;
        let version = fetched.version.iter().map(|version| format!("version {version}, "));
        let version: String = version.collect();
        match found.compile(kind) {
            Ok(()) => self.line(2, &format!("{schema}: {version}{}, {kind}", found.id())),
            Err(reason) => {
                let id = found.id();
                self.problem(2, &format!("{schema}: {version}{id}, no schema of {kind}: {reason}"));
            }
        }
    }

    #[cfg(not(feature = "kafka"))]
    async fn clusters(&mut self, _: &StackBuilder<'_>) -> Result<(), Error> {
        self.line(1, "this program was built without the feature `kafka`");
        Ok(())
    }

    #[cfg(feature = "kafka")]
    async fn clusters(&mut self, builder: &StackBuilder<'_>) -> Result<(), Error> {
        use tailwater_kafka::{Cluster, Contact};

        for used in builder.plan.clusters(|_| true) {
            let source = &used.source;
            let names = source.names();
            let named = builder.plan.named_topics(source);
            let options = builder.connection_options(source)?;
            let cluster = Cluster::new(options.name(names.join("/"))).map_err(|source| {
                let binding = names.last().copied().unwrap_or_default().to_owned();
                Error::Kafka { binding, source }
            })?;
            let health = answered(&cluster, named.len()).await;
            // The process may exit next, which threads of librdkafka must not outlive.
            let _ = tokio::time::timeout(CLOSING, cluster.close()).await;
            let servers = health.servers.join(", ");
            let path = names.join(" -> ");
            if health.contact != Contact::Made {
                let error = health.last_error.map(|error| format!(": {error}"));
                let error = error.unwrap_or_default();
                self.problem(1, &format!("{path}: {servers} does not answer{error}"));
                continue;
            }
            self.line(1, &format!("{path}: {servers}"));
            for topic in &health.topics {
                let name = &topic.name;
                match topic.partitions {
                    _ if topic.missing => self.problem(2, &format!("topic {name} does not exist")),
                    _ if topic.forbidden => {
                        self.problem(2, &format!("topic {name} is not permitted"))
                    }
                    0 => self.problem(2, &format!("topic {name}: no answer")),
                    1 => self.line(2, &format!("topic {name}: 1 partition")),
                    count => self.line(2, &format!("topic {name}: {count} partitions")),
                }
            }
        }
        Ok(())
    }
}

/// The health of a cluster when it has answered for all topics, or has had the time for that.
#[cfg(feature = "kafka")]
async fn answered(cluster: &tailwater_kafka::Cluster, topics: usize) -> tailwater_kafka::Health {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    const TIME: Duration = Duration::from_secs(10);
    const LOOK: Duration = Duration::from_millis(50);

    let end = Instant::now() + TIME;
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
        sleep(LOOK).await;
    }
}

/// The schemas of a catalog that models name, each once. The subject of a topic is known if its name is.
fn named_schemas(config: &Config, catalog: &str) -> Vec<(SchemaRef, SchemaKind)> {
    let mut schemas = Vec::new();
    let mut add = |model: &Model, subject: Option<Subject<'_>>| {
        let Some(choice) = model.schema().filter(|choice| choice.catalog == catalog) else {
            return;
        };
        let catalog = config.catalogs.iter().find(|found| found.name == catalog);
        let subject = match (&choice.schema, subject) {
            (SchemaName::Topic { .. }, None) => return,
            (_, subject) => subject.unwrap_or(Subject::Event),
        };
        let schema =
            catalog.and_then(|found| bind::schema_ref(&found.kind, &choice.schema, subject));
        let named = schema.zip(bind::schema_kind(model));
        schemas.extend(named.filter(|named| !schemas.contains(named)));
    };
    for binding in &config.bindings {
        match &binding.kind {
            Kind::KafkaCacheServer(server) => {
                for topic in &server.topics {
                    let name = topic.name.as_literal();
                    for (part, model) in [(Part::Key, &topic.key), (Part::Value, &topic.value)] {
                        let subject = name.map(|topic| Subject::Record { topic, part });
                        model.iter().for_each(|model| add(model, subject));
                    }
                }
            }
            Kind::SseServer(server) => {
                server.requests.iter().for_each(|request| add(&request.content, None));
            }
            _ => {}
        }
    }
    schemas
}

/// An error and its causes.
fn chain(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
