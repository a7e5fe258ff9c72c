//! From a configuration to the layers: each binding is a layer, and its `exit` the layer's inner
//! service.
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
//! kafka …           one cluster for each path of exits      tailwater-kafka
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

use crate::config::plan::{self, Resource, Streams};
use crate::config::{self, Config, HttpVersion};
use crate::open_files::Bounded;
use crate::{access, access_log, files, limits};

mod error;
mod guard;
#[cfg(feature = "kafka")]
mod kafka;
mod listeners;
mod tls;
mod upstream;
#[cfg(not(feature = "kafka"))]
mod without_kafka;

pub use self::error::Error;
#[cfg(feature = "kafka")]
pub(crate) use self::kafka::Cluster;
pub use self::listeners::Stack;
use self::tls::TlsServer;
#[cfg(not(feature = "kafka"))]
pub(crate) use self::without_kafka::Cluster;

type Body = UnsyncBoxBody<Bytes, BoxError>;
/// What an exit over HTTP leads to.
type HttpService = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// An `http` binding: what connections are served by.
#[derive(Clone)]
struct HttpServer {
    http: Http<HttpService>,
    versions: Versions,
    /// Whether requests are asked for credentials.
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

/// What an `sse` binding says of the streams below it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SseOptions {
    retry: Duration,
    max_age: Option<Duration>,
}

/// Builds what exits of a namespace lead to, each once.
struct StackBuilder<'c> {
    config: &'c Config,
    /// All namespaces, this one among them.
    all: &'c [Config],
    folder: &'c Path,
    shutdown: Shutdown,
    drain: Drain,
    /// By the names of the `kafka` bindings on the path.
    clusters: HashMap<String, Cluster>,
    resources: HashMap<(&'c str, Option<SseOptions>), HttpService>,
    /// The `filesystem` bindings whose folders were looked at.
    folders: HashSet<&'c str>,
    http_servers: HashMap<&'c str, HttpServer>,
    tls_servers: HashMap<&'c str, TlsServer>,
    guards: HashMap<&'c str, Guard>,
    /// Places for responses from files.
    responses: Arc<Semaphore>,
    /// Places for streams of other servers.
    upstream: Arc<Semaphore>,
}

impl<'c> StackBuilder<'c> {
    /// What a path through bindings, as `cache/store/cluster`, is called in all of the process.
    fn label(&self, path: &str) -> String {
        config::label(self.config, self.all, &path.split('/').collect::<Vec<_>>())
    }

    /// An `http` binding, which connections go to.
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
        let routes = self.routes(
            &server.routes,
            |when| when.condition.clone(),
            |this, route| match &route.next {
                Resource::Sse(sse) => this.sse_server(sse),
                Resource::Files(files) => this.files(files),
            },
        )?;
        // Before the routes, which ask what it found.
        let known = match (&options.authorization, server.guard) {
            (Some(authorization), Some(guard)) => {
                let guard = ServiceBuilder::new()
                    .map_request(self.kept(authorization)?)
                    .layer(self.guard(guard, authorization)?)
                    .map_request(guard::log_rejection);
                BoxCloneSyncService::new(guard.service(routes))
            }
            _ => routes,
        };
        let guarded = options.authorization.is_some();
        let streams = server.routes.iter().any(|route| matches!(route.next, Resource::Sse(_)));
        // Around the guard, since a preflight brings no credentials.
        let behind = access::Behind { guarded, streams };
        let controlled = access::layer(&options.access_control, behind).layer(known);
        let controlled = controlled.map_response(without_guesses);
        // The log is outermost: it has what the others refuse, too.
        let service = if self.all.iter().any(Config::logs_access) {
            boxed(access_log::layer().layer(controlled))
        } else {
            BoxCloneSyncService::new(controlled)
        };
        let http = HttpLayer::new()
            .versions(versions)
            .send_buffer_bytes(limits::UNREAD_BYTES)
            .shutdown(self.shutdown.clone())
            .layer(service);
        let http_server = HttpServer { http, versions, guarded };
        self.http_servers.insert(name, http_server.clone());
        Ok(http_server)
    }

    fn sse_server(&mut self, server: &plan::SseServer<'c>) -> Result<HttpService, Error> {
        let streams = SseOptions { retry: server.options.retry, max_age: server.options.max_age };
        self.once(server.binding, None, |this| {
            this.routes(&server.routes, path, |this, route| match &route.next {
                Streams::Topics(proxy) => this.topic_streams(proxy, streams),
                Streams::Upstream(client) => this.upstream_streams(client, streams),
            })
        })
    }

    fn topic_streams(
        &mut self,
        proxy: &plan::SseKafka<'c>,
        streams: SseOptions,
    ) -> Result<HttpService, Error> {
        self.once(proxy.binding, Some(streams), |this| {
            this.routes(&proxy.routes, path, |this, route| {
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
            this.routes(&client.routes, path, |this, route| {
                this.upstream(&route.next, streams, client.options.retry)
            })
        })
    }

    fn files(&mut self, proxy: &plan::HttpFilesystem<'c>) -> Result<HttpService, Error> {
        self.once(proxy.binding, None, |this| {
            this.routes(
                &proxy.routes,
                |when| when.condition.clone(),
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

    /// What a binding answers requests by, made once. `streams` comes from the `sse` binding above.
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
        self.resources.insert(key, service.clone());
        Ok(service)
    }

    /// The routes of a binding over what each leads to.
    fn routes<W, N, T>(
        &mut self,
        routes: &[plan::Branch<'c, W, N, T>],
        condition: impl Fn(&W) -> Condition,
        mut next: impl FnMut(&mut Self, &plan::Branch<'c, W, N, T>) -> Result<HttpService, Error>,
    ) -> Result<HttpService, Error> {
        let mut table = Routes::new().guard(guard::access);
        for route in routes {
            let when = route.rule.when.iter().map(&condition);
            let guarded = route
                .rule
                .guarded
                .iter()
                .map(|demand| Requirement::new(&demand.guard, &demand.roles));
            table = table.guarded_route(when, guarded, next(self, route)?);
        }
        Ok(BoxCloneSyncService::new(Router::new(table)))
    }

    /// What makes event streams of a source; `places` are those that its templates filled.
    fn frames(&self, streams: SseOptions, places: Box<[Variable]>) -> SseLayer {
        let SseOptions { retry, max_age } = streams;
        let frames = SseLayer::new().drain(&self.drain).retry(retry);
        let frames = max_age.into_iter().fold(frames, SseLayer::max_age);
        frames.lease(move |parts| guard::lease(parts, &places))
    }
}

/// An exit whose bodies are of a kind of their own. Each body has one box, however many bindings its
/// response comes through: every further one would be a cache miss for every event of every stream.
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

/// A response is of the type that it says, and of no other that a browser could guess.
fn without_guesses<B>(mut response: Response<B>) -> Response<B> {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn path(when: &config::PathCondition) -> Condition {
    when.path.clone().map_or_else(Condition::any, Condition::from)
}
