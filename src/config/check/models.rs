//! Whether models find their schemas in their catalogs, and whether the schemas are any.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tailwater_schema::Part;
use tailwater_schema::catalog::{FileError, Lookup, SchemaRef};
use tailwater_schema::model::Check;

use crate::config::bind::{self, Subject};
use crate::config::bindings::kafka::{KafkaCacheClient, KafkaCacheServer};
use crate::config::bindings::topics::Topic;
use crate::config::bindings::{Binding, Kind};
use crate::config::check::requirements::Requirements;
use crate::config::check::support::Ignored;
use crate::config::decode::defined;
use crate::config::report::diagnostic::Span;
use crate::config::sections::catalogs::{Catalog, CatalogKind};
use crate::config::sections::models::{Model, SchemaChoice, SchemaName};
use crate::config::source::first_match;

/// Catalogs whose schemas are at hand, by name.
type Local<'c> = HashMap<&'c str, Arc<dyn tailwater_schema::catalog::Catalog>>;

/// Checks all models and catalogs. Without a folder the files of `filesystem` catalogs are not read.
pub(crate) fn check(requirements: &Requirements<'_>, folder: Option<&Path>) {
    let local = catalogs(requirements, folder);
    for binding in requirements.bindings {
        let topics = match &binding.kind {
            Kind::KafkaCacheServer(server) => &server.topics,
            Kind::KafkaCacheClient(client) => {
                client_side(requirements, client);
                &client.topics
            }
            Kind::SseServer(server) => {
                for request in &server.requests {
                    model(requirements, &local, &request.content, Some(Subject::Event));
                }
                continue;
            }
            _ => continue,
        };
        for topic in topics {
            for (part, of_part) in [(Part::Key, &topic.key), (Part::Value, &topic.value)] {
                let name = topic.name.as_literal();
                let subject = name.map(|topic| Subject::Record { topic, part });
                if let Some(of_part) = of_part {
                    model(requirements, &local, of_part, subject);
                }
            }
        }
    }
}

/// Checks catalogs, and reads those whose schemas are at hand.
fn catalogs<'w>(requirements: &Requirements<'w>, folder: Option<&Path>) -> Local<'w> {
    let mut local = HashMap::new();
    for catalog in requirements.catalogs {
        if let Some(registry) = catalog.registry()
            && let Some(tls) = &registry.tls
        {
            if registry.url.to_string().starts_with("https:") {
                requirements.catalog_vault(catalog, tls);
            } else {
                let path = format!("catalogs.{}.options.tls", catalog.name);
                requirements.cx.ignored(Ignored::CatalogTls, catalog.span, &path);
            }
        }
        if folder.is_none() && matches!(catalog.kind, CatalogKind::Filesystem(_)) {
            continue;
        }
        let read = bind::local(catalog, folder.unwrap_or(Path::new("")), |subject, error| {
            let message = format!("{}: {}", subject.keys, file_error(&error));
            requirements.cx.error(subject.span, message, None);
        });
        local.extend(read.map(|read| (catalog.name.as_str(), read)));
    }
    local
}

fn file_error(error: &FileError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Checks a model. The subject is none where the name of the topic is not known.
fn model(
    requirements: &Requirements<'_>,
    local: &Local<'_>,
    model: &Model,
    subject: Option<Subject<'_>>,
) {
    let Some(choice) = model.schema() else { return };
    let catalog = requirements.catalogs.iter().find(|catalog| catalog.name == choice.catalog);
    let Some(catalog) = catalog else { return };
    let subject = match (&choice.schema, subject) {
        (SchemaName::Topic { .. }, None) => return,
        (_, subject) => subject.unwrap_or(Subject::Event),
    };
    let error = |message: String, help: Option<String>| {
        requirements.cx.error(choice.span, format!("{}: {message}", choice.path), help);
    };
    if let (SchemaName::Topic { .. }, Subject::Event) = (&choice.schema, subject) {
        // Data may carry the id of its schema, if that comes from a registry.
        if catalog.registry().is_none() {
            let help = "name the schema by `id` or `subject`".to_owned();
            error("`strategy` needs a topic, and events have none".to_owned(), Some(help));
        }
        return;
    }
    let Some(schema) = bind::schema_ref(&catalog.kind, &choice.schema, subject) else {
        return error("the catalog has no schemas with such an id".to_owned(), None);
    };
    let Some(read) = local.get(catalog.name.as_str()) else { return };
    let Some(kind) = bind::schema_kind(model) else { return };
    let found = match read.look_up(&schema, kind) {
        Lookup::Known(found) => found,
        Lookup::Missing if is_file_missing(catalog, &schema) => return,
        _ => {
            return error(
                format!("the catalog `{}` has no {schema}", catalog.name),
                Some(help(catalog, &schema)),
            );
        }
    };
    if let Err(reason) = found.compile(kind) {
        let (span, path) = place(catalog, found.text(), choice);
        let message = format!("{path}: the text is no schema of {kind}: {reason}");
        return requirements.cx.error(span, message, None);
    }
    let bound = bind::model(model, Some((Arc::clone(read), schema)));
    if let Some(Check::Failed(rejection)) = bound.map(|bound| bound.check()) {
        error(rejection.to_string(), None);
    }
}

/// Whether the file of the subject cannot be read, which is reported already.
fn is_file_missing(catalog: &Catalog, schema: &SchemaRef) -> bool {
    match (&catalog.kind, schema) {
        (CatalogKind::Filesystem(subjects), SchemaRef::Subject { subject, .. }) => {
            subjects.iter().any(|known| *known.subject == **subject)
        }
        _ => false,
    }
}

/// What the catalog has in place of what it lacks.
fn help(catalog: &Catalog, schema: &SchemaRef) -> String {
    let wanted = match schema {
        SchemaRef::Subject { subject, .. } => &**subject,
        _ => "",
    };
    match &catalog.kind {
        CatalogKind::Inline(subjects) => {
            let versions: Vec<&str> = subjects
                .iter()
                .filter(|known| known.subject == wanted)
                .map(|known| known.version.as_str())
                .collect();
            if !versions.is_empty() {
                return format!("its version is {}", versions.join(", "));
            }
            let names: Vec<&str> = subjects.iter().map(|known| known.subject.as_str()).collect();
            defined(wanted, &names)
        }
        CatalogKind::Filesystem(subjects) => {
            let names: Vec<&str> = subjects.iter().map(|known| known.subject.as_str()).collect();
            defined(wanted, &names)
        }
        CatalogKind::SchemaRegistry(_) | CatalogKind::Apicurio(_) => String::new(),
    }
}

/// Where the text of a schema stands.
fn place<'p>(catalog: &'p Catalog, text: &str, choice: &'p SchemaChoice) -> (Span, &'p str) {
    let named = |wanted: &str| match &choice.schema {
        SchemaName::Subject { subject, .. } => subject == wanted,
        SchemaName::Topic { .. } => wanted.ends_with("-key") || wanted.ends_with("-value"),
        SchemaName::Id { .. } => true,
    };
    match &catalog.kind {
        CatalogKind::Inline(subjects) => {
            let found = subjects.iter().find(|known| &*known.schema == text);
            found.map_or((choice.span, &choice.path), |known| (known.span, &known.path))
        }
        CatalogKind::Filesystem(subjects) => {
            let found = subjects.iter().find(|known| named(&known.subject));
            found.map_or((choice.span, &choice.path), |known| (known.span, &known.keys))
        }
        CatalogKind::SchemaRegistry(_) | CatalogKind::Apicurio(_) => (choice.span, &choice.path),
    }
}

/// Warns of models that only a `cache_client` has.
fn client_side(requirements: &Requirements<'_>, client: &KafkaCacheClient) {
    let leads = |binding: &&Binding| client.routes.iter().any(|route| route.exit == binding.name);
    let servers: Vec<&KafkaCacheServer> = requirements
        .bindings
        .iter()
        .filter(leads)
        .filter_map(|binding| match &binding.kind {
            Kind::KafkaCacheServer(server) => Some(server),
            _ => None,
        })
        .collect();
    for topic in &client.topics {
        let of_server = |part: fn(&Topic) -> bool| {
            let same = |server: &&KafkaCacheServer| {
                first_match(&server.topics, topic.name.as_str())
                    .or_else(|| server.topics.iter().find(|known| known.name == topic.name))
                    .is_some_and(part)
            };
            servers.iter().any(same)
        };
        for (model, has_other) in [
            (&topic.key, of_server(|topic| topic.key.is_some())),
            (&topic.value, of_server(|topic| topic.value.is_some())),
        ] {
            if let Some(model) = model.as_ref().filter(|_| !has_other) {
                requirements.cx.ignored(Ignored::CacheClientModel, model.span, &model.path);
            }
        }
    }
}
