use std::sync::Arc;

use crate::avro;
use crate::catalog::{Catalog, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText, Waiter};
use crate::extract::{Extracted, Fields};
use crate::framing::{self, Framed};
use crate::input::Input;
use crate::json;
use crate::model::{Check, Outcome, Validate};
use crate::protobuf;
use crate::reject::Rejection;

/// What an avro or a protobuf model makes of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum View {
    /// The format stays, without the schema's id before it. The default.
    #[default]
    None,
    /// JSON.
    Json,
}

/// The schemas of a model: a catalog, and the schema of values that do not name theirs.
#[derive(Clone, Debug)]
#[must_use]
pub struct SchemaSource {
    catalog: Arc<dyn Catalog>,
    schema: SchemaRef,
}

impl SchemaSource {
    /// Schemas of `catalog`. A value that carries the id of a schema is read with that one, every other with `schema`.
    pub fn new(catalog: Arc<dyn Catalog>, schema: SchemaRef) -> Self {
        Self { catalog, schema }
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The schema of values that do not name theirs.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn look_up(&self, id: Option<SchemaId>, kind: SchemaKind) -> Result<Arc<SchemaText>, Missing> {
        let by_id;
        let wanted = match id {
            Some(id) => {
                by_id = SchemaRef::Id(id);
                &by_id
            }
            None => &self.schema,
        };
        match self.catalog.look_up(wanted, kind) {
            Lookup::Known(schema) => match schema.kind() {
                Some(other) if other != kind => Err(Rejection::unusable(format!(
                    "the schema of {wanted} is {other}, not {kind}"
                ))
                .into()),
                _ => Ok(schema),
            },
            Lookup::Missing => {
                Err(Rejection::missing(format!("the catalog has no schema of {wanted}")).into())
            }
            Lookup::Pending(waiter) => Err(Missing::Pending(waiter)),
        }
    }

    fn find<'a>(
        &self,
        input: &Input<'a>,
        kind: SchemaKind,
    ) -> Result<(Framed<'a>, Arc<SchemaText>), Missing> {
        let framed = framing::split(self.catalog.framing(), input)?;
        let schema = self.look_up(framed.id, kind)?;
        Ok((framed, schema))
    }
}

/// Why there is no schema.
enum Missing {
    Rejected(Rejection),
    Pending(Waiter),
}

impl From<Rejection> for Missing {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Missing> for Outcome<'_> {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Rejected(rejection) => Self::Rejected(rejection),
            Missing::Pending(waiter) => Self::Pending(waiter),
        }
    }
}

impl From<Missing> for Extracted {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Rejected(rejection) => Self::Rejected(rejection),
            Missing::Pending(waiter) => Self::Pending(waiter),
        }
    }
}

impl From<Result<(), Missing>> for Check {
    fn from(result: Result<(), Missing>) -> Self {
        match result {
            Ok(()) => Self::Ready,
            Err(Missing::Rejected(rejection)) => Self::Failed(rejection),
            Err(Missing::Pending(waiter)) => Self::Pending(waiter),
        }
    }
}

/// A compiled schema, or the rejection of all values that need it.
fn usable<T>(compiled: Result<T, &str>) -> Result<T, Rejection> {
    compiled.map_err(|error| Rejection::unusable(format!("the schema cannot be used: {error}")))
}

/// JSON, by JSON Schema. The bytes pass unchanged, without a schema's id before them.
#[derive(Clone, Debug)]
#[must_use]
pub struct JsonModel {
    source: SchemaSource,
    validate: Validate,
}

impl JsonModel {
    /// JSON by the schemas of `source`.
    pub fn new(source: SchemaSource) -> Self {
        Self { source, validate: Validate::default() }
    }

    /// What happens to JSON that violates the schema. Default: it is rejected.
    pub fn validate(mut self, validate: Validate) -> Self {
        self.validate = validate;
        self
    }

    pub(super) fn convert<'a>(&self, input: &Input<'a>) -> Outcome<'a> {
        let (framed, schema) = match self.source.find(input, SchemaKind::Json) {
            Ok(found) => found,
            Err(missing) => return missing.into(),
        };
        let finding = usable(schema.compiled().json(&schema))
            .and_then(|schema| schema.validate(framed.payload));
        self.validate.judge(framed.payload, finding)
    }

    pub(super) fn extract(&self, input: &Input<'_>, names: &[&str]) -> Extracted {
        // The text of a field does not depend on the schema.
        let framed = match framing::split(self.source.catalog.framing(), input) {
            Ok(framed) => framed,
            Err(rejection) => return Extracted::Rejected(rejection),
        };
        let mut fields = Fields::new(names);
        match json::extract(framed.payload, &mut fields) {
            Ok(()) => fields.finish(),
            Err(rejection) => Extracted::Rejected(rejection),
        }
    }

    pub(super) fn check(&self) -> Check {
        let check = || {
            let schema = self.source.look_up(None, SchemaKind::Json)?;
            usable(schema.compiled().json(&schema))?;
            Ok(())
        };
        check().into()
    }
}

/// Avro, by the writer's schema: there is no reader's schema, and so no defaults and no projection.
#[derive(Clone, Debug)]
#[must_use]
pub struct AvroModel {
    source: SchemaSource,
    view: View,
    logical_text: bool,
}

impl AvroModel {
    /// Avro by the schemas of `source`.
    pub fn new(source: SchemaSource) -> Self {
        Self { source, view: View::default(), logical_text: false }
    }

    /// What the value becomes. Default: it stays avro.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Whether JSON has decimals as text such as `"123.45"`, and dates and times as in RFC 3339. Default: they are
    /// what they are without their logical type: base64 and numbers.
    pub fn logical_text(mut self, logical_text: bool) -> Self {
        self.logical_text = logical_text;
        self
    }

    pub(super) fn writes_json(&self) -> bool {
        self.view == View::Json
    }

    pub(super) fn convert<'a>(&self, input: &Input<'a>, out: &mut Vec<u8>) -> Outcome<'a> {
        let (framed, schema) = match self.source.find(input, SchemaKind::Avro) {
            Ok(found) => found,
            Err(missing) => return missing.into(),
        };
        let schema = match usable(schema.compiled().avro(&schema)) {
            Ok(schema) => schema,
            Err(rejection) => return Outcome::Rejected(rejection),
        };
        let done = match self.view {
            View::None => schema.check(framed.payload),
            View::Json => schema.write_json(framed.payload, self.logical_text, out),
        };
        match (done, self.view) {
            (Ok(()), View::None) => Outcome::Unchanged(framed.payload),
            (Ok(()), View::Json) => Outcome::Converted,
            (Err(reason), _) => Outcome::Rejected(Rejection::malformed(reason)),
        }
    }

    pub(super) fn extract(&self, input: &Input<'_>, names: &[&str]) -> Extracted {
        let (framed, schema) = match self.source.find(input, SchemaKind::Avro) {
            Ok(found) => found,
            Err(missing) => return missing.into(),
        };
        let mut fields = Fields::new(names);
        let done = usable(schema.compiled().avro(&schema)).and_then(|schema| {
            avro::extract(schema, framed.payload, &mut fields).map_err(Rejection::malformed)
        });
        match done {
            Ok(()) => fields.finish(),
            Err(rejection) => Extracted::Rejected(rejection),
        }
    }

    pub(super) fn check(&self) -> Check {
        let check = || {
            let schema = self.source.look_up(None, SchemaKind::Avro)?;
            usable(schema.compiled().avro(&schema))?;
            Ok(())
        };
        check().into()
    }
}

/// A message of protocol buffers.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProtobufModel {
    source: SchemaSource,
    record: Arc<str>,
    view: View,
}

impl ProtobufModel {
    /// Messages by the schemas of `source`. `record` is the short or the full name of the message that a value is
    /// which does not say so by indexes.
    pub fn new(source: SchemaSource, record: impl Into<Arc<str>>) -> Self {
        Self { source, record: record.into(), view: View::default() }
    }

    /// What the value becomes. Default: it stays protobuf, without unknown fields.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    pub(super) fn writes_json(&self) -> bool {
        self.view == View::Json
    }

    pub(super) fn convert<'a>(&self, input: &Input<'a>, out: &mut Vec<u8>) -> Outcome<'a> {
        let (framed, schema) = match self.source.find(input, SchemaKind::Protobuf) {
            Ok(found) => found,
            Err(missing) => return missing.into(),
        };
        let done = usable(schema.compiled().protobuf(&schema)).and_then(|schema| {
            let (message, bytes) = protobuf::select(schema, &self.record, &framed)?;
            let done = match self.view {
                View::None => schema.write_known(message, bytes, out),
                View::Json => schema.write_json(message, bytes, out),
            };
            done.map_err(Rejection::malformed)
        });
        match done {
            Ok(()) => Outcome::Converted,
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    pub(super) fn extract(&self, input: &Input<'_>, names: &[&str]) -> Extracted {
        let (framed, schema) = match self.source.find(input, SchemaKind::Protobuf) {
            Ok(found) => found,
            Err(missing) => return missing.into(),
        };
        let mut fields = Fields::new(names);
        let done = usable(schema.compiled().protobuf(&schema)).and_then(|schema| {
            let (message, bytes) = protobuf::select(schema, &self.record, &framed)?;
            protobuf::extract(schema, message, bytes, &mut fields).map_err(Rejection::malformed)
        });
        match done {
            Ok(()) => fields.finish(),
            Err(rejection) => Extracted::Rejected(rejection),
        }
    }

    pub(super) fn check(&self) -> Check {
        let check = || {
            let schema = self.source.look_up(None, SchemaKind::Protobuf)?;
            let schema = usable(schema.compiled().protobuf(&schema))?;
            schema.find(&self.record).ok_or_else(|| protobuf::no_message(&self.record))?;
            Ok(())
        };
        check().into()
    }
}
