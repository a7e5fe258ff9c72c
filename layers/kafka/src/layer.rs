use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use crate::id::EventIdFormat;
use crate::service::KafkaSource;
use crate::start::Parameters;
use crate::template::{Template, Variables};

/// What a route's subscriptions become: a topic and filters, as templates.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub(crate) topic: Template,
    pub(crate) filters: Vec<FilterTemplate>,
    pub(crate) form: EventIdFormat,
    pub(crate) id_only_blocks: bool,
    pub(crate) start: Parameters,
    pub(crate) live_event: bool,
}

impl Mapping {
    /// All records of a topic. A name that a request supplies is served only if it matches
    /// `[a-zA-Z0-9._-]{1,249}`, and one that begins with `__` only if the template itself does.
    #[must_use]
    pub fn new(topic: Template) -> Self {
        Self {
            topic,
            filters: Vec::new(),
            form: EventIdFormat::Etag,
            id_only_blocks: true,
            start: Parameters::default(),
            live_event: false,
        }
    }

    /// Only records that pass this filter or another one that was added.
    #[must_use]
    pub fn filter(mut self, filter: FilterTemplate) -> Self {
        self.filters.push(filter);
        self
    }

    /// The form of the ids. [`EventIdFormat::Etag`] by default.
    #[must_use]
    pub fn event_id_format(mut self, form: EventIdFormat) -> Self {
        self.form = form;
        self
    }

    /// Whether id-only blocks are sent ([`Query::id_only_blocks`](crate::Query::id_only_blocks)). True by default.
    #[must_use]
    pub fn id_only_blocks(mut self, id_only_blocks: bool) -> Self {
        self.id_only_blocks = id_only_blocks;
        self
    }

    /// Whether all streams are told when they are live ([`Query::live_event`](crate::Query::live_event)).
    /// By default those are whose request says `liveEvent=true` in its query.
    #[must_use]
    pub fn live_event(mut self, live_event: bool) -> Self {
        self.live_event = live_event;
        self
    }

    /// Whether a request without a last event id may say where its stream begins, by the query:
    /// `from=earliest`, `from=live`, or `from=` and an event id. Anything else of that name is answered
    /// `400 Bad Request`, with a text. Not by default: the parameter then means nothing.
    #[must_use]
    pub fn allow_from(mut self, allow: bool) -> Self {
        self.start.from = allow;
        self
    }

    /// As [`allow_from`](Self::allow_from), for `since=` and a time: by RFC 3339, or in milliseconds
    /// since 1970. See [`Start::Since`](crate::Start::Since). A request has one of both parameters, once.
    #[must_use]
    pub fn allow_since(mut self, allow: bool) -> Self {
        self.start.since = allow;
        self
    }
}

/// A [`Filter`](crate::Filter) before a request fills it.
#[derive(Clone, Debug, Default)]
pub struct FilterTemplate {
    pub(crate) key: Option<Template>,
    pub(crate) headers: Vec<(String, Template)>,
}

impl FilterTemplate {
    /// A filter that every record passes.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only records with this key.
    #[must_use]
    pub fn key(mut self, key: Template) -> Self {
        self.key = Some(key);
        self
    }

    /// Only records that have this header with this value.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: Template) -> Self {
        self.headers.push((name.into(), value));
        self
    }
}

/// Turns the subscriptions of the sse crate into queries of a [`Cluster`](crate::Cluster).
///
/// ```
/// use bytes::Bytes;
/// use http::Extensions;
/// use tailwater_kafka::{Cluster, ClusterOptions, KafkaSourceLayer, Mapping, Variable, Template};
/// use tower_layer::Layer as _;
///
/// let cluster = Cluster::new(ClusterOptions::new(["localhost:9092"]))?;
/// // This route's topic is fixed: no template has variables.
/// let nothing = |_: &Variable, _: &Extensions| None::<Bytes>;
/// let source = KafkaSourceLayer::new(Mapping::new(Template::literal("orders")), nothing).layer(cluster);
/// # let _ = source;
/// # Ok::<(), tailwater_kafka::Error>(())
/// ```
#[derive(Clone)]
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
    /// Fills the templates of `mapping` by asking `variables`.
    pub fn new(mapping: Mapping, variables: impl Variables + 'static) -> Self {
        Self { mapping: Arc::new(mapping), variables: Arc::new(variables) }
    }
}

impl<S> Layer<S> for KafkaSourceLayer {
    type Service = KafkaSource<S>;

    fn layer(&self, inner: S) -> KafkaSource<S> {
        KafkaSource::new(inner, Arc::clone(&self.mapping), Arc::clone(&self.variables))
    }
}
