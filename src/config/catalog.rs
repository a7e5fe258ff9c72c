//! `catalogs`: where schemas are. Ignored for now.

use std::time::Duration;

use super::decode::{Map, Value};
use super::diagnostic::Span;
use super::http::seconds;
use super::support::Feature;
use super::{telemetry, tls};

/// An entry of `catalogs`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Catalog {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// What it is, by `type`.
    pub kind: CatalogKind,
    /// `vault`: the vault that the keys for its connections are in. Default: none.
    pub vault: Option<String>,
}

/// The type of a catalog with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CatalogKind {
    /// `inline`: schemas in the file itself.
    Inline {
        /// `subjects`.
        subjects: Vec<InlineSubject>,
    },
    /// `filesystem`: schemas in files.
    Filesystem {
        /// `subjects`: names and `path`, relative to the configuration file.
        subjects: Vec<(String, String)>,
    },
    /// `schema-registry`, `karapace` and `karapace-schema-registry`.
    SchemaRegistry {
        /// `url`. Required.
        url: String,
        /// `context`. Default: `default`.
        context: String,
        /// `max-age`, in seconds. Default: 300.
        max_age: Duration,
    },
    /// `apicurio` and `apicurio-registry`.
    Apicurio {
        /// `url`. Required.
        url: String,
        /// `group-id`. Default: `default`.
        group_id: String,
        /// `use-id: contentId`. Default: `globalId`.
        content_id: bool,
        /// `id-encoding: legacy`. Default: `default`.
        legacy_encoding: bool,
        /// `max-age`, in seconds. Default: 300.
        max_age: Duration,
    },
}

/// A schema in the file itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InlineSubject {
    /// The name of the subject.
    pub subject: String,
    /// `schema`: its text. Required.
    pub schema: String,
    /// `version`. Default: `latest`.
    pub version: Option<String>,
}

#[derive(Clone, Copy)]
enum Form {
    Inline,
    Filesystem,
    Registry,
    Apicurio,
}

/// Decodes all of `catalogs`.
pub(super) fn catalogs(section: &Map<'_>) -> Vec<Catalog> {
    let each = section.entries().filter_map(|(name, value)| {
        super::check_name(&value, name);
        value.uses(Feature::Catalog);
        catalog(name, &value)
    });
    each.collect()
}

fn catalog(name: &str, value: &Value<'_>) -> Option<Catalog> {
    let map = value.map()?;
    let form = map.require("type")?.one_of(&[
        ("inline", Form::Inline),
        ("filesystem", Form::Filesystem),
        ("schema-registry", Form::Registry),
        ("karapace", Form::Registry),
        ("karapace-schema-registry", Form::Registry),
        ("apicurio", Form::Apicurio),
        ("apicurio-registry", Form::Apicurio),
    ])?;
    let vault = map.get("vault").and_then(|value| {
        let name = value.text_as("the name of a vault")?;
        value.reference("vaults", &name);
        Some(name)
    });
    let options = map.map_or_empty("options");
    map.deny_unknown();
    let options = options?;
    let kind = kind(form, &options);
    options.deny_unknown();
    Some(Catalog { name: name.to_owned(), span: value.key, kind: kind?, vault })
}

fn kind(form: Form, options: &Map<'_>) -> Option<CatalogKind> {
    match form {
        Form::Inline => {
            let subject = |(name, value): (&str, Value<'_>)| {
                let map = value.map()?;
                let schema = map.require("schema").and_then(|value| value.text());
                let version = map.text("version");
                map.deny_unknown();
                Some(InlineSubject { subject: name.to_owned(), schema: schema?, version })
            };
            let subjects = options.require("subjects")?.map()?;
            Some(CatalogKind::Inline { subjects: subjects.entries().filter_map(subject).collect() })
        }
        Form::Filesystem => {
            let subject = |(name, value): (&str, Value<'_>)| {
                let map = value.map()?;
                let path = map.require("path").and_then(|value| value.filled("the path of a file"));
                map.deny_unknown();
                Some((name.to_owned(), path?))
            };
            let subjects = options.require("subjects")?.map()?;
            Some(CatalogKind::Filesystem {
                subjects: subjects.entries().filter_map(subject).collect(),
            })
        }
        Form::Registry => {
            let (url, max_age) = remote(options);
            let context = options.text("context").unwrap_or_else(|| "default".to_owned());
            Some(CatalogKind::SchemaRegistry { url: url?, context, max_age })
        }
        Form::Apicurio => {
            let (url, max_age) = remote(options);
            let group_id = options.text("group-id").unwrap_or_else(|| "default".to_owned());
            let ids = [("globalId", false), ("contentId", true)];
            let content_id = options.get("use-id").and_then(|value| value.one_of(&ids));
            let encodings = [("default", false), ("legacy", true)];
            let legacy_encoding =
                options.get("id-encoding").and_then(|value| value.one_of(&encodings));
            Some(CatalogKind::Apicurio {
                url: url?,
                group_id,
                content_id: content_id.unwrap_or(false),
                legacy_encoding: legacy_encoding.unwrap_or(false),
                max_age,
            })
        }
    }
}

fn remote(options: &Map<'_>) -> (Option<String>, Duration) {
    let url = options.require("url").and_then(|value| value.filled("a URL"));
    let max_age = options.get("max-age").and_then(|value| seconds(&value));
    // Not kept: no catalog is asked yet.
    tls::check(options);
    telemetry::authorization(options);
    (url, max_age.unwrap_or(Duration::from_secs(300)))
}
