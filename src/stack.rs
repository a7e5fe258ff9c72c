//! Builds the layers from a configuration. Each binding becomes a layer, and its `exit` becomes the inner
//! service of that layer.
//!
//! ```text
//! tcp server        listeners, the accept loop              tailwater-http
//! tls server        handshakes                              tailwater-tls
//! http server       connections to requests                 tailwater-http
//!                   access control, access log              tower-http
//!                   guard                                   tailwater-jwt
//!                   routes                                  tailwater-route
//! sse server        routes                                  tailwater-route
//! sse-kafka proxy   routes                                  tailwater-route
//!                   event streams                           tailwater-sse
//!                   topic, filters, ids                     tailwater-kafka
//! kafka …           models and transforms of records        tailwater-schema
//!                   one cluster for each path of exits      tailwater-kafka
//! http-filesystem   routes                                  tailwater-route
//! filesystem        files                                   tower-http
//! ```

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tailwater_http::{Connection, Http, HttpLayer, Shutdown, Versions};
use tailwater_jwt::{ConnectionSessions, Guard};
use tailwater_kafka_types::Variable;
use tailwater_route::{Condition, Requirement, Router, Routes, Scheme};
use tailwater_sse::{BoxError, Drain, SseLayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};

use crate::access_log::{AccessLog, AccessLogLayer, TellSession};
use crate::blocks::Blocks;
use crate::config::plan::{self, Resource, Streams};
use crate::config::{self, Config, HttpVersion, Signal};
use crate::metrics::exchange::{self, Metered};
use crate::metrics::meter::{Meters, records_requests};
use crate::metrics::requests::Requests;
use crate::models::Contents;
use crate::open_files::Bounded;
use crate::streams::Streams as OpenStreams;
use crate::{access, access_log, files, limits};

mod catalogs;
mod connect;
mod error;
mod guard;
mod handle;
#[cfg(feature = "kafka")]
mod kafka;
mod listeners;
mod located;
mod tls;
mod upstream;
#[cfg(not(feature = "kafka"))]
mod without_kafka;

use self::catalogs::Catalogs;
pub use self::connect::{Answers, connect};
pub use self::error::Error;
use self::handle::Counted;
pub(crate) use self::handle::Handle;
#[cfg(feature = "kafka")]
pub(crate) use self::kafka::Cluster;
pub use self::listeners::Stack;
use self::located::Located;
use self::tls::TlsServer;
#[cfg(not(feature = "kafka"))]
pub(crate) use self::without_kafka::Cluster;

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// The service behind an exit of HTTP requests.
type HttpService = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// An `http` binding, which serves connections.
#[derive(Clone)]
struct HttpServer {
    http: Http<HttpService>,
    versions: Versions,
    /// Whether a guard looks for credentials in requests.
    guarded: bool,
}

impl HttpServer {
    fn speaks(&self, version: HttpVersion) -> bool {
        match version {
            HttpVersion::Http11 => self.versions != Versions::Http2,
            HttpVersion::H2 => self.versions != Versions::Http1,
        }
    }

    /// Serves a connection whose requests have this scheme.
    fn serve<Io>(
        &self,
        mut connection: Connection<Io>,
        scheme: Scheme,
    ) -> impl Future<Output = Result<(), tailwater_http::Error>> + Send + use<Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let extensions = connection.extensions_mut();
        extensions.insert(scheme);
        if self.guarded {
            extensions.insert(ConnectionSessions::default());
        }
        self.http.clone().call(connection)
    }
}

/// The options that an `sse` binding sets for the streams below it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SseOptions {
    retry: Duration,
    max_age: Option<Duration>,
    /// The models of its events, by their place in [`StackBuilder::contents`].
    contents: Option<usize>,
}

/// Builds the services of a namespace, each once.
struct StackBuilder<'c> {
    config: &'c Config,
    #[cfg(feature = "kafka")]
    plan: &'c plan::Plan<'c>,
    /// All namespaces, this one among them.
    all: &'c [Config],
    folder: &'c Path,
    requests: Arc<Requests>,
    meters: Arc<Meters>,
    counted: Counted,
    shutdown: Shutdown,
    drain: Drain,
    streams: OpenStreams,
    blocks: Blocks,
    /// The clusters, by the names of the `kafka` bindings on the path.
    clusters: HashMap<String, Cluster>,
    resources: HashMap<(&'c str, Option<SseOptions>), HttpService>,
    /// The `filesystem` bindings whose folders were checked.
    folders: HashSet<&'c str>,
    http_servers: HashMap<&'c str, HttpServer>,
    tls_servers: HashMap<&'c str, TlsServer>,
    guards: HashMap<&'c str, Guard>,
    catalogs: Catalogs<'c>,
    /// The models of events, of each `sse` binding that has any.
    contents: Vec<Contents>,
    /// The permits of responses from files.
    responses: Arc<Semaphore>,
    /// The permits of streams of other servers.
    upstream: Arc<Semaphore>,
}

impl<'c> StackBuilder<'c> {
    /// The name, unique in the process, of a path through bindings such as `cache/store/cluster`.
    fn label(&self, path: &str) -> String {
        config::label(self.config, self.all, &path.split('/').collect::<Vec<_>>())
    }

    /// The name of a guard, unique in the process.
    fn guard_label(&self, name: &str) -> String {
        let mut others = self.all.iter().filter(|other| other.name != self.config.name);
        match others.any(|other| other.guards.iter().any(|guard| guard.name == name)) {
            true => format!("{}:{name}", self.config.name),
            false => name.to_owned(),
        }
    }

    /// Builds an `http` binding.
    fn http_server(&mut self, server: &plan::HttpServer<'c>) -> Result<HttpServer, Error> {
        let name = server.binding.name.as_str();
        if let Some(http_server) = self.http_servers.get(name) {
            return Ok(http_server.clone());
        }
        let options = server.options;
        let speaks = |version| options.versions.contains(&version);
        let versions = match (speaks(HttpVersion::Http11), speaks(HttpVersion::H2)) {
            (true, false) => Versions::Http1,
            (false, true) => Versions::Http2,
            _ => Versions::Both,
        };
        let routes =
            self.routes(Some(server.binding), &server.routes, headers, |this, route| match &route
                .next
            {
                Resource::Sse(sse) => this.sse_server(sse),
                Resource::Files(files) => this.files(files),
            })?;
        let is_logged = |config: &Config| config.logs_access() || config.pushes(Signal::Logs);
        let log = self.all.iter().any(is_logged).then(|| AccessLog {
            binding: self.label(name).into(),
            subject: self.config.logged_subject(),
        });
        // The guard comes before the routes, which read the session that it found.
        let known = match (&options.authorization, server.guard) {
            (Some(authorization), Some(guard)) => {
                let routes = self.blocks.service(routes);
                let guard = ServiceBuilder::new()
                    .map_request(self.kept(authorization)?)
                    .layer(self.guard(guard, authorization)?);
                match &log {
                    Some(_) => BoxCloneSyncService::new(guard.service(TellSession(routes))),
                    None => BoxCloneSyncService::new(guard.service(routes)),
                }
            }
            _ => routes,
        };
        let guarded = options.authorization.is_some();
        let streams = server.routes.iter().any(|route| matches!(route.next, Resource::Sse(_)));
        // Access control is outside of the guard, since a preflight has no credentials.
        let behind = access::Behind { guarded, streams };
        let controlled = access::layer(&options.access_control, behind).layer(known);
        let controlled = controlled.map_response(without_guesses);
        // The access log is outermost, so that it also has the requests that the other layers reject.
        let http = HttpLayer::new()
            .versions(versions)
            .send_buffer_bytes(limits::UNREAD_BYTES)
            .shutdown(self.shutdown.clone());
        let service = match &log {
            Some(log) => BoxCloneSyncService::new(
                AccessLogLayer::new(log.clone(), &self.streams).layer(controlled),
            ),
            None => BoxCloneSyncService::new(controlled),
        };
        let is_pushed = self.all.iter().any(|config| config.pushes(Signal::Metrics));
        let requests = is_pushed.then(|| Arc::clone(&self.requests));
        let service = if requests.is_some() || records_requests(self.config) {
            let meter = self.meters.of(self.config, server.binding);
            BoxCloneSyncService::new(Metered::new(service, meter, requests))
        } else {
            service
        };
        let http = match log {
            Some(log) => http
                .on_rejection(move |rejection| access_log::rejected(&log, rejection))
                .layer(service),
            None => http.layer(service),
        };
        let http_server = HttpServer { http, versions, guarded };
        self.http_servers.insert(name, http_server.clone());
        Ok(http_server)
    }

    fn sse_server(&mut self, server: &plan::SseServer<'c>) -> Result<HttpService, Error> {
        self.once(server.binding, None, |this| {
            let contents = this.contents(&server.options.requests)?;
            let config::SseServer { retry, max_age, .. } = *server.options;
            let streams = SseOptions { retry, max_age, contents };
            this.routes(Some(server.binding), &server.routes, path, |this, route| {
                match &route.next {
                    Streams::Topics(proxy) => this.topic_streams(proxy, streams),
                    Streams::Upstream(client) => this.upstream_streams(client, streams),
                }
            })
        })
    }

    fn topic_streams(
        &mut self,
        proxy: &plan::SseKafka<'c>,
        streams: SseOptions,
    ) -> Result<HttpService, Error> {
        self.once(proxy.binding, Some(streams), |this| {
            this.routes(Some(proxy.binding), &proxy.routes, path, |this, route| {
                this.topic_stream(proxy.binding, route, streams)
            })
        })
    }

    fn upstream_streams(
        &mut self,
        client: &plan::SseClient<'c>,
        streams: SseOptions,
    ) -> Result<HttpService, Error> {
        self.once(client.binding, Some(streams), |this| {
            this.routes(Some(client.binding), &client.routes, path, |this, route| {
                this.upstream(client.binding, &route.next, streams, client.options.retry)
            })
        })
    }

    fn files(&mut self, proxy: &plan::HttpFilesystem<'c>) -> Result<HttpService, Error> {
        self.once(proxy.binding, None, |this| {
            this.routes(
                Some(proxy.binding),
                &proxy.routes,
                |when| (when.condition.clone(), when.path.as_ref().map(ToString::to_string)),
                |this, route| {
                    let plan::Filesystem { binding, options, .. } = route.next;
                    let location: PathBuf = this.folder.join(&options.location);
                    if this.folders.insert(&binding.name) {
                        files::look_at(&location);
                    }
                    let files = files::Files::new(location, options.symlinks, &route.rule.with);
                    Ok(boxed(Bounded::new(files, &this.responses)))
                },
            )
        })
    }

    /// The service of a binding, built at the first call. `streams` comes from the `sse` binding above.
    fn once(
        &mut self,
        binding: &'c config::Binding,
        streams: Option<SseOptions>,
        build: impl FnOnce(&mut Self) -> Result<HttpService, Error>,
    ) -> Result<HttpService, Error> {
        let key = (binding.name.as_str(), streams);
        if let Some(service) = self.resources.get(&key) {
            return Ok(service.clone());
        }
        let service = build(self)?;
        let service = match self.meters.of(self.config, binding) {
            Some(meter) => BoxCloneSyncService::new(
                service.map_request(move |request| exchange::enter(&meter, request)),
            ),
            None => service,
        };
        self.resources.insert(key, service.clone());
        Ok(service)
    }

    /// Builds the routes of a binding, and with `next` the service of each route. `when` returns the condition of an
    /// entry of `when`, and the pattern of its path. `binding` is the one that requests of these routes are told to
    /// be served by, if it is another than before.
    fn routes<W, N, T>(
        &mut self,
        binding: Option<&config::Binding>,
        routes: &[plan::Branch<'c, W, N, T>],
        when: impl Fn(&W) -> (Condition, Option<String>),
        mut next: impl FnMut(&mut Self, &plan::Branch<'c, W, N, T>) -> Result<HttpService, Error>,
    ) -> Result<HttpService, Error> {
        let binding: Option<Arc<str>> = binding.map(|binding| self.label(&binding.name).into());
        let mut table = Routes::new().guard(guard::access);
        for route in routes {
            let guarded: Vec<Requirement> = route
                .rule
                .guarded
                .iter()
                .map(|demand| Requirement::new(&demand.guard, &demand.roles))
                .collect();
            let service = next(self, route)?;
            let mut conditions: Vec<_> = route.rule.when.iter().map(&when).collect();
            if conditions.is_empty() {
                conditions.push((Condition::any(), None));
            }
            // Each condition is a route of its own, so that the pattern that took a request is known.
            for (condition, pattern) in conditions {
                let located = Located::new(service.clone(), binding.as_ref(), pattern);
                table = table.guarded_route([condition], guarded.clone(), located);
            }
        }
        let router = Located::new(Router::new(table), binding.as_ref(), None);
        Ok(BoxCloneSyncService::new(router))
    }

    /// The models of the events of an `sse` binding.
    fn event_models(&self, streams: SseOptions) -> Contents {
        let contents = streams.contents.and_then(|at| self.contents.get(at));
        contents.cloned().unwrap_or_default()
    }

    /// The layer that writes the events of a source. `variables` are those that the templates of the route
    /// use.
    fn frames(&self, streams: SseOptions, variables: Box<[Variable]>) -> SseLayer {
        let SseOptions { retry, max_age, contents: _ } = streams;
        let frames = SseLayer::new().drain(&self.drain).retry(retry);
        let frames = max_age.into_iter().fold(frames, SseLayer::max_age);
        frames.lease(move |parts| guard::lease(parts, &variables))
    }
}

/// Boxes the bodies of a service. Each body has one box, however many bindings its response passes: a second
/// box would cost a cache miss for each event of each stream.
fn boxed<S, R>(service: S) -> HttpService
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

/// Forbids browsers to guess another type than the `content-type` of the response.
fn without_guesses<B>(mut response: Response<B>) -> Response<B> {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn path(when: &config::PathCondition) -> (Condition, Option<String>) {
    let condition = when.path.clone().map_or_else(Condition::any, Condition::from);
    (condition, when.path.as_ref().map(ToString::to_string))
}

fn headers(when: &config::HttpCondition) -> (Condition, Option<String>) {
    let path = when.headers.iter().find(|(name, _)| name == ":path");
    (when.condition.clone(), path.map(|(_, pattern)| pattern.to_string()))
}
