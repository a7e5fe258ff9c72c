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
use tailwater_kafka::{Cluster, KafkaSourceLayer, Variable};
use tailwater_route::{Condition, Requirement, Router, Routes, Scheme};
use tailwater_sse::{BoxError, Drain, SseLayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt as _};

use crate::config::{self, Config, HttpVersion, Kind, memory};
use crate::open_files::Bounded;
use crate::{access, access_log, files};

mod error;
mod guard;
mod kafka;
mod listeners;
mod tls;
mod upstream;

pub use self::error::Error;
use self::kafka::{mapping_of, value};
pub use self::listeners::Stack;
use self::tls::TlsServer;

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
    config: &'c Arc<Config>,
    /// All namespaces, this one among them.
    all: &'c [Config],
    folder: &'c Path,
    shutdown: Shutdown,
    drain: Drain,
    /// By the names of the `kafka` bindings on the path.
    clusters: HashMap<String, Cluster>,
    exits: HashMap<(String, Option<SseOptions>), HttpService>,
    /// The `filesystem` bindings whose folders were looked at.
    folders: HashSet<String>,
    http_servers: HashMap<String, HttpServer>,
    tls_servers: HashMap<String, TlsServer>,
    guards: HashMap<String, Guard>,
    /// Places for responses from files.
    responses: Arc<Semaphore>,
    /// Places for streams of other servers.
    upstream: Arc<Semaphore>,
}

impl StackBuilder<'_> {
    /// What a path through bindings, as `cache/store/cluster`, is called in all of the process.
    fn label(&self, path: &str) -> String {
        config::label(self.config, self.all, &path.split('/').collect::<Vec<_>>())
    }

    fn unsupported(&self, exit: &str) -> Error {
        let kind = self.config.binding(exit).map(|binding| binding.kind.of().to_string());
        Error::Unsupported(format!("{exit} ({})", kind.unwrap_or_default()))
    }

    /// What connections go to: an `http` binding.
    fn http_server(&mut self, exit: &str) -> Result<HttpServer, Error> {
        if let Some(http_server) = self.http_servers.get(exit) {
            return Ok(http_server.clone());
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
            &server.routes,
            |when| when.condition.clone(),
            |this, route| this.exit(&route.exit, None),
        )?;
        // Before the routes, which ask what it found.
        let guarded = server.authorization.is_some();
        let known = match &server.authorization {
            Some(authorization) => {
                let guard = ServiceBuilder::new()
                    .map_request(self.kept(authorization)?)
                    .layer(self.guard(authorization)?)
                    .map_request(guard::log_rejection);
                BoxCloneSyncService::new(guard.service(routes))
            }
            None => routes,
        };
        // Around the guard, since a preflight brings no credentials.
        let behind = access::Behind { guarded, streams: self.has_streams(server) };
        let controlled = access::layer(&server.access_control, behind).layer(known);
        let controlled = controlled.map_response(without_guesses);
        // The log is outermost: it has what the others refuse, too.
        let service = if self.all.iter().any(Config::logs_access) {
            boxed(access_log::layer().layer(controlled))
        } else {
            BoxCloneSyncService::new(controlled)
        };
        let http = HttpLayer::new()
            .versions(versions)
            .send_buffer_bytes(memory::UNREAD_BYTES)
            .shutdown(self.shutdown.clone())
            .layer(service);
        let http_server = HttpServer { http, versions, guarded };
        self.http_servers.insert(exit.to_owned(), http_server.clone());
        Ok(http_server)
    }

    fn has_streams(&self, server: &config::HttpServer) -> bool {
        server.routes.iter().any(|route| {
            let to = self.config.binding(&route.exit).map(|binding| &binding.kind);
            matches!(to, Some(Kind::SseServer(_)))
        })
    }

    /// What requests go to. `streams` comes from the `sse` binding above, if there is one.
    fn exit(&mut self, exit: &str, streams: Option<SseOptions>) -> Result<HttpService, Error> {
        let key = (exit.to_owned(), streams);
        if let Some(service) = self.exits.get(&key) {
            return Ok(service.clone());
        }
        let config = Arc::clone(self.config);
        let service = match config.binding(exit).map(|binding| &binding.kind) {
            Some(Kind::SseServer(sse)) => self.routes(&sse.routes, path, |this, route| {
                let streams = SseOptions { retry: sse.retry, max_age: sse.max_age };
                this.exit(&route.exit, Some(streams))
            })?,
            Some(Kind::SseClient(client)) => self.routes(&client.routes, path, |this, route| {
                this.upstream(&route.exit, streams, client.retry)
            })?,
            Some(Kind::SseKafka(mapping)) => {
                self.routes(&mapping.routes, path, |this, route| {
                    // The streams are framed below the routes, so that a rejection is a plain response.
                    let places = route.with.variables().cloned().collect();
                    let frames = this.frames(streams, places);
                    let source = KafkaSourceLayer::new(mapping_of(&route.with)).variables(value);
                    Ok(boxed(frames.layer(source.layer(this.topics(&route.exit)?))))
                })?
            }
            Some(Kind::HttpFilesystem(mapping)) => self.routes(
                &mapping.routes,
                |when| when.condition.clone(),
                |this, route| match this.config.binding(&route.exit).map(|binding| &binding.kind) {
                    Some(Kind::Filesystem(folder)) => {
                        let location: PathBuf = this.folder.join(&folder.location);
                        if this.folders.insert(route.exit.clone()) {
                            files::look_at(&location);
                        }
                        let files = files::Files::new(location, folder.symlinks, &route.with);
                        Ok(boxed(Bounded::new(files, &this.responses)))
                    }
                    _ => Err(this.unsupported(&route.exit)),
                },
            )?,
            _ => return Err(self.unsupported(exit)),
        };
        self.exits.insert(key, service.clone());
        Ok(service)
    }

    /// The routes of a binding over what each leads to.
    fn routes<W, T>(
        &mut self,
        routes: &[config::Route<W, T>],
        condition: impl Fn(&W) -> Condition,
        mut exit: impl FnMut(&mut Self, &config::Route<W, T>) -> Result<HttpService, Error>,
    ) -> Result<HttpService, Error> {
        let mut table = Routes::new().guard(guard::access);
        for route in routes {
            let when = route.when.iter().map(&condition);
            let guarded =
                route.guarded.iter().map(|demand| Requirement::new(&demand.guard, &demand.roles));
            table = table.guarded_route(when, guarded, exit(self, route)?);
        }
        Ok(BoxCloneSyncService::new(Router::new(table)))
    }

    /// What makes event streams of a source; `places` are those that its templates filled.
    fn frames(&self, streams: Option<SseOptions>, places: Box<[Variable]>) -> SseLayer {
        let mut frames = SseLayer::new().drain(&self.drain);
        if let Some(SseOptions { retry, max_age }) = streams {
            frames = max_age.into_iter().fold(frames.retry(retry), SseLayer::max_age);
        }
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
