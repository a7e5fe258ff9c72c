//! The configuration file: Zilla's `zilla.yaml`, in YAML or JSON.
//!
//! [`parse`] reads a text into a [`Config`] that is always valid: every exit leads to a binding that can
//! follow, every name is defined, and the parameters of every template are captured by its path. Otherwise it
//! returns a [`Report`] with all mistakes of the file, each with its place and with what would be accepted. A
//! feature of the grammar that tailwater does not have yet is a warning, or an error if it would be unsafe to
//! ignore it. Each document of a file is a namespace, with a [`Config`] of its own.
//!
//! ```
//! let file = "
//! name: example
//! bindings:
//!   in: { type: tcp, kind: server, options: { port: 7114 }, exit: web }
//!   web: { type: http, kind: server, exit: pages }
//!   pages: { type: http-filesystem, kind: proxy, exit: files }
//!   files: { type: filesystem, kind: server, options: { location: \"${{env.WWW}}\" } }
//! ";
//! let env = |name: &str| (name == "WWW").then(|| "www/".to_owned());
//! let parsed = tailwater::config::parse("zilla.yaml", file.as_bytes(), &env)?;
//! assert_eq!(parsed.namespaces[0].name, "example");
//! assert!(parsed.report.diagnostics().is_empty());
//!
//! let report = tailwater::config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap_err();
//! assert_eq!(
//!     report.to_string(),
//!     "zilla.yaml:7:65: error: the environment variable WWW is not set\n"
//! );
//! # Ok::<_, tailwater::config::Report>(())
//! ```

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env as process, fs};

use aws_lc_rs::digest;

pub(crate) mod bind;
mod bindings;
mod check;
mod decode;
pub mod plan;
mod report;
mod sections;
mod source;
mod syntax;
#[cfg(test)]
mod tests;

pub use self::bindings::files::{FileCondition, FileWith, Filesystem, HttpFilesystem, Symlinks};
pub use self::bindings::http::{
    AccessControl, Authorization, CrossOrigin, HttpClient, HttpCondition, HttpServer, HttpVersion,
};
pub use self::bindings::kafka::{
    DefaultOffset, KafkaAuthorization, KafkaCacheClient, KafkaCacheServer, KafkaClient,
    SaslMechanism, Secret, Server, TopicCondition,
};
pub use self::bindings::sse::{
    EventId, EventModel, Filter, PathCondition, PathExpression, SseClient, SseKafka, SseKafkaWith,
    SseServer, StartParameter,
};
pub use self::bindings::tcp::{TcpClient, TcpCondition, TcpServer};
pub use self::bindings::tls::{ClientCertificate, TlsClient, TlsCondition, TlsOptions, TlsServer};
pub use self::bindings::topics::{MessageField, Topic, TopicName, Transforms};
pub use self::bindings::{Binding, Guarded, Kind, Route, Type};
pub use self::report::describe::describe;
pub use self::report::diagnostic::{Diagnostic, Report, Severity, Span};
pub use self::sections::catalogs::{
    ApicurioRegistry, Catalog, CatalogKind, FileSubject, InlineSubject, RegistryOptions,
    SchemaRegistry,
};
pub use self::sections::metrics::{AttributeValue, BindingTelemetry, Metric};
pub use self::sections::models::{
    AvroOptions, Model, ModelKind, NumberOptions, ProtobufOptions, SchemaChoice, SchemaName,
    StringOptions,
};
pub use self::sections::security::{Guard, GuardKeys, Jwk, Store, StoreKind, Vault};
pub use self::sections::telemetry::{
    Endpoint, Exporter, ExporterKind, LoggedSubject, Otlp, Prometheus, Signal, Telemetry,
};
pub use self::source::TopicSource;

pub(crate) use self::check::namespaces::label;
use self::check::requirements::Requirements;
use self::check::{dangers, exits, models, namespaces, older, requirements, support};
use self::decode::{Cx, Value, pattern};
use self::report::in_force::in_force;
pub(crate) use self::sections::metrics::label_name;
use self::sections::{catalogs, security};
use self::syntax::yaml;

/// A namespace: one document of the file. A configuration file may have several.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// `name`: the name of the namespace, which no other document has. Required.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `vaults`: keys and certificates. Default: none.
    pub vaults: Vec<Vault>,
    /// `guards`: which tokens are valid. Default: none.
    pub guards: Vec<Guard>,
    /// `catalogs`: where schemas come from. Default: none.
    pub catalogs: Vec<Catalog>,
    /// `bindings`: the pipeline, in any order. Default: none.
    pub bindings: Vec<Binding>,
    /// `telemetry`: where the access log and metrics go. Default: nowhere. tailwater's own log and
    /// `/metrics` do not depend on it.
    pub telemetry: Telemetry,
    /// The document as JSON, without secrets.
    pub(crate) in_force: serde_json::Value,
}

impl Config {
    /// The binding with this name. In a parsed configuration, every `exit` is the name of a binding.
    #[must_use]
    pub fn binding(&self, name: &str) -> Option<&Binding> {
        self.bindings.iter().find(|binding| binding.name == name)
    }

    /// Whether an exporter writes the access log to the standard output.
    #[must_use]
    pub fn logs_access(&self) -> bool {
        self.telemetry.exporters.iter().any(|exporter| exporter.kind == ExporterKind::Stdout)
    }

    /// Whether an exporter pushes this signal.
    pub(crate) fn pushes(&self, signal: Signal) -> bool {
        self.telemetry.exporters.iter().any(|exporter| match &exporter.kind {
            ExporterKind::Otlp(otlp) => otlp.signals.contains(&signal),
            ExporterKind::Stdout | ExporterKind::Prometheus(_) => false,
        })
    }

    /// The endpoints of the exporters of type `prometheus`.
    pub fn prometheus(&self) -> impl Iterator<Item = (&Exporter, &Endpoint)> {
        self.telemetry.exporters.iter().flat_map(|exporter| {
            let endpoints = match &exporter.kind {
                ExporterKind::Prometheus(prometheus) => prometheus.endpoints.as_slice(),
                ExporterKind::Stdout | ExporterKind::Otlp(_) => &[],
            };
            endpoints.iter().map(move |endpoint| (exporter, endpoint))
        })
    }

    /// What the access log has of the subjects of tokens, for the requests of this namespace.
    #[must_use]
    pub fn logged_subject(&self) -> LoggedSubject {
        let mut exporters = self.telemetry.exporters.iter();
        exporters
            .find(|exporter| exporter.kind == ExporterKind::Stdout)
            .map_or(LoggedSubject::Off, |exporter| exporter.subject)
    }

    /// The listeners: bindings of type `tcp` and kind `server`.
    pub fn listeners(&self) -> impl Iterator<Item = (&Binding, &TcpServer)> {
        self.bindings.iter().filter_map(|binding| match &binding.kind {
            Kind::TcpServer(server) => Some((binding, server)),
            _ => None,
        })
    }
}

/// A configuration and its warnings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parsed {
    /// The namespaces, in the order of their documents, at least one. They run side by side.
    pub namespaces: Vec<Config>,
    /// A hash of the contents of the file: 16 hexadecimal digits. Equal contents have equal hashes.
    pub hash: String,
    /// Warnings of keys without effect and of dangers. It has no errors.
    pub report: Report,
}

impl Parsed {
    /// Whether an exporter of any namespace writes the access log to the standard output. The log has the
    /// requests of all namespaces.
    #[must_use]
    pub fn logs_access(&self) -> bool {
        self.namespaces.iter().any(Config::logs_access)
    }

    /// Why a valid configuration, or one of its listeners, serves nothing.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let mut listeners = self.namespaces.iter().flat_map(Config::listeners).peekable();
        let none = listeners.peek().is_none();
        let none = none.then_some("no listener: there is no binding of type tcp and kind server");
        let nowhere = listeners.filter(|(_, server)| server.routes.is_empty());
        let nowhere = nowhere.map(|(binding, _)| {
            format!("{} has no routes: its connections are closed", binding.name)
        });
        none.map(str::to_owned).into_iter().chain(nowhere).collect()
    }
}

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path, as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has mistakes.
    #[error("{0}")]
    Invalid(Report),
}

/// Reads a file, with the environment of the process.
///
/// # Errors
/// [`Error::Read`] if it cannot be read, [`Error::Invalid`] if it has mistakes.
pub fn load(path: &Path) -> Result<Parsed, Error> {
    let read = || {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let env = |name: &str| process::var(name).ok();
    let folder = path.parent().unwrap_or(Path::new(""));
    parse_in(Some(folder), &path.display().to_string(), &bytes, &env).map_err(Error::Invalid)
}

/// Reads a text. `file` is its name in messages. `env` returns the value of `${{env.NAME}}`.
///
/// The schemas of `filesystem` catalogs are not read. [`load`] does so.
///
/// # Errors
/// All mistakes of the file, and its warnings.
pub fn parse(
    file: &str,
    bytes: &[u8],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Report> {
    parse_in(None, file, bytes, env)
}

/// Reads a text whose relative paths are relative to a folder, if it is known.
fn parse_in(
    folder: Option<&Path>,
    file: &str,
    bytes: &[u8],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Report> {
    let fail = |text: &str, diagnostic| Report::new(file, text, vec![diagnostic]);
    if bytes.len() > yaml::MAX_BYTES {
        let message = format!("the file is larger than {} bytes", yaml::MAX_BYTES);
        return Err(fail("", yaml::fatal(Span::default(), message)));
    }
    let hash = hash(bytes);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            let at = Span::new(valid.len(), valid.len());
            let text = String::from_utf8_lossy(valid);
            return Err(fail(&text, yaml::fatal(at, "the file is not UTF-8".to_owned())));
        }
    };
    // Each document may begin with a byte order mark: files are concatenated.
    let without_marks;
    let text = if text.contains("\n\u{feff}") {
        without_marks = text.replace("\n\u{feff}", "\n");
        &without_marks
    } else {
        text
    };
    let mut diagnostics = Vec::new();
    let documents = match yaml::read(file, text, env, &mut diagnostics) {
        Ok(documents) => documents,
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            return Err(Report::new(file, text, diagnostics));
        }
    };
    let decode = |document| {
        let cx = Cx::new(document);
        let config = decode(&cx, document, folder);
        diagnostics.extend(cx.diagnostics.into_inner());
        config
    };
    let decoded: Vec<Option<Config>> =
        documents.iter().map(|document| &**document).map(decode).collect();
    let complete = decoded.iter().all(Option::is_some);
    let namespaces: Vec<Config> = decoded.into_iter().flatten().collect();
    diagnostics.extend(namespaces::check(&namespaces, text));
    let report = Report::new(file, text, diagnostics);
    if !complete || report.has_errors() {
        return Err(report);
    }
    Ok(Parsed { namespaces, hash, report })
}

/// The first 64 bits of the SHA-256 of a file, in hexadecimal.
fn hash(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn decode(cx: &Cx, document: &yaml::Node, folder: Option<&Path>) -> Option<Config> {
    let root = Value::root(cx, document);
    let map = root.map()?;
    let name = map.require("name").and_then(|value| {
        let name = value.text_as("a name")?;
        check_name_at(&value, &name, value.span());
        Some((name, value.span()))
    });
    let vaults = map.map("vaults").map(|value| security::vaults(cx, &value));
    let guards = map.map("guards").map(|value| security::guards(cx, &value));
    let catalogs = map.map("catalogs").map(|value| catalogs::catalogs(cx, &value));
    let bindings = map.map("bindings");
    let (outlines, mut bindings) =
        bindings.map(|section| bindings::decode_all(cx, &section)).unwrap_or_default();
    let telemetry = map.map("telemetry").map(|value| Telemetry::decode(&value));
    map.deny_unknown();
    let reached = exits::check(cx, &outlines);
    older::fill_servers(cx, &outlines, &reached, &mut bindings);
    let vaults = vaults.unwrap_or_default();
    let guards = guards.unwrap_or_default();
    let catalogs = catalogs.unwrap_or_default();
    let requirements = Requirements {
        cx,
        outlines: &outlines,
        reached: &reached,
        vaults: &vaults,
        guards: &guards,
        catalogs: &catalogs,
        bindings: &bindings,
        exporters: telemetry.as_ref().map_or(&[], |telemetry| &telemetry.exporters),
    };
    requirements::check(&requirements);
    models::check(&requirements, folder);
    dangers::check(&requirements);
    support::check(cx, &outlines, &reached);
    let (name, span) = name?;
    let telemetry = telemetry.unwrap_or_default();
    let in_force = in_force(document);
    Some(Config { name, span, vaults, guards, catalogs, bindings, telemetry, in_force })
}

/// Checks the name of an entry.
fn check_name(value: &Value<'_>, name: &str) {
    check_name_at(value, name, value.key);
}

fn check_name_at(value: &Value<'_>, name: &str, span: Span) {
    if !pattern::is_name(name) {
        let message = format!("{}: `{}` is no name", value.path, name.escape_debug());
        let help = "a name is a letter, followed by letters, digits, `.`, `_` and `-`";
        value.cx.error(span, message, Some(help.to_owned()));
    }
}
