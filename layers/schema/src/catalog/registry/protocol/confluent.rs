use std::fmt::Write as _;

use serde::Deserialize;

use super::{Answer, Coordinates, Protocol, RawReference, RawSchema, RawVersion, Version, json};
use crate::catalog::registry::FetchError;
use crate::catalog::registry::escape::Escaped;
use crate::catalog::registry::url::segment;
use crate::catalog::{SchemaId, SchemaKind};

pub(crate) const ACCEPT: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// The API of Confluent's registry, which Karapace, Apicurio (under `/apis/ccompat/v7`) and others speak, too.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Confluent {
    context: Option<String>,
}

impl Confluent {
    /// The API with the registry's default context.
    pub fn new() -> Self {
        Self::default()
    }

    /// The context whose subjects and ids are meant. `default` and the empty name are the registry's default one, and
    /// the default. The forms `NAME`, `.NAME` and `:.NAME:` mean the same.
    pub fn context(mut self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref().trim_matches(':').trim_start_matches('.');
        self.context = (!matches!(name, "" | "default")).then(|| name.to_owned());
        self
    }

    pub(crate) fn schema_path(&self, id: SchemaId) -> Option<String> {
        let prefix = self.prefix()?;
        match id {
            // The registry reads a signed number, and has no such path for a greater one.
            SchemaId::Confluent(id) => {
                i32::try_from(id).ok().map(|id| format!("{prefix}/schemas/ids/{id}"))
            }
            SchemaId::Guid(guid) => Some(format!("{prefix}/schemas/guids/{}", uuid(&guid))),
            SchemaId::GlobalId(_) | SchemaId::ContentId(_) | SchemaId::Checksum(_) => None,
        }
    }

    pub(crate) fn version_path(&self, version: &Coordinates) -> Option<String> {
        let prefix = self.prefix()?;
        let subject = segment(&version.subject)?;
        let number = if version.is_latest() { super::LATEST } else { &version.version };
        Some(format!("{prefix}/subjects/{subject}/versions/{}", segment(number)?))
    }

    fn prefix(&self) -> Option<String> {
        match &self.context {
            None => Some(String::new()),
            Some(name) => Some(format!("/contexts/:.{}:", segment(name)?)),
        }
    }
}

impl From<Confluent> for Protocol {
    fn from(confluent: Confluent) -> Self {
        Self::Confluent(confluent)
    }
}

pub(crate) fn parse_schema(answer: &Answer) -> Result<RawSchema, FetchError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Schema {
        schema: String,
        schema_type: Option<String>,
        references: Option<Vec<Reference>>,
    }
    #[derive(Deserialize)]
    struct Reference {
        name: String,
        subject: String,
        version: Version,
    }
    let Schema { schema: text, schema_type, references } = json(answer, "schema")?;
    let kind = match schema_type.as_deref() {
        None | Some("AVRO") => SchemaKind::Avro,
        Some("PROTOBUF") => SchemaKind::Protobuf,
        Some("JSON") => SchemaKind::Json,
        Some(other) => return Err(FetchError::Kind(Escaped(other).to_string())),
    };
    let references = references.unwrap_or_default().into_iter();
    let references = references.map(|reference| {
        let Reference { name, subject, version } = reference;
        RawReference { name, to: Coordinates { group: None, subject, version: version.into() } }
    });
    Ok(RawSchema { text, kind: Some(kind), references: references.collect() })
}

pub(crate) fn is_list_of_types(answer: &Answer) -> bool {
    serde_json::from_slice::<Vec<String>>(&answer.body).is_ok()
}

pub(crate) fn parse_version(answer: &Answer) -> Result<RawVersion, FetchError> {
    #[derive(Deserialize)]
    struct Subject {
        id: u32,
        version: Option<Version>,
    }
    let Subject { id, version } = json(answer, "version of a subject")?;
    Ok(RawVersion { id: SchemaId::Confluent(id), version: version.map(String::from) })
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer { headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    fn version(subject: &str, version: &str) -> Coordinates {
        Coordinates { group: None, subject: subject.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let plain = Confluent::new();
        assert_eq!(plain.schema_path(SchemaId::Confluent(9)).unwrap(), "/schemas/ids/9");
        let guid =
            SchemaId::Guid(*b"\x5e\x2f\x2f\x0a\x4a\x5c\x4c\x59\x9b\x0d\x1c\x1f\x5a\x0f\x3f\x21");
        assert_eq!(
            plain.schema_path(guid).unwrap(),
            "/schemas/guids/5e2f2f0a-4a5c-4c59-9b0d-1c1f5a0f3f21"
        );
        assert_eq!(plain.schema_path(SchemaId::GlobalId(9)), None);
        assert!(plain.schema_path(SchemaId::Confluent(i32::MAX as u32)).is_some());
        assert_eq!(plain.schema_path(SchemaId::Confluent(1 << 31)), None);
        for (subject, number, path) in [
            ("t-value", "latest", Some("/subjects/t-value/versions/latest")),
            ("t-value", "-1", Some("/subjects/t-value/versions/latest")),
            ("a b/c", "3", Some("/subjects/a%20b%2Fc/versions/3")),
            ("..", "3", None),
            ("t", "", None),
        ] {
            let found = plain.version_path(&version(subject, number));
            assert_eq!(found.as_deref(), path, "{subject} {number}");
        }
    }

    #[test]
    fn a_context_stands_before_the_rest() {
        for name in ["eu", ".eu", ":.eu:"] {
            let context = Confluent::new().context(name);
            let path = context.schema_path(SchemaId::Confluent(9)).unwrap();
            assert_eq!(path, "/contexts/:.eu:/schemas/ids/9", "{name}");
            let path = context.version_path(&version("t", "latest")).unwrap();
            assert_eq!(path, "/contexts/:.eu:/subjects/t/versions/latest", "{name}");
        }
        for name in ["", "default", ".", ":.:"] {
            let context = Confluent::new().context(name);
            assert_eq!(context.schema_path(SchemaId::Confluent(9)).unwrap(), "/schemas/ids/9");
        }
    }

    #[test]
    fn answers_are_read() {
        let schema =
            parse_schema(&answer(r#"{"schema":"\"string\"","id":9,"more":[{}]}"#)).unwrap();
        let kind = Some(SchemaKind::Avro);
        assert_eq!(schema, RawSchema { text: "\"string\"".into(), kind, references: Vec::new() });
        let schema = parse_schema(&answer(
            r#"{"schemaType":"PROTOBUF","schema":"x","references":[
                {"name":"a.proto","subject":"a","version":2},{"name":"b","subject":"b","version":"-1"}]}"#,
        ))
        .unwrap();
        assert_eq!(schema.kind, Some(SchemaKind::Protobuf));
        let [a, b] = &schema.references[..] else { panic!("two references") };
        assert_eq!(*a, RawReference { name: "a.proto".into(), to: version("a", "2") });
        assert!(b.to.is_latest() && !a.to.is_latest());
        for body in [
            "[]",
            "{}",
            r#"{"schema":1}"#,
            r#"{"schema":null}"#,
            r#"{"schema":"x","references":[{"name":"a"}]}"#,
            r#"{"schema":"x","references":7}"#,
        ] {
            assert_eq!(parse_schema(&answer(body)), Err(FetchError::Format("schema")), "{body}");
        }
        for body in ["", "<html>", "{\"schema\":", "{\"schema\":\"\\ud800\"}"] {
            assert_eq!(parse_schema(&answer(body)), Err(FetchError::Foreign), "{body}");
        }
        let other = parse_schema(&answer(r#"{"schema":"x","schemaType":"XSD"}"#));
        assert_eq!(other, Err(FetchError::Kind("XSD".into())));
        let found = parse_version(&answer(r#"{"subject":"t","version":3,"id":9,"schema":"x"}"#));
        let id = SchemaId::Confluent(9);
        assert_eq!(found, Ok(RawVersion { id, version: Some("3".into()) }));
        assert_eq!(parse_version(&answer(r#"{"id":9}"#)), Ok(RawVersion { id, version: None }));
        for body in ["{}", r#"{"id":-1}"#, r#"{"id":4294967296}"#, r#"{"id":"9"}"#] {
            assert!(parse_version(&answer(body)).is_err(), "{body}");
        }
    }
}
