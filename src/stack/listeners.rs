//! `tcp` bindings: the ports, and the routes of connections.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use futures_util::TryFutureExt as _;
use futures_util::future::Either;
use hyper::body::Incoming;
use rustix::io::Errno;
use tailwater_http::{
    Connection, ConnectionLimit, ListenOptions, Listener, Peer, ServeOptions, Shutdown, Workers,
    WriteDeadline, serve,
};
use tailwater_route::Scheme;
use tailwater_sse::{BoxError, Drain};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::service_fn;
use tracing::info;

use crate::blocks::Blocks;
use crate::config::{Config, ExporterKind, TcpCondition, plan};
use crate::metrics::Metrics;
use crate::metrics::connection::{self, MeteredIo};
use crate::metrics::meter::{Meter, Meters};
use crate::metrics::requests::Requests;
use crate::open_files::OpenFiles;
use crate::otlp::{Exporter, Pushes};
use crate::stack::catalogs::Catalogs;
use crate::stack::handle::Counted;
use crate::stack::{Cluster, Error, HttpServer, StackBuilder, TlsServer};
use crate::streams::Streams;
use crate::{limits, port};

/// A configuration that is ready to serve: all ports are bound, and all clusters are started.
pub struct Stack {
    pub(super) listening: Vec<Listening>,
    /// The ports of exporters, and the paths of metrics there.
    endpoints: Vec<(Listener, String)>,
    pub(super) clusters: HashMap<String, Cluster>,
    pub(super) exporters: Vec<Exporter>,
    pub(super) requests: Arc<Requests>,
    pub(super) meters: Arc<Meters>,
    pub(super) counted: Counted,
    pub(super) shutdown: Shutdown,
    drain: Drain,
    pub(super) streams: Streams,
    pub(super) blocks: Blocks,
    /// How many connections all ports take together.
    pub(super) max_connections: usize,
    /// The maximum number of connections for health checks.
    pub(super) max_health_connections: usize,
    /// The maximum number of connections for administration.
    pub(super) max_admin_connections: usize,
    pub(super) taken_out: Arc<AtomicBool>,
}

/// The limits that all namespaces share.
pub(super) struct Places {
    connections: ConnectionLimit,
    /// The permits of responses from files.
    responses: Arc<Semaphore>,
    /// The permits of streams of other servers.
    upstream: Arc<Semaphore>,
}

pub(super) struct Listening {
    pub(super) binding: String,
    options: ServeOptions,
    pub(super) connections: ConnectionLimit,
    listeners: Vec<Listener>,
    meter: Option<Arc<Meter>>,
    routes: Arc<[(Vec<TcpCondition>, Next)]>,
}

/// The binding that serves a connection.
pub(super) enum Next {
    Http(HttpServer),
    Tls(TlsServer),
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Stack {
    /// Builds the layers of all namespaces and binds the ports. `folder` is the base of the relative paths in
    /// the configuration.
    ///
    /// # Errors
    /// A host can't be resolved, a port can't be bound, a certificate can't be read or used, a guard or a
    /// proxied server is not valid, or librdkafka rejects an option. See the variants of [`Error`].
    ///
    /// # Panics
    /// If it is called outside of a Tokio runtime.
    pub fn new(namespaces: Vec<Config>, folder: &Path) -> Result<Self, Error> {
        let (mut stack, places) = Self::empty(&namespaces);
        for config in &namespaces {
            stack
                .add(config, &namespaces, &places, folder)
                .map_err(|source| of_namespace(config, &namespaces, source))?;
        }
        Ok(stack)
    }

    /// A stack without listeners.
    pub(super) fn empty(namespaces: &[Config]) -> (Self, Places) {
        let shutdown = Shutdown::new();
        let drain = crate::drain(&shutdown);
        let limit = tailwater_http::raise_open_files().ok().flatten();
        let open_files = OpenFiles::of(namespaces, limit, crate::server::cores());
        open_files.warn();
        let places = Places {
            connections: ConnectionLimit::new(open_files.connections),
            responses: Arc::new(Semaphore::new(open_files.responses)),
            upstream: Arc::new(Semaphore::new(open_files.upstream)),
        };
        let stack = Self {
            listening: Vec::new(),
            endpoints: Vec::new(),
            clusters: HashMap::new(),
            streams: Streams::new(shutdown.clone()),
            blocks: Blocks::default(),
            exporters: Vec::new(),
            requests: Arc::default(),
            meters: Arc::default(),
            counted: Counted::default(),
            shutdown,
            drain,
            max_connections: open_files.most_connections(),
            max_health_connections: open_files.health,
            max_admin_connections: open_files.admin,
            taken_out: Arc::default(),
        };
        (stack, places)
    }

    /// What builds the layers of a namespace.
    #[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "clusters need the plan"))]
    pub(super) fn builder<'c>(
        &self,
        config: &'c Config,
        plan: &'c plan::Plan<'c>,
        all: &'c [Config],
        places: &Places,
        folder: &'c Path,
    ) -> StackBuilder<'c> {
        StackBuilder {
            config,
            #[cfg(feature = "kafka")]
            plan,
            all,
            folder,
            requests: Arc::clone(&self.requests),
            meters: Arc::clone(&self.meters),
            counted: Counted::default(),
            shutdown: self.shutdown.clone(),
            drain: self.drain.clone(),
            streams: self.streams.clone(),
            blocks: self.blocks.clone(),
            clusters: HashMap::new(),
            resources: HashMap::new(),
            folders: HashSet::new(),
            http_servers: HashMap::new(),
            tls_servers: HashMap::new(),
            guards: HashMap::new(),
            catalogs: Catalogs::new(config, folder),
            contents: Vec::new(),
            responses: Arc::clone(&places.responses),
            upstream: Arc::clone(&places.upstream),
        }
    }

    fn add(
        &mut self,
        config: &Config,
        all: &[Config],
        places: &Places,
        folder: &Path,
    ) -> Result<(), Error> {
        let plan = config.plan();
        let mut builder = self.builder(config, &plan, all, places, folder);
        for plan::TcpServer { binding, options: server, routes: planned, .. } in &plan.listeners {
            let mut routes = Vec::new();
            for route in planned {
                routes.push((route.rule.when.clone(), builder.next(&route.next)?));
            }
            let name = builder.label(&binding.name);
            let listeners = listen(&name, &server.host, &server.ports)?;
            let most = server.connections.unwrap_or(limits::CONNECTIONS);
            let connections = ConnectionLimit::within(most, &places.connections);
            let options = ServeOptions::new().name(&name).connection_limit(connections.clone());
            let options =
                server.write_deadline.into_iter().fold(options, ServeOptions::write_deadline);
            self.listening.push(Listening {
                binding: name,
                options,
                connections,
                listeners,
                meter: self.meters.of(config, binding),
                routes: routes.into(),
            });
        }
        for (exporter, endpoint) in config.prometheus() {
            let listener = metrics_port(&exporter.name, endpoint.port)?;
            self.endpoints.push((listener, endpoint.path.clone()));
        }
        for exporter in &config.telemetry.exporters {
            if let ExporterKind::Otlp(otlp) = &exporter.kind {
                let tls = builder.exporter_tls(&exporter.name, otlp)?;
                let attributes = &config.telemetry.attributes;
                self.exporters.push(Exporter::new(&exporter.name, otlp, attributes, tls));
            }
        }
        self.counted.append(std::mem::take(&mut builder.counted));
        let named =
            builder.clusters.iter().map(|(path, cluster)| (builder.label(path), cluster.clone()));
        self.clusters.extend(named);
        Ok(())
    }

    /// Pushes metrics and logs to collectors.
    pub(crate) fn push(&mut self, metrics: &Arc<Metrics>) -> Pushes {
        Pushes::start(self.exporters.drain(..), metrics)
    }

    /// Serves metrics at the ports of exporters, until the runtime ends.
    pub(crate) fn serve_metrics(&mut self, metrics: &Arc<Metrics>) {
        for (listener, path) in self.endpoints.drain(..) {
            let metrics = Arc::clone(metrics);
            let service = service_fn(move |request: Request<Incoming>| {
                let metrics = (request.uri().path() == path).then(|| Arc::clone(&metrics));
                async move {
                    let Some(metrics) = metrics else {
                        let mut response = Response::new(String::new());
                        *response.status_mut() = StatusCode::NOT_FOUND;
                        return Ok::<_, Infallible>(response);
                    };
                    Ok(metrics.answer(request.method()).await)
                }
            });
            tokio::spawn(port::serve(listener, service, self.max_health_connections));
        }
    }

    /// Sets the threads that serve connections. Default: those of the runtime that calls
    /// [`serve`](Stack::serve).
    #[must_use]
    pub fn workers(mut self, workers: &Workers) -> Self {
        for listening in &mut self.listening {
            listening.options = listening.options.clone().workers(workers);
        }
        self
    }

    /// The addresses of the bound ports.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.listening.iter().flat_map(|listening| &listening.listeners);
        listeners.filter_map(|listener| listener.local_address().ok()).collect()
    }

    /// Serves until `stop` is ready and all connections have ended. The output of `stop` is the time that
    /// streams have to end.
    pub async fn serve(self, stop: impl Future<Output = Duration>) {
        let Self { listening, shutdown, .. } = self;
        let mut servers = tokio::task::JoinSet::new();
        for Listening { options, listeners, meter, routes, .. } in listening {
            let service = service_fn(move |connection| {
                connection::counted(meter.as_ref(), connect(&routes, meter.as_ref(), connection))
            });
            servers.spawn(serve(listeners, service, options, shutdown.clone()));
        }
        shutdown.begin(stop.await);
        while servers.join_next().await.is_some() {}
    }
}

/// The port of an exporter, on all addresses.
fn metrics_port(exporter: &str, port: u16) -> Result<Listener, Error> {
    let bind = |address| ListenOptions::new().backlog(64).bind(address);
    let mut address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = bind(address).or_else(|error| {
        // A system without IPv6.
        if !matches!(
            error.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
        ) {
            return Err(error);
        }
        address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        bind(address)
    });
    let failed = |source| Error::Listen { binding: exporter.to_owned(), address, source };
    let listener = listener.map_err(failed)?;
    info!(%address, exporter, "serving metrics");
    Ok(listener)
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
            let listener = ListenOptions::new()
                .send_buffer_bytes(Some(limits::SEND_BUFFER_BYTES))
                .bind(address)
                .map_err(failed)?;
            // For port 0 of the configuration the system has chosen a port.
            let address = listener.local_address().map_err(failed)?;
            info!(%address, binding, "listening");
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Serves a connection by the first route of a `tcp` binding that matches it. Without a match the connection is
/// closed.
fn connect(
    routes: &[(Vec<TcpCondition>, Next)],
    meter: Option<&Arc<Meter>>,
    connection: Connection<WriteDeadline<TcpStream>>,
) -> impl Future<Output = Result<(), BoxError>> + Send + use<> {
    let port = connection.io().get_ref().local_addr().map_or(0, |address| address.port());
    let peer = connection.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let takes = |when: &[TcpCondition]| {
        when.is_empty()
            || peer.is_some_and(|peer| when.iter().any(|condition| condition.matches(port, peer)))
    };
    let route = routes.iter().find(|(when, _)| takes(when));
    let (io, extensions) = connection.into_parts();
    let connection = Connection::from((MeteredIo::new(io, meter), extensions));
    match route {
        None => Either::Left(ready(Ok(()))),
        Some((_, Next::Http(http_server))) => {
            Either::Right(Either::Left(http_server.serve(connection, Scheme::Http).err_into()))
        }
        Some((_, Next::Tls(tls))) => Either::Right(Either::Right(tls.serve(connection, port))),
    }
}

impl<'c> StackBuilder<'c> {
    /// Builds the binding that serves connections: an `http` binding, or a `tls` binding before it.
    fn next(&mut self, next: &plan::Next<'c>) -> Result<Next, Error> {
        Ok(match next {
            plan::Next::Tls(tls) => Next::Tls(self.tls_server(tls)?),
            plan::Next::Http(http) => Next::Http(self.http_server(http)?),
        })
    }
}

/// Names the namespace of an error, if there are several.
pub(super) fn of_namespace(config: &Config, all: &[Config], source: Error) -> Error {
    match all.len() {
        1 => source,
        _ => Error::Namespace { name: config.name.clone(), source: Box::new(source) },
    }
}
