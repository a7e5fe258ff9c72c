use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tailwater_kafka_types::{Template, Variable, Variables};
use tower_layer::Layer;

use crate::data::start::Parameters;
use crate::options::StreamOptions;
use crate::source::service::KafkaSource;

/// What a route's subscriptions become: a topic and filters, as templates.
#[derive(Clone, Debug)]
#[must_use]
pub struct Mapping {
    pub(crate) topic: Template,
    pub(crate) filters: Vec<FilterTemplate>,
    pub(crate) options: StreamOptions,
    pub(crate) start: Parameters,
}

impl Mapping {
    /// All records of a topic. A name that a request supplies is served only if it matches
    /// `[a-zA-Z0-9._-]{1,249}`, and one that begins with `__` only if the template itself does.
    pub fn new(topic: Template) -> Self {
        Self {
            topic,
            filters: Vec::new(),
            options: StreamOptions::new(),
            start: Parameters::default(),
        }
    }

    /// Only records that pass this filter or another one that was added.
    pub fn filter(mut self, filter: FilterTemplate) -> Self {
        self.filters.push(filter);
        self
    }

    /// The form of the events. [`StreamOptions::new`] by default.
    pub fn options(mut self, options: StreamOptions) -> Self {
        self.options = options;
        self
    }

    /// Whether a request without a last event id may say where its stream begins, by the query:
    /// `from=earliest`, `from=live`, or `from=` and an event id. Anything else of that name is answered
    /// `400 Bad Request`, with a text. Not by default: the parameter then means nothing.
    pub fn allow_from(mut self, allow: bool) -> Self {
        self.start.from = allow;
        self
    }

    /// As [`allow_from`](Self::allow_from), for `since=` and a time: by RFC 3339, or in milliseconds
    /// since 1970. See [`Start::Since`](crate::Start::Since). A request has one of both parameters, once.
    pub fn allow_since(mut self, allow: bool) -> Self {
        self.start.since = allow;
        self
    }
}

/// A [`Filter`](crate::Filter) before a request fills it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct FilterTemplate {
    pub(crate) key: Option<Template>,
    pub(crate) headers: Vec<(String, Template)>,
}

impl FilterTemplate {
    /// A filter that every record passes.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only records with this key.
    pub fn key(mut self, key: Template) -> Self {
        self.key = Some(key);
        self
    }

    /// Only records that have this header with this value.
    pub fn header(mut self, name: impl Into<String>, value: Template) -> Self {
        self.headers.push((name.into(), value));
        self
    }
}

/// Turns the subscriptions of the sse crate into queries of a [`Cluster`](crate::Cluster).
///
/// The same topic for each request, or one that the request's path names:
///
/// ```
/// use bytes::Bytes;
/// use http::Extensions;
/// use tailwater_kafka::{Cluster, ClusterOptions, KafkaSourceLayer, Mapping, Variable};
/// use tower_layer::Layer as _;
///
/// let cluster = Cluster::new(ClusterOptions::new(["localhost:9092"]))?;
/// let orders = KafkaSourceLayer::topic("orders").layer(cluster.clone());
///
/// // What a router left in the request.
/// #[derive(Clone)]
/// struct Region(Bytes);
///
/// let region = |variable: &Variable, extensions: &Extensions| match variable {
///     Variable::Parameter(name) if name == "region" => Some(extensions.get::<Region>()?.0.clone()),
///     _ => None,
/// };
/// let mapping = Mapping::new("orders-${params.region}".parse()?);
/// let of_region = KafkaSourceLayer::new(mapping).variables(region).layer(cluster);
/// # let _ = (orders, of_region);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct KafkaSourceLayer {
    mapping: Arc<Mapping>,
    variables: Arc<dyn Variables>,
}

impl fmt::Debug for KafkaSourceLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSourceLayer").field("mapping", &self.mapping).finish_non_exhaustive()
    }
}

impl KafkaSourceLayer {
    /// All records of this topic, for each request. For filters and other options see
    /// [`new`](Self::new).
    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(Mapping::new(Template::literal(name)))
    }

    /// The topic and the records that `mapping` says. If its templates have variables, see
    /// [`variables`](Self::variables).
    pub fn new(mapping: Mapping) -> Self {
        let none = |_: &Variable, _: &Extensions| None;
        Self { mapping: Arc::new(mapping), variables: Arc::new(none) }
    }

    /// What the variables of the templates stand for. By default no variable has a value, so a request
    /// for a template with variables is answered `403 Forbidden`.
    pub fn variables(mut self, variables: impl Variables + 'static) -> Self {
        self.variables = Arc::new(variables);
        self
    }
}

impl<S> Layer<S> for KafkaSourceLayer {
    type Service = KafkaSource<S>;

    fn layer(&self, inner: S) -> KafkaSource<S> {
        KafkaSource::new(inner, Arc::clone(&self.mapping), Arc::clone(&self.variables))
    }
}
