//! The common parts of all bindings.
//!
//! Some enums have a twin in a layer: `SaslMechanism`, `DefaultOffset`, `EventId` and `HttpVersion`. They stay,
//! since the configuration reference is generated from their documentation, which names the words of the file.

pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod sse;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod topics;

use crate::config::bindings::files::{Filesystem, HttpFilesystem};
use crate::config::bindings::http::{HttpClient, HttpServer};
use crate::config::bindings::kafka::{KafkaCacheClient, KafkaCacheServer, KafkaClient};
use crate::config::bindings::sse::{SseClient, SseKafka, SseServer};
use crate::config::bindings::tcp::{TcpClient, TcpServer};
use crate::config::bindings::tls::{TlsClient, TlsServer};
use crate::config::check::support::{Ignored, Unsupported, UnsupportedUse};
use crate::config::decode::ignored::{self, ignore};
use crate::config::decode::{Cx, Map, Section, Value, any_of, suggestion};
use crate::config::report::diagnostic::Span;
use crate::config::sections::metrics::BindingTelemetry;

/// An entry of `bindings`: a name, by which an `exit` leads to the binding, and its keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Binding {
    /// Its name, by which an `exit` leads to it.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `vault`: the vault that has the keys of the binding. Default: none.
    pub vault: Option<String>,
    /// `telemetry`: the metrics of Zilla that are recorded for the binding. Default: none.
    pub telemetry: BindingTelemetry,
    /// `type`: what the binding is, together with `kind`. Both are required.
    pub kind: Kind,
}

macro_rules! kinds {
    ($($variant:ident($options:ty) = $type:literal $kind:literal, $doc:literal;)*) => {
        /// What a binding is, with its options and routes.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum Kind { $(#[doc = $doc] $variant($options)),* }

        /// `type` and `kind` of a binding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Type { $(#[doc = $doc] $variant),* }

        impl Kind {
            /// Its type and kind alone.
            #[must_use]
            pub fn of(&self) -> Type {
                match self { $(Kind::$variant(_) => Type::$variant),* }
            }
        }

        impl Type {
            const ALL: &[(&'static str, &'static str, Type)] = &[$(($type, $kind, Type::$variant)),*];

            fn decode_kind(self, map: &Map<'_>, outline: &mut BindingOutline) -> Option<Kind> {
                match self { $(Type::$variant => <$options>::decode(map, outline).map(Kind::$variant)),* }
            }
        }

        impl std::fmt::Display for Type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Type::$variant => concat!($type, " ", $kind)),* })
            }
        }
    };
}

kinds! {
    TcpServer(TcpServer) = "tcp" "server", "Listens on ports.";
    TcpClient(TcpClient) = "tcp" "client", "Opens connections.";
    TlsServer(TlsServer) = "tls" "server", "Ends TLS of connections that come in.";
    TlsClient(TlsClient) = "tls" "client", "Begins TLS on connections that go out.";
    HttpServer(HttpServer) = "http" "server", "Requests of connections.";
    HttpClient(HttpClient) = "http" "client", "Requests to another server.";
    SseServer(SseServer) = "sse" "server", "Requests into event streams.";
    SseClient(SseClient) = "sse" "client", "Event streams of another server.";
    SseKafka(SseKafka) = "sse-kafka" "proxy", "Event streams from topics.";
    KafkaCacheClient(KafkaCacheClient) = "kafka" "cache_client", "The way to the cache of a topic.";
    KafkaCacheServer(KafkaCacheServer) = "kafka" "cache_server", "The cache of topics.";
    KafkaClient(KafkaClient) = "kafka" "client", "A Kafka cluster.";
    HttpFilesystem(HttpFilesystem) = "http-filesystem" "proxy", "Requests into files.";
    Filesystem(Filesystem) = "filesystem" "server", "A folder.";
}

/// Types of Zilla that tailwater does not have.
const NOT_OURS: &[&str] = &[
    "amqp",
    "asyncapi",
    "echo",
    "fan",
    "grpc",
    "grpc-kafka",
    "http-kafka",
    "kafka-grpc",
    "mcp",
    "mqtt",
    "mqtt-kafka",
    "openapi",
    "openapi-asyncapi",
    "pgsql",
    "pgsql-kafka",
    "proxy",
    "risingwave",
    "ws",
];

impl Type {
    /// The types to which an `exit` of this type may lead.
    pub(crate) fn may_lead_to(self) -> &'static [Type] {
        match self {
            Type::TcpServer => {
                &[Type::HttpServer, Type::TlsServer, Type::TcpClient, Type::TlsClient]
            }
            Type::TlsServer => &[Type::HttpServer, Type::TcpClient, Type::TlsClient],
            Type::HttpServer => &[Type::SseServer, Type::HttpFilesystem, Type::HttpClient],
            Type::SseServer => &[Type::SseKafka, Type::SseClient],
            Type::SseKafka => &[Type::KafkaCacheClient, Type::KafkaClient],
            Type::KafkaCacheClient => &[Type::KafkaCacheServer],
            Type::KafkaCacheServer => &[Type::KafkaClient],
            Type::SseClient => &[Type::HttpClient],
            Type::KafkaClient | Type::HttpClient => &[Type::TcpClient, Type::TlsClient],
            Type::TlsClient => &[Type::TcpClient],
            Type::HttpFilesystem => &[Type::Filesystem],
            Type::TcpClient | Type::Filesystem => &[],
        }
    }

    /// Whether a binding of this type records metrics.
    fn records(self) -> bool {
        matches!(
            self,
            Type::TcpServer
                | Type::TlsServer
                | Type::HttpServer
                | Type::SseServer
                | Type::SseClient
                | Type::SseKafka
                | Type::HttpFilesystem
        )
    }

    fn is_over_http(self) -> bool {
        match self {
            Type::HttpServer
            | Type::HttpClient
            | Type::SseServer
            | Type::SseClient
            | Type::SseKafka
            | Type::HttpFilesystem => true,
            Type::TcpServer
            | Type::TcpClient
            | Type::TlsServer
            | Type::TlsClient
            | Type::KafkaCacheClient
            | Type::KafkaCacheServer
            | Type::KafkaClient
            | Type::Filesystem => false,
        }
    }

    fn decode(map: &Map<'_>) -> Option<Type> {
        let name = map.require("type");
        let kind = map.require("kind");
        let name_value = name?;
        let name = name_value.text()?;
        let of_type: Vec<_> = Type::ALL.iter().filter(|(known, _, _)| *known == name).collect();
        if of_type.is_empty() {
            let mut types: Vec<&str> = Type::ALL.iter().map(|(known, _, _)| *known).collect();
            types.dedup();
            if NOT_OURS.contains(&name.as_str()) {
                let help = format!("supported: {}", types.join(", "));
                name_value.error_help(
                    format!("bindings of type `{name}` are not supported by tailwater"),
                    Some(help),
                );
            } else {
                let meant =
                    suggestion(&name, &types).map(|word| format!("did you mean `{word}`? "));
                let help = format!("{}there are: {}", meant.unwrap_or_default(), types.join(", "));
                name_value
                    .error_help(format!("unknown type `{}`", name.escape_debug()), Some(help));
            }
            return None;
        }
        let kind_value = kind?;
        let kind = kind_value.text()?;
        if let Some((_, _, found)) = of_type.iter().find(|(_, known, _)| *known == kind) {
            return Some(*found);
        }
        let kinds: Vec<&str> = of_type.iter().map(|(_, known, _)| *known).collect();
        kind_value.error(format!(
            "unknown kind `{}` of type `{name}`: expected {}",
            kind.escape_debug(),
            any_of(&kinds)
        ));
        None
    }
}

/// The parts of a binding that are known even if it has errors.
pub(crate) struct BindingOutline {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) of: Option<Type>,
    /// The `exit` of the binding itself.
    pub(crate) own: Option<Exit>,
    /// All exits, those of the routes among them.
    pub(crate) exits: Vec<Exit>,
    /// Whether the target of an exit is unknown because of an error.
    pub(crate) unknown_exit: bool,
    /// Its uses of unsupported features, which matter only if a listener leads to it.
    pub(crate) unsupported: Vec<UnsupportedUse>,
}

/// An `exit` as it stands in the file.
#[derive(Clone)]
pub(crate) struct Exit {
    pub(crate) to: String,
    pub(crate) span: Span,
    pub(crate) path: String,
}

impl BindingOutline {
    fn new(name: &str, span: Span) -> BindingOutline {
        BindingOutline {
            name: name.to_owned(),
            span,
            of: None,
            own: None,
            exits: Vec::new(),
            unknown_exit: false,
            unsupported: Vec::new(),
        }
    }

    /// Reads the `exit` of a binding or of a route.
    fn exit(&mut self, map: &Map<'_>) -> Option<Exit> {
        let value = map.get("exit")?;
        let Some(to) = value.text_as("the name of a binding") else {
            self.unknown_exit = true;
            return None;
        };
        let exit = Exit { to, span: value.span(), path: value.path.clone() };
        self.exits.push(exit.clone());
        Some(exit)
    }

    pub(crate) fn unsupported(&mut self, value: &Value<'_>, feature: Unsupported) {
        let path = value.path.clone();
        self.unsupported.push(UnsupportedUse { feature, span: value.key, path });
    }
}

/// Decodes all of `bindings`.
pub(crate) fn decode_all(cx: &Cx, section: &Map<'_>) -> (Vec<BindingOutline>, Vec<Binding>) {
    let mut outlines = Vec::new();
    let mut bindings = Vec::new();
    for (name, value) in section.entries() {
        crate::config::check_name(&value, name);
        let mut outline = BindingOutline::new(name, value.key);
        bindings.extend(cx.entry(&value, || decode(&value.map()?, &mut outline)));
        outlines.push(outline);
    }
    (outlines, bindings)
}

fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<Binding> {
    outline.own = outline.exit(map);
    outline.of = Type::decode(map);
    let vault = map.get("vault").and_then(|value| {
        let name = value.text_as("the name of a vault")?;
        value.reference(Section::Vaults, &name);
        if outline.of.is_some_and(|of| !matches!(of, Type::TlsServer | Type::TlsClient)) {
            value.ignored(Ignored::BindingVault);
        }
        Some(name)
    });
    if let Some(catalog) = map.get("catalog") {
        ignore(&catalog, Ignored::BindingCatalog, &ignored::BINDING_CATALOG);
    }
    let telemetry = map.map("telemetry").map(|telemetry| {
        if outline.of.is_some_and(|of| !of.records()) {
            telemetry.value.ignored(Ignored::BindingTelemetry);
        }
        BindingTelemetry::decode(&telemetry)
    });
    let telemetry = telemetry.unwrap_or_default();
    let kind = outline.of.and_then(|of| of.decode_kind(map, outline));
    outline.unknown_exit |= outline.of.is_none() && !map.value.is_resolved();
    if outline.of.is_some() {
        map.deny_unknown();
    }
    let (name, span) = (outline.name.clone(), outline.span);
    Some(Binding { name, span, vault, telemetry, kind: kind? })
}

/// A route of a binding. A request takes the first route in the file of which a condition is satisfied
/// and whose guards let it pass. The binding's own `exit`, if it has one, is the last route, without
/// conditions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route<W, T = ()> {
    /// Where it stands.
    pub span: Span,
    /// `guarded`: the guards that must let the request pass, each with roles. Default: none;
    /// the route is open to every request.
    pub guarded: Vec<Guarded>,
    /// `when`: a list of conditions, of which one must be satisfied. Default: the route takes
    /// every request.
    pub when: Vec<W>,
    /// `with`: what the request becomes. Its keys depend on the type of the binding.
    pub with: T,
    /// `exit`: the binding that the route leads to. Default: the binding's own `exit`.
    pub exit: String,
}

/// `guarded` of a route: a map from names of guards to lists of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guarded {
    /// `NAME`: the name of a guard.
    pub guard: String,
    /// `[ROLE, …]`: roles, all of which the token must have. An empty list lets every token
    /// pass that the guard accepts.
    pub roles: Vec<String>,
}

/// Reads one condition.
pub(crate) type ReadWhen<'r, W> = dyn Fn(&Value<'_>, &mut BindingOutline) -> Option<W> + 'r;
/// Reads `with` of a route. It gets the conditions unless one has an error.
pub(crate) type ReadWith<'r, W, T> =
    dyn Fn(&Map<'_>, Option<&[W]>, &mut BindingOutline) -> Option<T> + 'r;

/// How the routes of a type are decoded.
pub(crate) struct Routes<'r, W, T> {
    pub(crate) when: &'r ReadWhen<'r, W>,
    pub(crate) with: &'r ReadWith<'r, W, T>,
    /// `with` of the last route, which is the binding's own exit.
    pub(crate) own: Option<T>,
}

impl<W, T> Routes<'_, W, T> {
    pub(crate) fn decode(self, map: &Map<'_>, outline: &mut BindingOutline) -> Vec<Route<W, T>> {
        let mut routes = Vec::new();
        match map.get("routes") {
            Some(value) => {
                for value in value.list().unwrap_or_default() {
                    routes.extend(value.map().and_then(|value| self.route(&value, outline)));
                }
            }
            None if map.get("exit").is_none() => map.missing("neither `exit` nor `routes`"),
            None => {}
        }
        if let (Some(exit), Some(with)) = (&outline.own, self.own) {
            let guarded = Vec::new();
            let when = Vec::new();
            routes.push(Route { span: exit.span, guarded, when, with, exit: exit.to.clone() });
        }
        routes
    }

    fn route(&self, map: &Map<'_>, outline: &mut BindingOutline) -> Option<Route<W, T>> {
        let guarded = guarded(map, outline);
        let mut when = Vec::new();
        let mut complete = true;
        if let Some(value) = map.get("when") {
            let conditions = value.list_as("a list of conditions");
            complete = conditions.is_some();
            for condition in conditions.unwrap_or_default() {
                match (self.when)(&condition, outline) {
                    Some(condition) => when.push(condition),
                    None => complete = false,
                }
            }
        }
        let with = (self.with)(map, complete.then_some(when.as_slice()), outline);
        let exit = match outline.exit(map) {
            Some(exit) => Some(exit.to),
            None => {
                if outline.own.is_none() && map.get("exit").is_none() {
                    map.missing("the route has no `exit`, and the binding has none either");
                }
                outline.own.as_ref().map(|own| own.to.clone())
            }
        };
        map.deny_unknown();
        Some(Route { span: map.value.key, guarded, when, with: with?, exit: exit? })
    }
}

/// Reads `guarded` of a route. Guards need requests, so the binding must be over HTTP.
pub(crate) fn guarded(map: &Map<'_>, outline: &mut BindingOutline) -> Vec<Guarded> {
    let mut guards = Vec::new();
    if let Some(value) = map.get("guarded") {
        if !outline.of.is_some_and(Type::is_over_http) {
            outline.unsupported(&value, Unsupported::GuardedRoute);
        }
        for (guard, roles) in value.map().iter().flat_map(Map::entries) {
            roles.reference(Section::Guards, guard);
            guards.push(Guarded { guard: guard.to_owned(), roles: roles.texts() });
        }
    }
    guards
}
