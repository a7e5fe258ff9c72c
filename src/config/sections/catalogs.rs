//! `catalogs`: where schemas come from.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tailwater_schema::catalog::registry::RegistryUrl;
use tailwater_schema::catalog::{IdEncoding, UseId};

use crate::config::bindings::http::seconds;
use crate::config::bindings::kafka::Secret;
use crate::config::bindings::tls::{self, TlsOptions};
use crate::config::decode::{Cx, Map, Section, Value};
use crate::config::report::diagnostic::Span;

/// An entry of `catalogs`: a name, and where its schemas come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Catalog {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `type`: what the catalog is. Required.
    pub kind: CatalogKind,
    /// `vault`: the vault that has the keys and certificates of `options.tls`. Default: none.
    pub vault: Option<String>,
}

/// The type of a catalog.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CatalogKind {
    /// `inline`: schemas that stand in the configuration file.
    Inline(Vec<InlineSubject>),
    /// `filesystem`: schemas in files.
    Filesystem(Vec<FileSubject>),
    /// `schema-registry`, or `confluent-schema-registry`, `karapace`, `karapace-schema-registry`: a registry
    /// with the HTTP API of Confluent's.
    SchemaRegistry(SchemaRegistry),
    /// `apicurio`, or `apicurio-registry`: an Apicurio Registry, by its own HTTP API.
    Apicurio(ApicurioRegistry),
}

/// An entry of `options.subjects` of an `inline` catalog: a subject, and these keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InlineSubject {
    /// The subject.
    pub subject: String,
    /// Where the schema stands.
    pub span: Span,
    /// The keys that lead to the schema.
    pub(crate) path: String,
    /// `schema`: the text of the schema. Required.
    pub schema: Arc<str>,
    /// `version`: the version that models name. Default: `latest`.
    pub version: String,
}

/// An entry of `options.subjects` of a `filesystem` catalog: a subject, and this key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileSubject {
    /// The subject.
    pub subject: String,
    /// Where the path stands.
    pub span: Span,
    /// The keys that lead to the path.
    pub(crate) keys: String,
    /// `path`: the file of the schema, relative to the configuration file. It is read at the start. Required.
    pub path: String,
}

/// A registry with the HTTP API of Confluent's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchemaRegistry {
    /// `options`: those that all registries have.
    pub connection: RegistryOptions,
    /// `options.context`: the context of subjects and ids. Default: `default`, that of the registry.
    pub context: Option<String>,
}

/// An Apicurio Registry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ApicurioRegistry {
    /// `options`: those that all registries have.
    pub connection: RegistryOptions,
    /// `options.group-id`: the group of the artifacts. Default: `default`.
    pub group: Option<String>,
    /// `options.use-id`: which id stands before a value: `globalId` or `contentId`. Default: `globalId`.
    pub use_id: UseId,
    /// `options.id-encoding`: how the id before a value is written: `default` (8 bytes) or `legacy` (4
    /// bytes). Default: `default`.
    pub id_encoding: IdEncoding,
}

/// The `options` that all registries have.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// `options.url`: the URL of the registry, `http` or `https`, with its path if it has one. It may have
    /// a `user:password@`, which is sent as credentials and never shown. Required.
    pub url: RegistryUrl,
    /// `options.max-age`, in seconds: how long the `latest` version of a subject is used before the registry
    /// is asked again. Default: 300.
    pub max_age: Duration,
    /// `options.tls`: the certificates of an `https` connection: `keys`, `trust` and `trustcacerts`. Default:
    /// the system's certificate authorities are trusted.
    pub tls: Option<TlsOptions>,
    /// `options.credentials.headers.authorization`: the value of the header. It is never shown. Default:
    /// none.
    pub authorization: Option<Secret>,
}

impl Catalog {
    /// The registry, if the catalog is one.
    #[must_use]
    pub fn registry(&self) -> Option<&RegistryOptions> {
        match &self.kind {
            CatalogKind::SchemaRegistry(registry) => Some(&registry.connection),
            CatalogKind::Apicurio(registry) => Some(&registry.connection),
            CatalogKind::Inline(_) | CatalogKind::Filesystem(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Inline,
    Filesystem,
    SchemaRegistry,
    Apicurio,
}

const FORMS: &[(&str, Form)] = &[
    ("inline", Form::Inline),
    ("filesystem", Form::Filesystem),
    ("schema-registry", Form::SchemaRegistry),
    ("confluent-schema-registry", Form::SchemaRegistry),
    ("karapace", Form::SchemaRegistry),
    ("karapace-schema-registry", Form::SchemaRegistry),
    ("apicurio", Form::Apicurio),
    ("apicurio-registry", Form::Apicurio),
];

/// Decodes all of `catalogs`.
pub(crate) fn catalogs(cx: &Cx, section: &Map<'_>) -> Vec<Catalog> {
    let each = section.entries().filter_map(|(name, value)| {
        crate::config::check_name(&value, name);
        cx.entry(&value, || catalog(name, &value))
    });
    each.collect()
}

fn catalog(name: &str, value: &Value<'_>) -> Option<Catalog> {
    let map = value.map()?;
    let form = map.require("type").and_then(|value| value.one_of(FORMS));
    let vault = map.get("vault").and_then(|value| {
        let name = value.text_as("the name of a vault")?;
        value.reference(Section::Vaults, &name);
        Some(name)
    });
    let form = form?;
    let options = map.map_or_empty("options");
    let kind = options.and_then(|options| {
        let kind = match form {
            Form::Inline => subjects(&options, inline).map(CatalogKind::Inline),
            Form::Filesystem => subjects(&options, file).map(CatalogKind::Filesystem),
            Form::SchemaRegistry => schema_registry(&options).map(CatalogKind::SchemaRegistry),
            Form::Apicurio => apicurio(&options).map(CatalogKind::Apicurio),
        };
        options.deny_unknown();
        kind
    });
    map.deny_unknown();
    Some(Catalog { name: name.to_owned(), span: value.key, kind: kind?, vault })
}

fn subjects<T>(options: &Map<'_>, decode: impl Fn(&str, &Map<'_>) -> Option<T>) -> Option<Vec<T>> {
    let subjects = options.require("subjects")?.map()?;
    let each = subjects.entries().map(|(subject, value)| {
        let map = value.map()?;
        let decoded = decode(subject, &map);
        map.deny_unknown();
        decoded
    });
    // All of them first, so that each mistake is reported.
    let all: Vec<Option<T>> = each.collect();
    all.into_iter().collect()
}

fn inline(subject: &str, map: &Map<'_>) -> Option<InlineSubject> {
    let schema = map.require("schema").and_then(|value| {
        Some((value.span(), value.path.clone(), value.filled("the text of a schema")?))
    });
    let version = map.get("version").map(|value| value.filled("a version"));
    let version = match version {
        Some(version) => version?,
        None => "latest".to_owned(),
    };
    let (span, path, schema) = schema?;
    Some(InlineSubject { subject: subject.to_owned(), span, path, schema: schema.into(), version })
}

fn file(subject: &str, map: &Map<'_>) -> Option<FileSubject> {
    let value = map.require("path")?;
    let path = value.filled("the path of a file")?;
    let keys = value.path.clone();
    Some(FileSubject { subject: subject.to_owned(), span: value.span(), keys, path })
}

fn schema_registry(options: &Map<'_>) -> Option<SchemaRegistry> {
    let context = options.get("context").and_then(|value| value.filled("the name of a context"));
    let context = context.filter(|context| context != "default");
    Some(SchemaRegistry { connection: connection(options)?, context })
}

fn apicurio(options: &Map<'_>) -> Option<ApicurioRegistry> {
    let group = options.get("group-id").and_then(|value| value.filled("the id of a group"));
    let ids = [("globalId", UseId::GlobalId), ("contentId", UseId::ContentId)];
    let use_id = options.get("use-id").and_then(|value| value.one_of(&ids)).unwrap_or_default();
    let encodings = [("default", IdEncoding::Default), ("legacy", IdEncoding::Legacy)];
    let id_encoding =
        options.get("id-encoding").and_then(|value| value.one_of(&encodings)).unwrap_or_default();
    Some(ApicurioRegistry { connection: connection(options)?, group, use_id, id_encoding })
}

fn connection(options: &Map<'_>) -> Option<RegistryOptions> {
    let url = options.require("url").and_then(|value| {
        let text = value.filled("the URL of a registry")?;
        // The error is without the user of the URL.
        text.parse().map_err(|error| value.error(format!("{error}"))).ok()
    });
    let max_age = options.get("max-age").and_then(|value| seconds(&value));
    let tls = options.get("tls").and_then(|value| tls::of_connection(&value));
    let authorization = options.get("credentials").map(|value| credentials(&value));
    Some(RegistryOptions {
        url: url?,
        max_age: max_age.unwrap_or(Duration::from_secs(300)),
        tls,
        authorization: authorization.unwrap_or(Some(None))?,
    })
}

/// Decodes `credentials`. `Some(None)` has no header.
pub(crate) fn credentials(value: &Value<'_>) -> Option<Option<Secret>> {
    let map = value.map()?;
    let headers = map.require("headers").and_then(|value| value.map());
    map.deny_unknown();
    let headers = headers?;
    let authorization = headers.get("authorization").map(|value| {
        let secret = Secret::decode(&value)?;
        if HeaderValue::from_str(secret.reveal()).is_err() {
            value.error("the value of the header has a character that no header may have");
            return None;
        }
        Some(secret)
    });
    headers.deny_unknown();
    match authorization {
        Some(authorization) => Some(Some(authorization?)),
        None => Some(None),
    }
}
