//! What is asked of a registry, and what its answers say: no connection, no clock.

mod apicurio;
mod confluent;

pub use apicurio::Apicurio;
pub use confluent::Confluent;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::catalog::registry::FetchError;
use crate::catalog::{Framing, SchemaId, SchemaKind};

/// The version of a subject that changes.
pub(crate) const LATEST: &str = "latest";

/// The API of a registry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Protocol {
    /// Confluent's, which Karapace and others speak, too.
    Confluent(Confluent),
    /// Apicurio's own.
    Apicurio(Apicurio),
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Coordinates {
    /// The group of an artifact. `None` is the one of the catalog.
    pub(crate) group: Option<String>,
    pub(crate) subject: String,
    pub(crate) version: String,
}

impl Coordinates {
    /// Whether another schema may have this version later.
    pub(crate) fn is_latest(&self) -> bool {
        matches!(&*self.version, LATEST | "-1")
    }
}

/// A schema as the registry has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawSchema {
    pub(crate) text: String,
    pub(crate) kind: Option<SchemaKind>,
    pub(crate) references: Vec<RawReference>,
}

/// A reference as the registry has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawReference {
    pub(crate) name: String,
    pub(crate) to: Coordinates,
}

/// What a version of a subject is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawVersion {
    pub(crate) id: SchemaId,
    /// What the registry calls the version: `3` for `latest`, perhaps.
    pub(crate) version: Option<String>,
}

/// An answer with status 200.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Protocol {
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::Confluent(_) => Framing::Confluent,
            Self::Apicurio(apicurio) => apicurio.framing(),
        }
    }

    /// The path of the API where the URL has none.
    pub(crate) fn default_path(&self) -> &'static str {
        match self {
            Self::Confluent(_) => "",
            Self::Apicurio(_) => apicurio::DEFAULT_PATH,
        }
    }

    /// The value of the header `accept`.
    pub(crate) fn accept(&self) -> &'static str {
        match self {
            Self::Confluent(_) => confluent::ACCEPT,
            // A schema has the content type of its language.
            Self::Apicurio(_) => "*/*",
        }
    }

    /// The path of a schema. `None` if the registry has no such ids.
    pub(crate) fn schema_path(&self, id: SchemaId) -> Option<String> {
        match self {
            Self::Confluent(confluent) => confluent.schema_path(id),
            Self::Apicurio(apicurio) => apicurio.schema_path(id),
        }
    }

    /// The path of a schema's references, where they are not in the answer with the schema.
    pub(crate) fn references_path(&self, id: SchemaId) -> Option<String> {
        match self {
            Self::Confluent(_) => None,
            Self::Apicurio(apicurio) => apicurio.references_path(id),
        }
    }

    /// The path of something that each registry has an answer to.
    pub(crate) fn probe_path(&self) -> &'static str {
        match self {
            Self::Confluent(_) => "/schemas/types",
            Self::Apicurio(_) => "/system/info",
        }
    }

    /// Whether the answer to that is a registry's own.
    pub(crate) fn is_probe(&self, answer: &Answer) -> bool {
        match self {
            Self::Confluent(_) => confluent::is_list_of_types(answer),
            Self::Apicurio(_) => apicurio::is_system_info(answer),
        }
    }

    /// The path of a version of a subject. `None` if a path cannot have these names.
    pub(crate) fn version_path(&self, version: &Coordinates, base_path: &str) -> Option<String> {
        match self {
            Self::Confluent(confluent) => confluent.version_path(version),
            Self::Apicurio(apicurio) => apicurio.version_path(version, base_path),
        }
    }

    /// The same for a version that the registry has as deleted, where it keeps such versions.
    pub(crate) fn deleted_version_path(&self, version: &Coordinates) -> Option<String> {
        match self {
            Self::Confluent(confluent) => {
                confluent.version_path(version).map(|path| format!("{path}?deleted=true"))
            }
            Self::Apicurio(_) => None,
        }
    }

    pub(crate) fn parse_schema(&self, answer: &Answer) -> Result<RawSchema, FetchError> {
        match self {
            Self::Confluent(_) => confluent::parse_schema(answer),
            Self::Apicurio(_) => apicurio::parse_schema(answer),
        }
    }

    pub(crate) fn parse_references(
        &self,
        answer: &Answer,
    ) -> Result<Vec<RawReference>, FetchError> {
        match self {
            Self::Confluent(_) => Ok(Vec::new()),
            Self::Apicurio(_) => apicurio::parse_references(answer),
        }
    }

    pub(crate) fn parse_version(&self, answer: &Answer) -> Result<RawVersion, FetchError> {
        match self {
            Self::Confluent(_) => confluent::parse_version(answer),
            Self::Apicurio(apicurio) => apicurio.parse_version(answer),
        }
    }
}

/// What a registry says with the status of a client's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does not have what it was asked for. The number is its own code.
    NoSchema(i64),
    /// It has nothing at this path: the URL is wrong, or the registry is too old.
    NoApi,
}

/// The verdict of the registry itself. `None` if it may not be its own: a 404 can come from a proxy before a registry
/// that is away.
pub(crate) fn verdict(status: u16, body: &[u8]) -> Option<Verdict> {
    /// Confluent, Karapace, Apicurio v2: `error_code`. Apicurio v3 (RFC 9457): `status` and the name of an exception.
    #[derive(Deserialize)]
    struct Error {
        error_code: Option<i64>,
        status: Option<i64>,
        name: Option<String>,
        message: Option<String>,
    }
    let error: Error = serde_json::from_slice(body).ok()?;
    let status = i64::from(status);
    let name = error.name.as_deref();
    let is_exception = name.is_some_and(|name| name.ends_with("Exception"));
    let code = error.error_code.or(error.status.filter(|_| is_exception))?;
    // Jersey's and RESTEasy's words for a path that they do not know.
    let message = error.message.unwrap_or_default();
    let is_no_path = name == Some("NotFoundException") || message.starts_with("HTTP 404 ");
    if status == 404 && (code == 0 || code == 404 && is_no_path) {
        return Some(Verdict::NoApi);
    }
    (code == status || code / 100 == status).then_some(Verdict::NoSchema(code))
}

fn json<T: DeserializeOwned>(answer: &Answer, form: &'static str) -> Result<T, FetchError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        if error.is_data() { FetchError::Format(form) } else { FetchError::Foreign }
    })
}

/// A version is a number for some and a text for others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Version {
    Number(i64),
    Text(String),
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        match version {
            Version::Number(number) => number.to_string(),
            Version::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::registry::RegistryUrl;
    use crate::catalog::registry::redirect::redirected;

    #[test]
    fn a_registry_is_told_from_a_proxy_by_its_error_code() {
        let none = |code| Some(Verdict::NoSchema(code));
        for (status, body, expected) in [
            (404, r#"{"error_code":40403,"message":"Schema 77 not found"}"#, none(40403)),
            (404, r#"{"error_code":40401,"message":"Subject not found."}"#, none(40401)),
            (404, r#"{"error_code":404,"name":"ArtifactNotFoundException"}"#, none(404)),
            (404, r#"{"error_code":404,"message":"no such schema"}"#, none(404)),
            (404, r#"{"title":"No","status":404,"name":"ArtifactNotFoundException"}"#, none(404)),
            (422, r#"{"error_code":42202,"message":"Invalid version"}"#, none(42202)),
            // Confluent, Apicurio v2 and ccompat at a path that they do not have.
            (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, Some(Verdict::NoApi)),
            (404, r#"{"error_code":404,"name":"NotFoundException"}"#, Some(Verdict::NoApi)),
            (404, r#"{"error_code":0,"message":"RESTEASY003210"}"#, Some(Verdict::NoApi)),
            // Karapace at a path that it does not have.
            (404, r#"{"detail":"Not Found"}"#, None),
            (404, r#"{"timestamp":1,"status":404,"error":"Not Found","path":"/"}"#, None),
            (404, r#"{"type":"about:blank","title":"Not Found","status":404}"#, None),
            (404, r#"{"error_code":50001,"message":"Error in the backend"}"#, None),
            (404, "<html>default backend - 404</html>", None),
            (404, "", None),
            (404, "[]", None),
        ] {
            assert_eq!(verdict(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
    /// JSON that is close to what registries answer.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let part = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"schema\"",
            "\"references\"",
            "\"id\"",
            "\"version\"",
            "\"name\"",
            "\"subject\"",
            "\"globalId\"",
            "\"artifactId\"",
            "\"error_code\"",
            "40403",
            "-1",
            "1e400",
            "null",
            "\"x\"",
            "\"\\ud800\"",
            "[[[[[[[[",
            "\u{feff}",
            " ",
        ]);
        let near = prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat().into_bytes());
        prop_oneof![near, prop::collection::vec(any::<u8>(), 0..100)]
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in body(), status in 100..600_u16) {
            let _ = verdict(status, &body);
            let answer = Answer { headers: HeaderMap::new(), body: body.into() };
            for protocol in [Protocol::from(Confluent::new()), Apicurio::new().into()] {
                let _ = protocol.parse_schema(&answer);
                let _ = protocol.parse_references(&answer);
                let _ = protocol.parse_version(&answer);
            }
        }

        #[test]
        fn no_name_and_no_location_panics_or_leaves_the_server(
            subject in any::<String>(),
            version in any::<String>(),
            location in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let url: RegistryUrl = "http://registry:8081/a".parse().unwrap();
            let named = Coordinates { group: None, subject, version };
            for protocol in [Protocol::from(Confluent::new()), Apicurio::new().into()] {
                let Some(path) = protocol.version_path(&named, "/a/v3") else { continue };
                let uri = url.below(&path).expect("short");
                prop_assert!(uri.to_string().starts_with("http://registry:8081/a/"));
                prop_assert_eq!(uri.query(), None);
            }
            let mut headers = HeaderMap::new();
            if let Ok(location) = http::HeaderValue::from_bytes(&location) {
                headers.insert(http::header::LOCATION, location);
            }
            let base = url.below("/b").expect("short");
            if let Some(Ok(target)) = redirected(&base, StatusCode::FOUND, &headers) {
                prop_assert_eq!(target.authority(), base.authority());
            }
        }

        #[test]
        fn no_url_panics_or_shows_its_password(text in any::<String>(), user in "[a-z]{3}:(sEc|[0-9]{3})[?#]?ReT[0-9]") {
            let _ = text.parse::<RegistryUrl>();
            let text = format!("http://{user}@{text}");
            let shown = match text.parse::<RegistryUrl>() {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains("sEc") && !shown.contains("ReT"), "{}", shown);
        }
    }
}
