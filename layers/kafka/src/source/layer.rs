use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tailwater_kafka_types::{Template, Variable, Variables};
use tailwater_sse::Subscription;
use tower_layer::Layer;

use crate::data::convert::ConvertRecord;
use crate::source::mapping::Mapping;
use crate::source::service::KafkaSource;

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
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) variables: Arc<dyn Variables>,
    pub(crate) converters: Option<Arc<Converters>>,
}

/// Finds the converter of a subscription.
pub(crate) type Converters = dyn Fn(&Subscription) -> Option<Arc<dyn ConvertRecord>> + Send + Sync;

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
        Self { mapping: Arc::new(mapping), variables: Arc::new(none), converters: None }
    }

    /// What the variables of the templates stand for. By default no variable has a value, so a request
    /// for a template with variables is answered `403 Forbidden`.
    pub fn variables(mut self, variables: impl Variables + 'static) -> Self {
        self.variables = Arc::new(variables);
        self
    }

    /// What converts the values of records for the stream of a subscription alone. See
    /// [`Query::converter`](crate::Query::converter). By default no stream converts them.
    pub fn converters(
        mut self,
        lookup: impl Fn(&Subscription) -> Option<Arc<dyn ConvertRecord>> + Send + Sync + 'static,
    ) -> Self {
        self.converters = Some(Arc::new(lookup));
        self
    }
}

impl<S> Layer<S> for KafkaSourceLayer {
    type Service = KafkaSource<S>;

    fn layer(&self, inner: S) -> KafkaSource<S> {
        KafkaSource::new(inner, self.clone())
    }
}
