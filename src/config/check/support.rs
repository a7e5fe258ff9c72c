//! The two tables of the features of the grammar that tailwater does not have yet.
//!
//! When a feature works, its row is removed, together with the calls that name it.

use crate::config::bindings::{BindingOutline, Type};
use crate::config::decode::Cx;
use crate::config::report::diagnostic::{Diagnostic, Severity, Span};

/// A feature that has no effect yet. A file that uses it starts without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    HttpOverrides,
    TlsKafkaNames,
    HttpClientAccess,
    HttpRequests,
    SseClientRequests,
    TcpClientAddress,
    BindingCatalog,
    BindingTelemetry,
    BindingVault,
    CatalogTls,
    CacheClientModel,
    FurtherSchemas,
    LogicalTypes,
    TransformWithoutModel,
    KafkaDeltaType,
    GrpcMetric,
    Attribute,
    ExporterVault,
    ExporterTls,
}

impl Ignored {
    /// The part of the warning that says what does not happen.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::HttpOverrides => "headers of requests are not changed",
            Self::TlsKafkaNames => {
                "librdkafka sends the name of each broker and offers no protocol"
            }
            Self::HttpClientAccess => "browsers send such requests to servers only",
            Self::HttpRequests => "requests and responses are not validated",
            Self::SseClientRequests => "only the binding of kind server validates events",
            Self::TcpClientAddress => "Kafka reports the addresses of its brokers",
            Self::BindingCatalog => "a schema is read where a model names it",
            Self::BindingTelemetry => {
                "streams are counted by bindings of type tcp, tls and http of kind server, sse, sse-kafka and http-filesystem"
            }
            Self::BindingVault => {
                "only bindings of type tls take keys and certificates from a vault"
            }
            Self::CatalogTls => "the URL of the catalog is not https",
            Self::CacheClientModel => {
                "records are validated and converted by the models of the cache_server, which has none for this topic"
            }
            Self::FurtherSchemas => "of the list only the first entry counts",
            Self::LogicalTypes => "without `view: json` the data stays Avro",
            Self::TransformWithoutModel => {
                "the topic has no model of json, avro or protobuf for the part that the field is in"
            }
            Self::KafkaDeltaType => "whole values are sent",
            Self::GrpcMetric => "no binding is of type grpc",
            Self::Attribute => {
                "a label has a name of its own, and is `${http.request.X}` or `${http.response.X}`"
            }
            Self::ExporterVault => "only exporters of type otlp open connections",
            Self::ExporterTls => "the location is not https",
        }
    }
}

/// A feature that it would be unsafe to ignore. A file does not start if a listener leads to a binding that
/// uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    GuardedRoute,
    GuardTemplate,
    HttpClientCredentials,
    Revocation,
    TlsConditionCertificate,
    TlsClientRoutes,
    TlsKafkaVersion,
    HttpProxy,
    TcpAuthority,
    TcpClientRoutes,
    TcpClientFromListener,
    KafkaOauthBearer,
}

impl Unsupported {
    /// The part of the error that says why it cannot be ignored.
    fn reason(self) -> &'static str {
        match self {
            Self::GuardedRoute => {
                "guards check requests, so only routes of http, sse, sse-kafka and http-filesystem bindings can have them"
            }
            Self::GuardTemplate => "files do not depend on the token of a client",
            Self::HttpClientCredentials => "credentials are forwarded in headers only",
            Self::Revocation => "revoked certificates would be accepted",
            Self::TlsConditionCertificate => {
                "`trust` and `mutual` of the binding apply to all of its routes"
            }
            Self::TlsClientRoutes => "addresses would not be checked",
            Self::TlsKafkaVersion => "librdkafka always offers both TLS 1.2 and 1.3",
            Self::HttpProxy => {
                "only event streams are forwarded, by a binding of type sse and kind client"
            }
            Self::TcpAuthority => "the name would not be checked",
            Self::TcpClientRoutes => {
                "addresses would not be checked: name one in `options.host`, without conditions"
            }
            Self::TcpClientFromListener => "connections cannot be forwarded unchanged",
            Self::KafkaOauthBearer => "the connection to Kafka would have no credentials",
        }
    }
}

/// A place that uses an unsupported feature.
pub(crate) struct UnsupportedUse {
    pub(crate) feature: Unsupported,
    pub(crate) span: Span,
    pub(crate) path: String,
}

impl UnsupportedUse {
    /// The diagnostic of a binding to which a listener leads, or of another one.
    pub(crate) fn diagnostic(&self, is_reached: bool) -> Diagnostic {
        let path = &self.path;
        let (severity, message) = if is_reached {
            let reason = self.feature.reason();
            (Severity::Error, format!("{path}: not supported yet: {reason}"))
        } else {
            let message = "not supported yet; accepted, as no listener leads there";
            (Severity::Warning, format!("{path}: {message}"))
        };
        Diagnostic { severity, span: self.span, message, help: None }
    }
}

/// Reports the unsupported features that bindings use. `reached` says of each binding whether a listener
/// leads to it.
pub(crate) fn check(cx: &Cx, outlines: &[BindingOutline], reached: &[bool]) {
    for (outline, is_reached) in outlines.iter().zip(reached) {
        let by_exits = exits(outline, outlines);
        for used in outline.unsupported.iter().chain(&by_exits) {
            cx.diagnostics.borrow_mut().push(used.diagnostic(*is_reached));
        }
    }
}

/// The exits of a binding to types that it cannot pass connections or requests on to.
fn exits(outline: &BindingOutline, outlines: &[BindingOutline]) -> Vec<UnsupportedUse> {
    let unsupported = outline.exits.iter().filter_map(|exit| {
        let to = outlines.iter().find(|outline| outline.name == exit.to)?;
        let feature = match (outline.of?, to.of?) {
            (Type::TcpServer | Type::TlsServer, Type::TcpClient | Type::TlsClient) => {
                Unsupported::TcpClientFromListener
            }
            (Type::HttpServer, Type::HttpClient) => Unsupported::HttpProxy,
            _ => return None,
        };
        Some(UnsupportedUse { feature, span: exit.span, path: exit.path.clone() })
    });
    unsupported.collect()
}
