//! Models: what a key or a value has to be, and what it becomes.

mod number;
mod range;
mod reading;
mod schema;
mod text;

pub use number::{DoubleModel, FloatModel, Int32Model, Int64Model, NumberFormat};
pub use range::{Range, RangeError};
pub use reading::reads_value;
pub use schema::{AvroModel, JsonModel, ProtobufModel, SchemaSource, View};
pub use text::{Encoding, PatternError, StringModel};

use std::sync::Arc;

use crate::catalog::Waiter;
use crate::extract::Extracted;
use crate::input::Input;
use crate::reject::{Class, Rejection};

/// What happens to a value that can be read and violates the schema or an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validate {
    /// It is rejected. The default.
    #[default]
    Strict,
    /// It passes as it came, with the reason.
    Lenient,
}

/// What a model makes of a value.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The value, or the part of it behind the schema's id, unchanged.
    Unchanged(&'a [u8]),
    /// The new value has been appended to the buffer.
    Converted,
    /// A lenient model passes a value on that violates its options or its schema. Without bytes the new value has been
    /// appended to the buffer.
    Tolerated(Option<&'a [u8]>, Rejection),
    /// The value does not fit.
    Rejected(Rejection),
    /// The catalog does not know the schema yet: try again when the waiter is ready.
    Pending(Waiter),
}

/// The state of a model's configured schema, by [`Model::check`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Check {
    /// The model can be used. Models without a schema always can.
    Ready,
    /// The catalog does not know the schema yet.
    Pending(Waiter),
    /// The catalog lacks the schema, or the schema cannot be used.
    Failed(Rejection),
}

/// What a key or a value has to be, and what it becomes. A clone is cheap, and shares all state.
///
/// ```
/// use tailwater_schema::{Input, Model, Outcome, Range};
/// use tailwater_schema::model::Int32Model;
///
/// let model = Model::from(Int32Model::new().range("[0,10)".parse()?));
/// let mut out = Vec::new();
/// assert!(matches!(model.convert(&Input::value(b"7"), &mut out), Outcome::Unchanged(b"7")));
/// assert!(matches!(model.convert(&Input::value(b"10"), &mut out), Outcome::Rejected(_)));
/// # Ok::<(), tailwater_schema::RangeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    kind: Arc<Kind>,
}

#[derive(Debug)]
enum Kind {
    String(StringModel),
    Int32(Int32Model),
    Int64(Int64Model),
    Float(FloatModel),
    Double(DoubleModel),
    Boolean,
    Bytes,
    Json(JsonModel),
    Avro(AvroModel),
    Protobuf(ProtobufModel),
}

macro_rules! from_models {
    ($($model:ident => $kind:ident),*) => {$(
        impl From<$model> for Model {
            fn from(model: $model) -> Self {
                Self { kind: Arc::new(Kind::$kind(model)) }
            }
        }
    )*};
}

from_models!(
    StringModel => String, Int32Model => Int32, Int64Model => Int64, FloatModel => Float, DoubleModel => Double,
    JsonModel => Json, AvroModel => Avro, ProtobufModel => Protobuf
);

impl Model {
    /// One byte, `00` or `01`.
    #[must_use]
    pub fn boolean() -> Self {
        Self { kind: Arc::new(Kind::Boolean) }
    }

    /// Any bytes.
    #[must_use]
    pub fn bytes() -> Self {
        Self { kind: Arc::new(Kind::Bytes) }
    }

    /// The name of the model as in a configuration, such as `avro`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &*self.kind {
            Kind::String(_) => "string",
            Kind::Int32(_) => "int32",
            Kind::Int64(_) => "int64",
            Kind::Float(_) => "float",
            Kind::Double(_) => "double",
            Kind::Boolean => "boolean",
            Kind::Bytes => "bytes",
            Kind::Json(_) => "json",
            Kind::Avro(_) => "avro",
            Kind::Protobuf(_) => "protobuf",
        }
    }

    /// Whether what the model lets through is text in UTF-8, whatever the input.
    #[must_use]
    pub fn yields_text(&self) -> bool {
        match &*self.kind {
            Kind::String(_) | Kind::Json(_) => true,
            Kind::Int32(model) => model.is_text(),
            Kind::Int64(model) => model.is_text(),
            Kind::Float(model) => model.is_text(),
            Kind::Double(model) => model.is_text(),
            Kind::Boolean | Kind::Bytes => false,
            Kind::Avro(model) => model.writes_json(),
            Kind::Protobuf(model) => model.writes_json(),
        }
    }

    /// Validates a key or a value, and converts it where the model does so.
    ///
    /// A new value is appended to `out`, which may hold other bytes and keeps them. Where the outcome has no new value,
    /// `out` is as it was.
    pub fn convert<'a>(&self, input: &Input<'a>, out: &mut Vec<u8>) -> Outcome<'a> {
        let _reading = reading::Reading::begin();
        let start = out.len();
        let bytes = input.bytes();
        let outcome = match &*self.kind {
            Kind::String(model) => model.convert(bytes, out),
            Kind::Int32(model) => model.convert(bytes),
            Kind::Int64(model) => model.convert(bytes),
            Kind::Float(model) => model.convert(bytes),
            Kind::Double(model) => model.convert(bytes),
            Kind::Boolean => match bytes {
                [0 | 1] => Outcome::Unchanged(bytes),
                _ => Outcome::Rejected(Rejection::malformed("it is not one byte 00 or 01")),
            },
            Kind::Bytes => Outcome::Unchanged(bytes),
            Kind::Json(model) => model.convert(input),
            Kind::Avro(model) => model.convert(input, out),
            Kind::Protobuf(model) => model.convert(input, out),
        };
        if !matches!(outcome, Outcome::Converted | Outcome::Tolerated(None, _)) {
            out.truncate(start);
        }
        outcome
    }

    /// Reads fields of a key or a value, each by its name in the outermost object, record or message. Models without
    /// a schema have no fields.
    ///
    /// The text of a field is: of a string its characters; of a JSON number as it is written; of other numbers the
    /// shortest digits; `true` and `false`; an enum's symbol; bytes as they are. A field that is absent, null, or
    /// made of others has none. Of a repeated field of a message it is the last element.
    pub fn extract(&self, input: &Input<'_>, names: &[&str]) -> Extracted {
        let _reading = reading::Reading::begin();
        match &*self.kind {
            Kind::Json(model) => model.extract(input, names),
            Kind::Avro(model) => model.extract(input, names),
            Kind::Protobuf(model) => model.extract(input, names),
            _ => Extracted::Fields(vec![None; names.len()]),
        }
    }

    /// Looks the configured schema up, and compiles it. A server calls this at its start for catalogs whose schemas
    /// are at hand; values that carry the id of their schema may use others.
    #[must_use]
    pub fn check(&self) -> Check {
        match &*self.kind {
            Kind::Json(model) => model.check(),
            Kind::Avro(model) => model.check(),
            Kind::Protobuf(model) => model.check(),
            _ => Check::Ready,
        }
    }
}

impl Validate {
    /// Applies the mode to a finding about `bytes`.
    fn judge(self, bytes: &[u8], finding: Result<(), Rejection>) -> Outcome<'_> {
        match finding {
            Ok(()) => Outcome::Unchanged(bytes),
            Err(rejection) if self == Self::Lenient && rejection.class() == Class::Invalid => {
                Outcome::Tolerated(Some(bytes), rejection)
            }
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }
}
