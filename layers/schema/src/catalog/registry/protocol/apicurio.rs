use http::header;
use serde::Deserialize;

use super::{Answer, Coordinates, Protocol, RawReference, RawSchema, RawVersion, Version, json};
use crate::catalog::registry::FetchError;
use crate::catalog::registry::url::segment;
use crate::catalog::{Framing, IdEncoding, SchemaId, SchemaKind, UseId};

/// The API where the URL of the registry has no path.
pub(crate) const DEFAULT_PATH: &str = "/apis/registry/v2";

const DEFAULT_GROUP: &str = "default";

/// The API of Apicurio's registry, version 2 or 3.
///
/// A path of the registry's URL is the base of the API, and one that ends in `/v3` means version 3. Without a path it
/// is `/apis/registry/v2`, which registries of version 3 have as well.
#[derive(Clone, Debug)]
#[must_use]
pub struct Apicurio {
    group: String,
    use_id: UseId,
    id_encoding: IdEncoding,
}

impl Apicurio {
    /// The API with the group `default`, the `globalId`, and prefixes of 8 bytes.
    pub fn new() -> Self {
        Self {
            group: DEFAULT_GROUP.to_owned(),
            use_id: UseId::default(),
            id_encoding: IdEncoding::default(),
        }
    }

    /// The group of the artifacts. Default: `default`, as for the empty name.
    pub fn group(mut self, id: impl Into<String>) -> Self {
        self.group = id.into();
        if self.group.is_empty() {
            DEFAULT_GROUP.clone_into(&mut self.group);
        }
        self
    }

    /// Which id the prefix of a record holds. Default: the `globalId`.
    pub fn use_id(mut self, use_id: UseId) -> Self {
        self.use_id = use_id;
        self
    }

    /// How many bytes an id has in the prefix of a record. Default: 8.
    pub fn id_encoding(mut self, encoding: IdEncoding) -> Self {
        self.id_encoding = encoding;
        self
    }

    pub(crate) fn framing(&self) -> Framing {
        Framing::Apicurio { use_id: self.use_id, encoding: self.id_encoding }
    }

    pub(crate) fn schema_path(&self, id: SchemaId) -> Option<String> {
        // The registry reads a signed number, and has no such path for a greater one.
        let signed = |id: u64| i64::try_from(id).ok();
        match id {
            SchemaId::GlobalId(id) => signed(id).map(|id| format!("/ids/globalIds/{id}")),
            SchemaId::ContentId(id) => signed(id).map(|id| format!("/ids/contentIds/{id}")),
            SchemaId::Confluent(_) | SchemaId::Guid(_) | SchemaId::Checksum(_) => None,
        }
    }

    pub(crate) fn references_path(&self, id: SchemaId) -> Option<String> {
        self.schema_path(id).map(|path| format!("{path}/references"))
    }

    pub(crate) fn version_path(&self, version: &Coordinates, base_path: &str) -> Option<String> {
        let group = segment(version.group.as_deref().unwrap_or(&self.group))?;
        let artifact = segment(&version.subject)?;
        let artifact = format!("/groups/{group}/artifacts/{artifact}");
        Some(match (is_v3(base_path), version.is_latest()) {
            (true, true) => format!("{artifact}/versions/branch=latest"),
            (true, false) => format!("{artifact}/versions/{}", segment(&version.version)?),
            (false, true) => format!("{artifact}/meta"),
            (false, false) => format!("{artifact}/versions/{}/meta", segment(&version.version)?),
        })
    }

    pub(crate) fn parse_version(&self, answer: &Answer) -> Result<RawVersion, FetchError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta {
            global_id: Option<u64>,
            content_id: Option<u64>,
            version: Option<Version>,
        }
        let form = "version of an artifact";
        let Meta { global_id, content_id, version } = json(answer, form)?;
        let id = match self.use_id {
            UseId::GlobalId => global_id.map(SchemaId::GlobalId),
            UseId::ContentId => content_id.map(SchemaId::ContentId),
        };
        let id = id.ok_or(FetchError::Format(form))?;
        Ok(RawVersion { id, version: version.map(String::from) })
    }
}

impl Default for Apicurio {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Apicurio> for Protocol {
    fn from(apicurio: Apicurio) -> Self {
        Self::Apicurio(apicurio)
    }
}

fn is_v3(base_path: &str) -> bool {
    base_path.ends_with("/v3")
}

pub(crate) fn is_system_info(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Info {
        #[serde(rename = "version")]
        _version: String,
    }
    serde_json::from_slice::<Info>(&answer.body).is_ok()
}

/// The body is the schema itself.
pub(crate) fn parse_schema(answer: &Answer) -> Result<RawSchema, FetchError> {
    let text = str::from_utf8(&answer.body).map_err(|_| FetchError::Format("schema"))?;
    let text = text.trim_start_matches('\u{feff}').to_owned();
    if text.is_empty() {
        return Err(FetchError::Format("schema"));
    }
    Ok(RawSchema { text, kind: kind(answer), references: Vec::new() })
}

/// The type of an artifact stands in a header of its own in some versions. Avro and JSON Schema have the same content
/// type.
fn kind(answer: &Answer) -> Option<SchemaKind> {
    let header = |name: &str| answer.headers.get(name)?.to_str().ok();
    if let Some(name) = header("x-registry-artifacttype") {
        match name {
            "AVRO" => return Some(SchemaKind::Avro),
            "PROTOBUF" => return Some(SchemaKind::Protobuf),
            "JSON" => return Some(SchemaKind::Json),
            _ => {}
        }
    }
    let content_type = header(header::CONTENT_TYPE.as_str())?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-protobuf").then_some(SchemaKind::Protobuf)
}

pub(crate) fn parse_references(answer: &Answer) -> Result<Vec<RawReference>, FetchError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reference {
        group_id: Option<String>,
        artifact_id: String,
        version: Option<Version>,
        name: String,
    }
    let references: Vec<Reference> = json(answer, "list of references")?;
    let references = references.into_iter().map(|reference| {
        let Reference { group_id, artifact_id: subject, version, name } = reference;
        // The group of a reference is not that of the artifact that has it.
        let group = Some(group_id.filter(|id| !id.is_empty()).unwrap_or(DEFAULT_GROUP.to_owned()));
        let version = version.map_or_else(|| super::LATEST.to_owned(), String::from);
        RawReference { name, to: Coordinates { group, subject, version } }
    });
    Ok(references.collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const V2: &str = "/apis/registry/v2";
    const V3: &str = "/apis/registry/v3";

    fn answer(body: &'static [u8]) -> Answer {
        Answer { headers: HeaderMap::new(), body: Bytes::from_static(body) }
    }

    fn version(group: Option<&str>, subject: &str, version: &str) -> Coordinates {
        let group = group.map(str::to_owned);
        Coordinates { group, subject: subject.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let api = Apicurio::new();
        assert_eq!(api.schema_path(SchemaId::GlobalId(9)).unwrap(), "/ids/globalIds/9");
        let path = api.references_path(SchemaId::ContentId(9)).unwrap();
        assert_eq!(path, "/ids/contentIds/9/references");
        assert_eq!(api.schema_path(SchemaId::Confluent(9)), None);
        for id in [SchemaId::GlobalId, SchemaId::ContentId] {
            assert!(api.schema_path(id(i64::MAX as u64)).is_some());
            assert_eq!(api.schema_path(id(1 << 63)), None);
            assert_eq!(api.references_path(id(1 << 63)), None);
        }
        let other = api.clone().group("a b");
        let named = api.clone().group("");
        for (api, version, base, path) in [
            (&api, version(None, "t", "latest"), V2, "/groups/default/artifacts/t/meta"),
            (&api, version(None, "t", "2"), V2, "/groups/default/artifacts/t/versions/2/meta"),
            (&named, version(None, "t", "latest"), V2, "/groups/default/artifacts/t/meta"),
            (&other, version(None, "t/u", "latest"), V2, "/groups/a%20b/artifacts/t%2Fu/meta"),
            (&other, version(Some("g"), "t", "1"), V2, "/groups/g/artifacts/t/versions/1/meta"),
            (
                &api,
                version(None, "t", "latest"),
                V3,
                "/groups/default/artifacts/t/versions/branch=latest",
            ),
            (&api, version(None, "t", "2"), V3, "/groups/default/artifacts/t/versions/2"),
            (
                &api,
                version(None, "t", "a=b"),
                "/x/v3",
                "/groups/default/artifacts/t/versions/a%3Db",
            ),
        ] {
            assert_eq!(api.version_path(&version, base).as_deref(), Some(path), "{version:?}");
        }
        assert_eq!(api.version_path(&version(None, "..", "2"), V2), None);
    }

    #[test]
    fn answers_are_read() {
        let schema = parse_schema(&answer(b"\xef\xbb\xbf\"string\"")).unwrap();
        assert_eq!(
            schema,
            RawSchema { text: "\"string\"".into(), kind: None, references: Vec::new() }
        );
        for body in [&b""[..], b"\xff"] {
            assert_eq!(parse_schema(&answer(body)), Err(FetchError::Format("schema")));
        }
        for (name, value, kind) in [
            ("content-type", "application/x-protobuf", Some(SchemaKind::Protobuf)),
            ("content-type", "application/json", None),
            ("x-registry-artifacttype", "AVRO", Some(SchemaKind::Avro)),
            ("x-registry-artifacttype", "OPENAPI", None),
        ] {
            let mut answer = answer(b"x");
            let name = HeaderName::from_static(name);
            answer.headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(parse_schema(&answer).unwrap().kind, kind, "{value}");
        }
        let meta = answer(br#"{"type":"AVRO","version":"3","globalId":9,"contentId":7}"#);
        let version_of = |id| Ok(RawVersion { id, version: Some("3".into()) });
        assert_eq!(Apicurio::new().parse_version(&meta), version_of(SchemaId::GlobalId(9)));
        let content = Apicurio::new().use_id(UseId::ContentId);
        assert_eq!(content.parse_version(&meta), version_of(SchemaId::ContentId(7)));
        let lacking = answer(br#"{"globalId":9}"#);
        assert_eq!(
            content.parse_version(&lacking),
            Err(FetchError::Format("version of an artifact"))
        );
    }

    #[test]
    fn references_are_read() {
        let found = parse_references(&answer(
            br#"[{"groupId":"g","artifactId":"a","version":"2","name":"x.A"},
                {"groupId":null,"artifactId":"b","version":1,"name":"x.B"},
                {"artifactId":"c","name":"x.C"}]"#,
        ))
        .unwrap();
        let named = |name: &str, to| RawReference { name: name.to_owned(), to };
        assert_eq!(
            found,
            [
                named("x.A", version(Some("g"), "a", "2")),
                named("x.B", version(Some("default"), "b", "1")),
                named("x.C", version(Some("default"), "c", "latest")),
            ]
        );
        assert!(parse_references(&answer(b"{}")).is_err());
    }
}
