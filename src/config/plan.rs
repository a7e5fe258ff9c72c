//! A configuration whose exits are resolved: the tree that the stack builds and `check` describes.
//!
//! A binding that several exits lead to is one node. Only what a listener leads to is in the tree. A
//! parsed configuration has no exit that leads nowhere, so the tree is complete.

use std::collections::HashMap;
use std::sync::Arc;

use ::http::uri::Authority;

use crate::config::Config;
use crate::config::bindings::files::{FileCondition, FileWith};
use crate::config::bindings::http::{Authorization, HttpCondition};
use crate::config::bindings::kafka::TopicCondition;
use crate::config::bindings::sse::{PathCondition, SseKafkaWith};
use crate::config::bindings::tcp::TcpCondition;
use crate::config::bindings::tls::{ClientCertificate, TlsCondition};
use crate::config::bindings::{self, Binding, Kind};
use crate::config::bindings::{files, http, kafka, sse, tcp, tls};
use crate::config::sections::security::{Guard, Vault};
use crate::config::source::TopicSource;

/// A namespace as a tree.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan<'c> {
    /// The `tcp` servers, in the order of the file.
    pub listeners: Vec<TcpServer<'c>>,
    /// The routes of all `sse-kafka` bindings, in the order of the file, with or without a listener that leads
    /// to them.
    pub(crate) topic_routes: Vec<TopicRoute<'c>>,
}

/// A route of an `sse-kafka` binding.
#[derive(Clone, Debug)]
pub(crate) struct TopicRoute<'c> {
    pub(crate) binding: &'c Binding,
    pub(crate) with: &'c SseKafkaWith,
    /// The source of its topic.
    pub(crate) topics: Topics<'c>,
}

/// A binding, and where its routes lead.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Node<'c, O, R = ()> {
    /// The binding.
    pub binding: &'c Binding,
    /// Its options.
    pub options: &'c O,
    /// The vault that it names.
    pub vault: Option<&'c Vault>,
    /// The guard that the `authorization` of an `http` binding names.
    pub guard: Option<&'c Guard>,
    /// Its routes, in order.
    pub routes: Vec<R>,
}

/// A route, and what it leads to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Branch<'c, W, N, T = ()> {
    /// Its conditions, guards and `with`.
    pub rule: &'c bindings::Route<W, T>,
    /// The target of the request or connection.
    pub next: N,
}

/// A `tcp` server.
pub type TcpServer<'c> = Node<'c, tcp::TcpServer, Branch<'c, TcpCondition, Next<'c>>>;
/// A `tls` server.
pub type TlsServer<'c> = Node<'c, tls::TlsServer, Branch<'c, TlsCondition, Arc<HttpServer<'c>>>>;
/// An `http` server.
pub type HttpServer<'c> = Node<'c, http::HttpServer, Branch<'c, HttpCondition, Resource<'c>>>;
/// An `sse` server.
pub type SseServer<'c> = Node<'c, sse::SseServer, Branch<'c, PathCondition, Streams<'c>>>;
/// An `sse-kafka` proxy.
pub type SseKafka<'c> =
    Node<'c, sse::SseKafka, Branch<'c, PathCondition, Topics<'c>, SseKafkaWith>>;
/// An `sse` client.
pub type SseClient<'c> = Node<'c, sse::SseClient, Branch<'c, PathCondition, Arc<HttpClient<'c>>>>;
/// An `http` client.
pub type HttpClient<'c> = Node<'c, http::HttpClient, Branch<'c, HttpCondition, Upstream<'c>>>;
/// A `tls` client.
pub type TlsClient<'c> =
    Node<'c, tls::TlsClient, Branch<'c, TlsCondition, TcpClient<'c>, Option<ClientCertificate>>>;
/// A `tcp` client.
pub type TcpClient<'c> = Node<'c, tcp::TcpClient>;
/// A `kafka` cache client.
pub type KafkaCacheClient<'c> =
    Node<'c, kafka::KafkaCacheClient, Branch<'c, TopicCondition, Arc<KafkaCacheServer<'c>>>>;
/// A `kafka` cache server.
pub type KafkaCacheServer<'c> =
    Node<'c, kafka::KafkaCacheServer, Branch<'c, TopicCondition, Arc<Cluster<'c>>>>;
/// An `http-filesystem` proxy.
pub type HttpFilesystem<'c> =
    Node<'c, files::HttpFilesystem, Branch<'c, FileCondition, Filesystem<'c>, FileWith>>;
/// A `filesystem` server.
pub type Filesystem<'c> = Node<'c, files::Filesystem>;

/// The target of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Next<'c> {
    /// TLS.
    Tls(Arc<TlsServer<'c>>),
    /// HTTP without TLS.
    Http(Arc<HttpServer<'c>>),
}

/// The target of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resource<'c> {
    /// Event streams.
    Sse(Arc<SseServer<'c>>),
    /// Files.
    Files(Arc<HttpFilesystem<'c>>),
}

/// The source of event streams.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Streams<'c> {
    /// Topics of Kafka.
    Topics(Arc<SseKafka<'c>>),
    /// The streams of another server.
    Upstream(Arc<SseClient<'c>>),
}

/// The source of topics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Topics<'c> {
    /// A cache in front of clusters.
    Cache(Arc<KafkaCacheClient<'c>>),
    /// A cluster.
    Cluster(Arc<Cluster<'c>>),
}

/// A `kafka` client: a cluster, and how it is connected to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Cluster<'c> {
    /// The binding.
    pub binding: &'c Binding,
    /// Its options.
    pub options: &'c kafka::KafkaClient,
    /// How it is connected to.
    pub connection: Connection<'c>,
}

/// Another server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Upstream<'c> {
    /// Its address.
    pub address: Authority,
    /// How it is connected to.
    pub connection: Connection<'c>,
}

/// How a server is connected to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Connection<'c> {
    /// By TLS.
    Tls(Arc<TlsClient<'c>>),
    /// Without TLS.
    Tcp(TcpClient<'c>),
}

impl<'c> Connection<'c> {
    /// The `tls` client, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsClient<'c>>> {
        match self {
            Connection::Tls(tls) => Some(tls),
            Connection::Tcp(_) => None,
        }
    }

    /// The `tcp` client. If a `tls` client has several, the first one is used.
    fn tcp(&self) -> Option<&TcpClient<'c>> {
        match self {
            Connection::Tls(tls) => tls.routes.first().map(|route| &route.next),
            Connection::Tcp(tcp) => Some(tcp),
        }
    }
}

impl<'c> Topics<'c> {
    /// The first binding on the path of a topic.
    pub(super) fn binding(&self) -> &'c Binding {
        match self {
            Topics::Cache(client) => client.binding,
            Topics::Cluster(cluster) => cluster.binding,
        }
    }

    /// The paths that a topic can take. Without a topic, all paths. The first route that matches decides: if
    /// the routes behind it do not take the topic, no other route is tried.
    pub(crate) fn sources(&self, topic: Option<&str>) -> Vec<TopicSource<'c>> {
        match self {
            Topics::Cluster(cluster) => vec![cluster.source()],
            Topics::Cache(client) => {
                let servers = matching(&client.routes, topic);
                let sources = servers.flat_map(|server| {
                    let clusters = matching(&server.next.routes, topic);
                    clusters.map(|cluster| cluster.next.source().behind(client, &server.next))
                });
                sources.collect()
            }
        }
    }
}

fn matching<'r, 'c, N>(
    routes: &'r [Branch<'c, TopicCondition, N>],
    topic: Option<&str>,
) -> impl Iterator<Item = &'r Branch<'c, TopicCondition, N>> {
    let most = if topic.is_some() { 1 } else { usize::MAX };
    let matches = move |route: &&Branch<'c, TopicCondition, N>| {
        let matches = |topic| route.rule.when.iter().any(|when| when.matches(topic));
        route.rule.when.is_empty() || topic.is_none_or(matches)
    };
    routes.iter().filter(matches).take(most)
}

impl<'c> Cluster<'c> {
    /// The path of a topic that comes from this cluster without a cache.
    #[must_use]
    pub fn source(&self) -> TopicSource<'c> {
        TopicSource {
            path: vec![self.binding],
            cache_client: None,
            cache_server: None,
            cluster: self.options,
            connection: self.connection.clone(),
        }
    }
}

impl Config {
    /// The namespace with its exits resolved.
    #[must_use]
    pub fn plan(&self) -> Plan<'_> {
        let mut resolver = Resolver::new(self);
        let listeners = self.listeners();
        let listeners = listeners.map(|(binding, server)| {
            let routes = resolver.routes(&server.routes, |resolver, exit| match &exit.kind {
                Kind::TlsServer(tls) => Some(Next::Tls(resolver.tls_server(exit, tls))),
                Kind::HttpServer(http) => Some(Next::Http(resolver.http_server(exit, http))),
                _ => None,
            });
            resolver.node(binding, server, routes)
        });
        let listeners = listeners.collect();
        let mut topic_routes = Vec::new();
        for binding in &self.bindings {
            let Kind::SseKafka(proxy) = &binding.kind else { continue };
            let resolved = resolver.sse_kafka(binding, proxy);
            topic_routes.extend(resolved.routes.iter().map(|route| TopicRoute {
                binding,
                with: &route.rule.with,
                topics: route.next.clone(),
            }));
        }
        Plan { listeners, topic_routes }
    }
}

type Nodes<'c, T> = HashMap<&'c str, Arc<T>>;

/// Makes nodes of bindings, each once.
struct Resolver<'c> {
    config: &'c Config,
    bindings: HashMap<&'c str, &'c Binding>,
    tls_servers: Nodes<'c, TlsServer<'c>>,
    http_servers: Nodes<'c, HttpServer<'c>>,
    sse_servers: Nodes<'c, SseServer<'c>>,
    sse_kafka: Nodes<'c, SseKafka<'c>>,
    sse_clients: Nodes<'c, SseClient<'c>>,
    http_clients: Nodes<'c, HttpClient<'c>>,
    tls_clients: Nodes<'c, TlsClient<'c>>,
    cache_clients: Nodes<'c, KafkaCacheClient<'c>>,
    cache_servers: Nodes<'c, KafkaCacheServer<'c>>,
    kafka_clients: Nodes<'c, Cluster<'c>>,
    files: Nodes<'c, HttpFilesystem<'c>>,
}

impl<'c> Resolver<'c> {
    fn new(config: &'c Config) -> Self {
        let bindings = config.bindings.iter().map(|binding| (binding.name.as_str(), binding));
        Self {
            config,
            bindings: bindings.collect(),
            tls_servers: HashMap::new(),
            http_servers: HashMap::new(),
            sse_servers: HashMap::new(),
            sse_kafka: HashMap::new(),
            sse_clients: HashMap::new(),
            http_clients: HashMap::new(),
            tls_clients: HashMap::new(),
            cache_clients: HashMap::new(),
            cache_servers: HashMap::new(),
            kafka_clients: HashMap::new(),
            files: HashMap::new(),
        }
    }

    fn once<T>(
        &mut self,
        nodes: fn(&mut Self) -> &mut Nodes<'c, T>,
        binding: &'c Binding,
        resolve: impl FnOnce(&mut Self) -> T,
    ) -> Arc<T> {
        if let Some(node) = nodes(self).get(binding.name.as_str()) {
            return Arc::clone(node);
        }
        let node = Arc::new(resolve(self));
        nodes(self).insert(&binding.name, Arc::clone(&node));
        node
    }

    fn node<O, R>(&self, binding: &'c Binding, options: &'c O, routes: Vec<R>) -> Node<'c, O, R> {
        let named = |vault: &&Vault| binding.vault.as_ref() == Some(&vault.name);
        let vault = self.config.vaults.iter().find(named);
        Node { binding, options, vault, guard: None, routes }
    }

    fn guard(&self, authorization: Option<&Authorization>) -> Option<&'c Guard> {
        let name = &authorization?.guard;
        self.config.guards.iter().find(|guard| guard.name == *name)
    }

    fn routes<W, N, T>(
        &mut self,
        routes: &'c [bindings::Route<W, T>],
        mut next: impl FnMut(&mut Self, &'c Binding) -> Option<N>,
    ) -> Vec<Branch<'c, W, N, T>> {
        let resolve = |rule: &'c bindings::Route<W, T>| {
            let exit = self.bindings.get(rule.exit.as_str()).copied()?;
            Some(Branch { rule, next: next(self, exit)? })
        };
        routes.iter().filter_map(resolve).collect()
    }

    fn tls_server(
        &mut self,
        binding: &'c Binding,
        server: &'c tls::TlsServer,
    ) -> Arc<TlsServer<'c>> {
        self.once(
            |this| &mut this.tls_servers,
            binding,
            |this| {
                let routes = this.routes(&server.routes, |this, exit| match &exit.kind {
                    Kind::HttpServer(http) => Some(this.http_server(exit, http)),
                    _ => None,
                });
                this.node(binding, server, routes)
            },
        )
    }

    fn http_server(
        &mut self,
        binding: &'c Binding,
        server: &'c http::HttpServer,
    ) -> Arc<HttpServer<'c>> {
        self.once(
            |this| &mut this.http_servers,
            binding,
            |this| {
                let routes = this.routes(&server.routes, |this, exit| match &exit.kind {
                    Kind::SseServer(sse) => Some(Resource::Sse(this.sse_server(exit, sse))),
                    Kind::HttpFilesystem(files) => {
                        Some(Resource::Files(this.http_filesystem(exit, files)))
                    }
                    _ => None,
                });
                let guard = this.guard(server.authorization.as_ref());
                Node { guard, ..this.node(binding, server, routes) }
            },
        )
    }

    fn http_filesystem(
        &mut self,
        binding: &'c Binding,
        proxy: &'c files::HttpFilesystem,
    ) -> Arc<HttpFilesystem<'c>> {
        self.once(
            |this| &mut this.files,
            binding,
            |this| {
                let routes = this.routes(&proxy.routes, |this, exit| match &exit.kind {
                    Kind::Filesystem(folder) => Some(this.node(exit, folder, Vec::new())),
                    _ => None,
                });
                this.node(binding, proxy, routes)
            },
        )
    }

    fn sse_server(
        &mut self,
        binding: &'c Binding,
        server: &'c sse::SseServer,
    ) -> Arc<SseServer<'c>> {
        self.once(
            |this| &mut this.sse_servers,
            binding,
            |this| {
                let routes = this.routes(&server.routes, |this, exit| match &exit.kind {
                    Kind::SseKafka(proxy) => Some(Streams::Topics(this.sse_kafka(exit, proxy))),
                    Kind::SseClient(client) => {
                        Some(Streams::Upstream(this.sse_client(exit, client)))
                    }
                    _ => None,
                });
                this.node(binding, server, routes)
            },
        )
    }

    fn sse_kafka(&mut self, binding: &'c Binding, proxy: &'c sse::SseKafka) -> Arc<SseKafka<'c>> {
        self.once(
            |this| &mut this.sse_kafka,
            binding,
            |this| {
                let routes = this.routes(&proxy.routes, Self::topics);
                this.node(binding, proxy, routes)
            },
        )
    }

    fn sse_client(
        &mut self,
        binding: &'c Binding,
        client: &'c sse::SseClient,
    ) -> Arc<SseClient<'c>> {
        self.once(
            |this| &mut this.sse_clients,
            binding,
            |this| {
                let routes = this.routes(&client.routes, |this, exit| match &exit.kind {
                    Kind::HttpClient(http) => Some(this.http_client(exit, http)),
                    _ => None,
                });
                this.node(binding, client, routes)
            },
        )
    }

    fn http_client(
        &mut self,
        binding: &'c Binding,
        client: &'c http::HttpClient,
    ) -> Arc<HttpClient<'c>> {
        self.once(
            |this| &mut this.http_clients,
            binding,
            |this| {
                let routes = this.routes(&client.routes, |this, exit| {
                    let connection = this.connection(exit)?;
                    let address = connection.tcp()?.options.address()?;
                    Some(Upstream { address, connection })
                });
                let guard = this.guard(client.authorization.as_ref());
                Node { guard, ..this.node(binding, client, routes) }
            },
        )
    }

    fn connection(&mut self, exit: &'c Binding) -> Option<Connection<'c>> {
        match &exit.kind {
            Kind::TcpClient(tcp) => Some(Connection::Tcp(self.node(exit, tcp, Vec::new()))),
            Kind::TlsClient(tls) => Some(Connection::Tls(self.once(
                |this| &mut this.tls_clients,
                exit,
                |this| {
                    let routes = this.routes(&tls.routes, |this, exit| match &exit.kind {
                        Kind::TcpClient(tcp) => Some(this.node(exit, tcp, Vec::new())),
                        _ => None,
                    });
                    this.node(exit, tls, routes)
                },
            ))),
            _ => None,
        }
    }

    fn topics(&mut self, exit: &'c Binding) -> Option<Topics<'c>> {
        match &exit.kind {
            Kind::KafkaCacheClient(client) => Some(Topics::Cache(self.once(
                |this| &mut this.cache_clients,
                exit,
                |this| {
                    let routes = this.routes(&client.routes, Self::cache_server);
                    this.node(exit, client, routes)
                },
            ))),
            _ => self.kafka_client(exit).map(Topics::Cluster),
        }
    }

    fn cache_server(&mut self, exit: &'c Binding) -> Option<Arc<KafkaCacheServer<'c>>> {
        let Kind::KafkaCacheServer(server) = &exit.kind else { return None };
        Some(self.once(
            |this| &mut this.cache_servers,
            exit,
            |this| {
                let routes = this.routes(&server.routes, Self::kafka_client);
                this.node(exit, server, routes)
            },
        ))
    }

    fn kafka_client(&mut self, exit: &'c Binding) -> Option<Arc<Cluster<'c>>> {
        let Kind::KafkaClient(options) = &exit.kind else { return None };
        let way_out = self.bindings.get(options.exit.as_str()).copied()?;
        let connection = self.connection(way_out)?;
        let client = Cluster { binding: exit, options, connection };
        Some(self.once(|this| &mut this.kafka_clients, exit, |_| client))
    }
}
