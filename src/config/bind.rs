//! From models and catalogs of the configuration to those of `tailwater-schema`.

use std::path::Path;
use std::sync::Arc;

use tailwater_schema::catalog::{
    Catalog, FileError, FilesystemCatalog, Framing, InlineCatalog, Lookup, SchemaId, SchemaKind,
    SchemaRef, UseId,
};
use tailwater_schema::model::{
    AvroModel, DoubleModel, FloatModel, Int32Model, Int64Model, JsonModel, ProtobufModel,
    SchemaSource, StringModel, Validate,
};
use tailwater_schema::{Model, Part};

use crate::config::sections::catalogs::{self, CatalogKind, FileSubject};
use crate::config::sections::models::{self, ModelKind, NumberOptions, SchemaName, StringOptions};

/// What a model is for: the key or the value of a topic's records, or the data of events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'t> {
    Record { topic: &'t str, part: Part },
    Event,
}

impl Subject<'_> {
    /// The name of the subject in a catalog, where a model names none.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Record { topic, part: Part::Key } => format!("{topic}-key"),
            Self::Record { topic, .. } => format!("{topic}-value"),
            Self::Event => "(none)".to_owned(),
        }
    }
}

/// What a model looks its schema up by, if its data does not name one. None where the id is none of this type of
/// catalog.
pub(crate) fn schema_ref(
    catalog: &CatalogKind,
    schema: &SchemaName,
    subject: Subject<'_>,
) -> Option<SchemaRef> {
    Some(match schema {
        SchemaName::Id { id } => SchemaRef::Id(schema_id(catalog, *id)?),
        SchemaName::Topic { version } => SchemaRef::subject(subject.name(), &**version),
        SchemaName::Subject { subject, version } => SchemaRef::subject(&**subject, &**version),
    })
}

/// A catalog that finds schemas by their ids alone. Events have no topic by whose name a subject could be found.
#[derive(Debug)]
pub(crate) struct ById(pub(crate) Arc<dyn Catalog>);

impl Catalog for ById {
    fn look_up(&self, schema: &SchemaRef, kind: SchemaKind) -> Lookup {
        match schema {
            SchemaRef::Id(_) => self.0.look_up(schema, kind),
            _ => Lookup::Missing,
        }
    }

    fn framing(&self) -> Framing {
        self.0.framing()
    }
}

fn schema_id(catalog: &CatalogKind, id: i64) -> Option<SchemaId> {
    match catalog {
        CatalogKind::Inline(_) | CatalogKind::Filesystem(_) => {
            id.try_into().ok().map(SchemaId::Checksum)
        }
        CatalogKind::SchemaRegistry(_) => id.try_into().ok().map(SchemaId::Confluent),
        CatalogKind::Apicurio(registry) => id.try_into().ok().map(|id| match registry.use_id {
            UseId::ContentId => SchemaId::ContentId(id),
            _ => SchemaId::GlobalId(id),
        }),
    }
}

/// A catalog whose schemas are at hand: an `inline` one, and a `filesystem` one, whose files are read now. Calls
/// `failed` for each file that cannot be used. None for a registry.
pub(crate) fn local(
    catalog: &catalogs::Catalog,
    folder: &Path,
    mut failed: impl FnMut(&FileSubject, FileError),
) -> Option<Arc<dyn Catalog>> {
    match &catalog.kind {
        CatalogKind::Inline(subjects) => {
            let inline = subjects.iter().fold(InlineCatalog::new(), |inline, subject| {
                inline.schema(&*subject.subject, &*subject.version, Arc::clone(&subject.schema))
            });
            Some(Arc::new(inline))
        }
        CatalogKind::Filesystem(subjects) => {
            let mut files = FilesystemCatalog::new();
            for subject in subjects {
                match files.clone().file(&*subject.subject, folder.join(&subject.path)) {
                    Ok(with_file) => files = with_file,
                    Err(error) => failed(subject, error),
                }
            }
            Some(Arc::new(files))
        }
        CatalogKind::SchemaRegistry(_) | CatalogKind::Apicurio(_) => None,
    }
}

/// The language of a model's schema.
pub(crate) fn schema_kind(model: &models::Model) -> Option<SchemaKind> {
    match &model.kind {
        ModelKind::Json(_) => Some(SchemaKind::Json),
        ModelKind::Avro(_) => Some(SchemaKind::Avro),
        ModelKind::Protobuf(_) => Some(SchemaKind::Protobuf),
        _ => None,
    }
}

/// A model with the catalog of its schema, if it has one. None where the model lacks its schema.
pub(crate) fn model(
    model: &models::Model,
    schema: Option<(Arc<dyn Catalog>, SchemaRef)>,
) -> Option<Model> {
    let source = schema.map(|(catalog, schema)| SchemaSource::new(catalog, schema));
    let validate = model.validate;
    Some(match &model.kind {
        ModelKind::String(options) => string(options, validate).into(),
        ModelKind::Int32(options) => int32(options, validate).into(),
        ModelKind::Int64(options) => int64(options, validate).into(),
        ModelKind::Float(options) => float(options, validate).into(),
        ModelKind::Double(options) => double(options, validate).into(),
        ModelKind::Boolean => Model::boolean(),
        ModelKind::Bytes => Model::bytes(),
        ModelKind::Json(_) => JsonModel::new(source?).validate(validate).into(),
        ModelKind::Avro(avro) => {
            let model = AvroModel::new(source?).view(avro.view);
            model.logical_text(avro.logical_text).into()
        }
        ModelKind::Protobuf(protobuf) => {
            ProtobufModel::new(source?, &*protobuf.record).view(protobuf.view).into()
        }
    })
}

fn string(options: &StringOptions, validate: Validate) -> StringModel {
    let model = StringModel::new().encoding(options.encoding).validate(validate);
    let model = model.min_length(options.min_length);
    let model = options.max_length.into_iter().fold(model, StringModel::max_length);
    // The pattern was compiled when it was decoded.
    match &options.pattern {
        Some(pattern) => model.clone().pattern(pattern).unwrap_or(model),
        None => model,
    }
}

macro_rules! numbers {
    ($($name:ident($type:ty) -> $model:ident;)*) => {$(
        fn $name(options: &NumberOptions<$type>, validate: Validate) -> $model {
            let NumberOptions { format, range, multiple } = options.clone();
            let model = $model::new().format(format).validate(validate);
            let model = range.into_iter().fold(model, $model::range);
            multiple.into_iter().fold(model, $model::multiple)
        }
    )*};
}

numbers! {
    int32(i32) -> Int32Model;
    int64(i64) -> Int64Model;
    float(f32) -> FloatModel;
    double(f64) -> DoubleModel;
}
