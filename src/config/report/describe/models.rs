//! Models of topics and events, and the catalogs of their schemas.

use tailwater_schema::model::{Encoding, NumberFormat, Validate, View};
use tailwater_schema::{Part, Range};

use crate::config::bind::Subject;
use crate::config::bindings::topics::{Topic, Transforms};
use crate::config::report::describe::Describer;
use crate::config::sections::catalogs::{Catalog, CatalogKind};
use crate::config::sections::models::{
    Model, ModelKind, NumberOptions, SchemaChoice, SchemaName, StringOptions,
};
use crate::config::{EventModel, TopicSource};

impl Describer<'_> {
    /// The models and transforms of a topic, or of all topics that have any.
    pub(super) fn models(&mut self, depth: usize, topic: Option<&str>, source: &TopicSource<'_>) {
        match topic {
            Some(topic) => {
                if let Some(of_topic) = source.topic(topic) {
                    self.models_of(depth, of_topic, Some(topic));
                }
            }
            None => {
                let has_models = |topic: &&Topic| topic.key.is_some() || topic.value.is_some();
                for topic in source.server_topics().iter().filter(has_models) {
                    self.line(depth, &format!("topic {}", topic.name));
                    self.models_of(depth + 1, topic, topic.name.as_literal());
                }
            }
        }
    }

    fn models_of(&mut self, depth: usize, of: &Topic, topic: Option<&str>) {
        let parts = [("keys", Part::Key, &of.key), ("values", Part::Value, &of.value)];
        for (name, part, model) in parts {
            let Some(model) = model else { continue };
            let subject = topic.map(|topic| Subject::Record { topic, part });
            self.line(depth, &format!("{name}: {}", self::model(model, subject)));
        }
        let Some(Transforms { key, headers }) = &of.transforms else { return };
        if let Some(field) = key {
            self.line(depth, &format!("the key becomes {field}"));
        }
        for (name, field) in headers {
            self.line(depth, &format!("the header {name} is added with {field}"));
        }
    }

    pub(super) fn event_model(&mut self, depth: usize, events: &EventModel) {
        let model = model(&events.content, Some(Subject::Event));
        self.line(depth, &format!("events of paths with {}: {model}", events.path));
    }

    pub(super) fn catalog(&mut self, catalog: &Catalog) {
        let what = match &catalog.kind {
            CatalogKind::Inline(subjects) => {
                let subjects =
                    subjects.iter().map(|known| format!("{} ({})", known.subject, known.version));
                format!("schemas of this file: {}", list(subjects))
            }
            CatalogKind::Filesystem(subjects) => {
                let subjects =
                    subjects.iter().map(|known| format!("{} in {}", known.subject, known.path));
                format!("schemas of files: {}", list(subjects))
            }
            CatalogKind::SchemaRegistry(registry) => {
                let context = registry.context.iter().map(|name| format!(", context {name}"));
                format!(
                    "the schema registry {}{}",
                    registry.connection.url,
                    context.collect::<String>()
                )
            }
            CatalogKind::Apicurio(registry) => {
                let group = registry.group.as_deref().unwrap_or("default");
                format!("the Apicurio registry {}, group {group}", registry.connection.url)
            }
        };
        self.line(0, &format!("\ncatalog {}: {what}", catalog.name));
        if let Some(registry) = catalog.registry() {
            let seconds = registry.max_age.as_secs();
            self.line(1, &format!("the latest version of a subject is used for {seconds} s"));
            if registry.authorization.is_some() {
                self.line(1, "requests have credentials");
            }
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn model(model: &Model, subject: Option<Subject<'_>>) -> String {
    let mut text = model.name().to_owned();
    let mut add = |more: String| {
        text.push_str(", ");
        text.push_str(&more);
    };
    match &model.kind {
        ModelKind::String(options) => string(options).into_iter().for_each(&mut add),
        ModelKind::Int32(options) => number(options).into_iter().for_each(&mut add),
        ModelKind::Int64(options) => number(options).into_iter().for_each(&mut add),
        ModelKind::Float(options) => number(options).into_iter().for_each(&mut add),
        ModelKind::Double(options) => number(options).into_iter().for_each(&mut add),
        ModelKind::Boolean | ModelKind::Bytes => {}
        ModelKind::Json(choice) => add(schema(choice, subject)),
        ModelKind::Avro(avro) => {
            view(avro.view).into_iter().for_each(&mut add);
            if avro.logical_text {
                add("logical types as text".to_owned());
            }
            add(schema(&avro.schema, subject));
        }
        ModelKind::Protobuf(protobuf) => {
            view(protobuf.view).into_iter().for_each(&mut add);
            add(format!("message {}", protobuf.record));
            add(schema(&protobuf.schema, subject));
        }
    }
    if model.validate == Validate::Lenient {
        add("lenient".to_owned());
    }
    text
}

fn view(view: View) -> Option<String> {
    (view == View::Json).then(|| "as JSON".to_owned())
}

fn string(options: &StringOptions) -> Vec<String> {
    let StringOptions { encoding, min_length, max_length, pattern } = options;
    let utf_16 = (*encoding == Encoding::Utf16).then(|| "in UTF-16".to_owned());
    let least = (*min_length > 0).then(|| format!("at least {min_length} characters"));
    let most = max_length.map(|most| format!("at most {most} characters"));
    let pattern = pattern.iter().map(|pattern| format!("pattern {pattern}"));
    utf_16.into_iter().chain(least).chain(most).chain(pattern).collect()
}

fn number<T: std::fmt::Display>(options: &NumberOptions<T>) -> Vec<String>
where
    Range<T>: std::fmt::Display,
{
    let NumberOptions { format, range, multiple } = options;
    let binary = (*format == NumberFormat::Binary).then(|| "binary".to_owned());
    let range = range.iter().map(|range| format!("in {range}"));
    let multiple = multiple.iter().map(|multiple| format!("a multiple of {multiple}"));
    binary.into_iter().chain(range).chain(multiple).collect()
}

fn schema(choice: &SchemaChoice, subject: Option<Subject<'_>>) -> String {
    let catalog = &choice.catalog;
    match &choice.schema {
        SchemaName::Id { id } => format!("schema {id} of {catalog}"),
        SchemaName::Topic { version } => {
            let subject = match subject {
                Some(subject @ Subject::Record { .. }) => format!("subject {}", subject.name()),
                Some(Subject::Event) => {
                    return format!("schema of {catalog} whose id the data has");
                }
                None => "subject of the topic's name".to_owned(),
            };
            format!("schema of {catalog}: {subject}, version {version}")
        }
        SchemaName::Subject { subject, version } => {
            format!("schema of {catalog}: subject {subject}, version {version}")
        }
    }
}
