//! From a configuration to the layers: each binding is a layer, and its `exit` the layer's inner
//! service.
//!
//! ```text
//! tcp server        listeners, the accept loop              tailwater-http
//! tls server        its place is here                       (not there yet)
//! http server       connections to requests                 tailwater-http
//!                   access control, access log              tower-http
//!                   guards: their place is here             (not there yet)
//!                   routes                                  tailwater-route
//! sse server        routes                                  tailwater-route
//! sse-kafka proxy   routes                                  tailwater-route
//!                   event streams                           tailwater-sse
//!                   topic, filters, ids                     tailwater-kafka
//! kafka …           one cluster for each way of exits       tailwater-kafka
//! http-filesystem   routes                                  tailwater-route
//! filesystem        files                                   tower-http
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Extensions, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tailwater_http::{
    Connection, Http, HttpLayer, ListenOptions, Listener, Peer, Progress, ServeOptions, Shutdown,
    Versions, serve,
};
use tailwater_kafka::{
    Cluster, ClusterOptions, FilterTemplate, IdForm, KafkaSourceLayer, Mapping, Place, Query,
    Stream,
};
use tailwater_route::{Condition, Matched, Pattern, RouteLayer, Routes, Scheme, Text};
use tailwater_sse::{BoxError, Drain, Refusal, SseLayer};
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tracing::info;

use crate::config::{
    self, Config, DefaultOffset, EventId, HttpVersion, KafkaAuthorization, Kind, TcpCondition,
    TopicSource,
};
use crate::{access, access_log, files};

/// Why a configuration can't be run. Mistakes of the file itself were found before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A host name of a listener means nothing.
    #[error("the host `{host}` of {binding} can't be resolved")]
    Resolve {
        /// The binding.
        binding: String,
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// An address can't be listened on.
    #[error("{binding} can't listen on {address}")]
    Listen {
        /// The binding.
        binding: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// librdkafka does not take the options of a cluster.
    #[error("{binding} can't begin")]
    Kafka {
        /// The binding.
        binding: String,
        /// What it said.
        source: tailwater_kafka::Error,
    },
    /// A binding that is not there yet was reached; the configuration should have been refused.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// Routes do not fit their branches.
    #[error("routes of {binding}")]
    Routes {
        /// The binding.
        binding: String,
        /// What does not fit.
        source: tailwater_route::Error,
    },
}

type Body = UnsyncBoxBody<Bytes, BoxError>;
/// What an exit over HTTP leads to.
type Exit = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// A configuration that listens: every port is bound, every cluster begun.
pub struct Stack {
    listening: Vec<Listening>,
    shutdown: Shutdown,
    drain: Drain,
}

struct Listening {
    listeners: Vec<Listener>,
    routes: Arc<[(Vec<TcpCondition>, Http<Exit>)]>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Stack {
    /// Composes the layers and binds the ports. `folder` is the one that relative paths of the
    /// configuration are relative to. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// What the system or librdkafka refuses.
    pub fn new(config: Config, folder: &Path) -> Result<Self, Error> {
        let (shutdown, drain) = (Shutdown::new(), Drain::new());
        let config = Arc::new(config);
        let mut composer = Composer {
            config: &config,
            folder,
            shutdown: shutdown.clone(),
            drain: drain.clone(),
            clusters: HashMap::new(),
            exits: HashMap::new(),
            servers: HashMap::new(),
        };
        let mut listening = Vec::new();
        for (binding, server) in config.listeners() {
            let mut routes = Vec::new();
            for route in &server.routes {
                routes.push((route.when.clone(), composer.connections(&route.exit)?));
            }
            let listeners = listen(&binding.name, &server.host, &server.ports)?;
            listening.push(Listening { listeners, routes: routes.into() });
        }
        Ok(Self { listening, shutdown, drain })
    }

    /// The addresses that are listened on.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.listening.iter().flat_map(|listening| &listening.listeners);
        listeners.filter_map(|listener| listener.local_address().ok()).collect()
    }

    /// Serves until `stop` is ready; its output is how long streams have to end from then on.
    pub async fn serve(self, stop: impl Future<Output = Duration>) {
        let Self { listening, shutdown, drain } = self;
        let mut servers = tokio::task::JoinSet::new();
        for Listening { listeners, routes } in listening {
            let service = service_fn(move |connection| connect(&routes, connection));
            servers.spawn(serve(listeners, service, ServeOptions::new(), shutdown.clone()));
        }
        let window = stop.await;
        // Streams end before connections are cut.
        drain.start(window.mul_f32(0.9));
        shutdown.begin(window);
        while servers.join_next().await.is_some() {}
    }
}

fn listen(
    binding: &str,
    host: &str,
    ports: &[std::ops::RangeInclusive<u16>],
) -> Result<Vec<Listener>, Error> {
    let resolve =
        |source| Error::Resolve { binding: binding.to_owned(), host: host.to_owned(), source };
    let mut listeners = Vec::new();
    for port in ports.iter().cloned().flatten() {
        for address in (host, port).to_socket_addrs().map_err(resolve)? {
            let failed = |source| Error::Listen { binding: binding.to_owned(), address, source };
            let listener = ListenOptions::new().bind(address).map_err(failed)?;
            // A port 0 of the configuration is another one here.
            let address = listener.local_address().map_err(failed)?;
            info!(%address, binding, "listening");
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// The first route of a `tcp` binding that takes the connection; without one it is closed.
fn connect(
    routes: &[(Vec<TcpCondition>, Http<Exit>)],
    mut connection: Connection<Progress<TcpStream>>,
) -> impl Future<Output = Result<(), tailwater_http::Error>> + Send + use<> {
    let port = connection.io().io().local_addr().map_or(0, |address| address.port());
    let peer = connection.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let takes = |when: &[TcpCondition]| {
        when.is_empty()
            || peer.is_some_and(|peer| when.iter().any(|condition| condition.matches(port, peer)))
    };
    let Some((_, http)) = routes.iter().find(|(when, _)| takes(when)) else {
        return Either::Left(ready(Ok(())));
    };
    // A `tls` binding between would say https.
    connection.extensions_mut().insert(Scheme::Http);
    Either::Right(http.clone().call(connection))
}

/// Builds what exits lead to, each once.
struct Composer<'c> {
    config: &'c Arc<Config>,
    folder: &'c Path,
    shutdown: Shutdown,
    drain: Drain,
    /// By the names of the `kafka` bindings on the way.
    clusters: HashMap<String, Cluster>,
    exits: HashMap<(String, Option<Duration>), Exit>,
    servers: HashMap<String, Http<Exit>>,
}

impl Composer<'_> {
    fn unsupported(&self, exit: &str) -> Error {
        let kind = self.config.binding(exit).map(|binding| binding.kind.of().to_string());
        Error::Unsupported(format!("{exit} ({})", kind.unwrap_or_default()))
    }

    /// What connections go to: an `http` binding.
    fn connections(&mut self, exit: &str) -> Result<Http<Exit>, Error> {
        if let Some(server) = self.servers.get(exit) {
            return Ok(server.clone());
        }
        let Some(Kind::HttpServer(server)) = self.config.binding(exit).map(|binding| &binding.kind)
        else {
            return Err(self.unsupported(exit));
        };
        let speaks = |version| server.versions.contains(&version);
        let versions = match (speaks(HttpVersion::Http11), speaks(HttpVersion::H2)) {
            (true, false) => Versions::Http1,
            (false, true) => Versions::Http2,
            _ => Versions::Both,
        };
        let routes = self.routes(
            exit,
            &server.routes,
            |when| when.condition.clone(),
            |this, route| this.exit(&route.exit, None),
        )?;
        // A guard's layer comes here: behind access control, since a preflight brings no
        // credentials, and before the routes, which ask what it found.
        let controlled = access::layer(&server.access_control).layer(routes);
        // The log is outermost: it has what the others refuse, too.
        let service = if self.config.logs_access() {
            leaf(access_log::layer().layer(controlled))
        } else {
            BoxCloneSyncService::new(controlled)
        };
        let server =
            HttpLayer::new().versions(versions).shutdown(self.shutdown.clone()).layer(service);
        self.servers.insert(exit.to_owned(), server.clone());
        Ok(server)
    }

    /// What requests go to. `retry` comes from the `sse` binding above, if there is one.
    fn exit(&mut self, exit: &str, retry: Option<Duration>) -> Result<Exit, Error> {
        let key = (exit.to_owned(), retry);
        if let Some(service) = self.exits.get(&key) {
            return Ok(service.clone());
        }
        let config = Arc::clone(self.config);
        let service = match config.binding(exit).map(|binding| &binding.kind) {
            Some(Kind::SseServer(sse)) => self.routes(exit, &sse.routes, path, |this, route| {
                this.exit(&route.exit, Some(sse.retry))
            })?,
            Some(Kind::SseKafka(mapping)) => {
                self.routes(exit, &mapping.routes, path, |this, route| {
                    // The streams are framed below the routes, so that a refusal is a plain response.
                    let frames = SseLayer::new().drain(&this.drain);
                    let frames = retry.into_iter().fold(frames, SseLayer::retry);
                    let source = KafkaSourceLayer::new(mapping_of(&route.with), parameter);
                    Ok(leaf(frames.layer(source.layer(this.topics(&route.exit)?))))
                })?
            }
            Some(Kind::HttpFilesystem(mapping)) => {
                self.routes(exit, &mapping.routes, file, |this, route| {
                    match this.config.binding(&route.exit).map(|binding| &binding.kind) {
                        Some(Kind::Filesystem(folder)) => {
                            let location: PathBuf = this.folder.join(&folder.location);
                            Ok(leaf(files::Files::new(location, folder.symlinks, &route.with)))
                        }
                        _ => Err(this.unsupported(&route.exit)),
                    }
                })?
            }
            _ => return Err(self.unsupported(exit)),
        };
        self.exits.insert(key, service.clone());
        Ok(service)
    }

    /// The routes of a binding over what each leads to.
    fn routes<W, T>(
        &mut self,
        binding: &str,
        routes: &[config::Route<W, T>],
        condition: impl Fn(&W) -> Condition,
        mut exit: impl FnMut(&mut Self, &config::Route<W, T>) -> Result<Exit, Error>,
    ) -> Result<Exit, Error> {
        let mut table = Vec::new();
        let mut exits = Vec::new();
        for (target, route) in routes.iter().enumerate() {
            table.push(tailwater_route::Route::new(target).when(route.when.iter().map(&condition)));
            exits.push(exit(self, route)?);
        }
        let routed = RouteLayer::new(Routes::new(table, None)).branches(exits);
        let failed = |source| Error::Routes { binding: binding.to_owned(), source };
        Ok(BoxCloneSyncService::new(routed.map_err(failed)?))
    }

    /// The clusters behind an exit of an `sse-kafka` binding.
    fn topics(&mut self, exit: &str) -> Result<Topics, Error> {
        let config = Arc::clone(self.config);
        for source in config.topic_sources(exit) {
            let key = way(&source);
            if !self.clusters.contains_key(&key) {
                let cluster = Cluster::new(self.cluster_options(&source));
                let binding =
                    source.way.last().map(|binding| binding.name.clone()).unwrap_or_default();
                let cluster = cluster.map_err(|source| Error::Kafka { binding, source })?;
                self.clusters.insert(key, cluster);
            }
        }
        Ok(Topics { config, exit: exit.into(), clusters: Arc::new(self.clusters.clone()) })
    }

    fn cluster_options(&self, source: &TopicSource<'_>) -> ClusterOptions {
        let servers = source.cluster.servers.iter().map(ToString::to_string);
        let mut options = ClusterOptions::new(servers);
        if let Some(KafkaAuthorization::Password { mechanism, username, password, .. }) =
            &source.cluster.authorization
        {
            options = options.sasl(sasl(*mechanism), username, password.reveal());
        }
        for topic in source.bootstrap() {
            options = options.bootstrap(topic);
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
        keyless.fold(options, |options, (name, _)| options.index_header(name.clone()))
    }
}

/// An exit whose bodies are of a kind of their own. Each body has one box, however many bindings its
/// response comes through: every further one would be a cache miss for every event of every stream.
fn leaf<S, R>(service: S) -> Exit
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    R: ::http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(
        service
            .map_response(|response| response.map(|body| body.map_err(Into::into).boxed_unsync())),
    )
}

fn path(when: &config::PathCondition) -> Condition {
    on_path(when.path.as_ref())
}

fn on_path(pattern: Option<&Pattern>) -> Condition {
    let condition = Condition::any();
    match pattern {
        Some(pattern) => condition.path(pattern.clone()).expect("nothing else has names here"),
        None => condition,
    }
}

fn file(when: &config::FileCondition) -> Condition {
    let condition = on_path(when.path.as_ref());
    match &when.method {
        Some(method) => {
            let method = Text::new(method).expect("the configuration has no other methods");
            condition.header(":method", method).expect("there is such a pseudo header")
        }
        None => condition,
    }
}

fn mapping_of(with: &config::SseKafkaWith) -> Mapping {
    let form = match with.event_id {
        EventId::Etag => IdForm::Etag,
        EventId::KeyAndEtag => IdForm::KeyAndEtag,
    };
    let mut mapping = Mapping::new(with.topic.clone()).id_form(form).positions(with.positions);
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

/// Fills the templates of a `sse-kafka` route with what its path captured.
fn parameter(place: &Place, extensions: &Extensions) -> Option<Bytes> {
    match place {
        Place::Parameter(name) => {
            let value = extensions.get::<Matched>()?.parameter(name)?;
            Some(Bytes::copy_from_slice(value))
        }
        // Guards fill the others.
        _ => None,
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

fn way(source: &TopicSource<'_>) -> String {
    let names: Vec<&str> = source.way.iter().map(|binding| &*binding.name).collect();
    names.join("/")
}

/// Sends each query to the cluster that the routes of the `kafka` bindings lead its topic to.
#[derive(Clone)]
struct Topics {
    config: Arc<Config>,
    exit: Arc<str>,
    clusters: Arc<HashMap<String, Cluster>>,
}

impl Service<Query> for Topics {
    type Response = Stream;
    type Error = Refusal;
    type Future = Ready<Result<Stream, Refusal>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, query: Query) -> Self::Future {
        let source = self.config.topic_source(&self.exit, query.topic());
        match source.and_then(|source| self.clusters.get(&way(&source)).cloned()) {
            Some(mut cluster) => ready(cluster.call(query).into_inner().map_err(Into::into)),
            None => ready(Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "no route of the kafka bindings takes the topic",
            ))),
        }
    }
}
