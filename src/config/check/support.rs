//! What the grammar has and tailwater does not do yet: the one table of it.
//!
//! Whoever makes a feature work takes its row away, together with the calls of `uses` that name it.

use crate::config::report::diagnostic::{Diagnostic, Severity, Span};

/// Something that a file can ask for and that does not work yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    GuardedRoute,
    GuardTemplate,
    HttpOverrides,
    HttpClientCredentials,
    Revocation,
    TlsConditionCertificate,
    TlsClientRoutes,
    TlsKafkaVersion,
    TlsKafkaNames,
    HttpClientAccess,
    HttpRequests,
    HttpProxy,
    SseRequests,
    TcpAuthority,
    TcpClientRoutes,
    TcpClientAddress,
    TcpClientFromListener,
    Catalog,
    BindingCatalog,
    BindingTelemetry,
    BindingVault,
    KafkaModel,
    KafkaTransforms,
    KafkaDeltaType,
    KafkaOauthBearer,
    TelemetryAttributes,
    TelemetryMetrics,
    ExporterPrometheus,
    ExporterOtlp,
    ExporterVault,
}

/// What becomes of a file that asks for it.
enum Support {
    /// It starts without; what does not happen.
    Ignored(&'static str),
    /// It does not start, if a listener leads there; why.
    Refused(&'static str),
}

use Support::{Ignored, Refused};

impl Feature {
    fn support(self) -> Support {
        match self {
            Feature::GuardedRoute => Refused(
                "guards are asked about requests, on routes of http, sse, sse-kafka and http-filesystem bindings",
            ),
            Feature::GuardTemplate => Refused("files are the same for everyone"),
            Feature::HttpOverrides => Ignored("headers of requests stay as they are"),
            Feature::HttpClientCredentials => Refused("credentials are handed on in headers only"),
            Feature::Revocation => Refused("certificates that were revoked would be accepted"),
            Feature::TlsConditionCertificate => {
                Refused("the binding's own `trust` and `mutual` hold for all of its routes")
            }
            Feature::TlsKafkaVersion => Refused("librdkafka speaks TLS 1.2 and 1.3 alike"),
            Feature::TlsKafkaNames => {
                Ignored("brokers are asked for their own names, and no protocol is agreed on")
            }
            Feature::TlsClientRoutes => Refused("addresses would not be checked"),
            Feature::HttpClientAccess => Ignored("it is servers that browsers ask for it"),
            Feature::HttpRequests => Ignored("requests and responses are not validated"),
            Feature::HttpProxy => Refused(
                "only event streams are passed on, by a binding of type sse and kind client",
            ),
            Feature::SseRequests => Ignored("events are not validated"),
            Feature::TcpAuthority => Refused("the name would not be checked"),
            Feature::TcpClientRoutes => Refused(
                "addresses would not be checked: name one in `options.host`, without conditions",
            ),
            Feature::TcpClientAddress => {
                Ignored("brokers are reached at the addresses that Kafka names")
            }
            Feature::TcpClientFromListener => {
                Refused("connections cannot be passed on as they are")
            }
            Feature::Catalog => Ignored("schemas are not read"),
            Feature::BindingCatalog => Ignored("schemas are not read"),
            Feature::BindingTelemetry => Ignored("nothing is measured for it"),
            Feature::BindingVault => {
                Ignored("only bindings of type tls take keys and certificates from a vault")
            }
            Feature::KafkaModel => {
                Ignored("records are passed on as they are, not validated or converted")
            }
            Feature::KafkaTransforms => Ignored("keys and headers of records stay as they are"),
            Feature::KafkaDeltaType => Ignored("whole values are sent"),
            Feature::KafkaOauthBearer => {
                Refused("the connection to Kafka would have no credentials")
            }
            Feature::TelemetryAttributes => Ignored("there is nothing yet to attach them to"),
            Feature::TelemetryMetrics => Ignored("nothing is measured"),
            Feature::ExporterPrometheus => Ignored("no endpoint is opened"),
            Feature::ExporterOtlp => Ignored("nothing is exported"),
            Feature::ExporterVault => Ignored("no connection is made for its keys"),
        }
    }
}

/// A place that uses a feature.
pub(crate) struct UnsupportedUse {
    pub(crate) feature: Feature,
    pub(crate) span: Span,
    pub(crate) path: String,
    /// The binding that it belongs to, by its place in the file.
    pub(crate) binding: Option<usize>,
}

impl UnsupportedUse {
    /// What is said about it; `reached` says whether a listener leads to a binding.
    pub(crate) fn diagnostic(&self, reached: impl Fn(usize) -> bool) -> Diagnostic {
        let path = &self.path;
        let (severity, message) = match self.feature.support() {
            Ignored(why) => (Severity::Warning, format!("{path}: ignored: {why}")),
            Refused(why) if self.binding.is_none_or(reached) => {
                (Severity::Error, format!("{path}: not supported yet: {why}"))
            }
            Refused(_) => (
                Severity::Warning,
                format!("{path}: not supported yet; accepted, as no listener leads there"),
            ),
        };
        Diagnostic { severity, span: self.span, message, help: None }
    }
}
