//! The models and transforms of a topic, which convert its records before they enter its log.

use std::borrow::Cow;
use std::cell::RefCell;
use tailwater_kafka::{Changes, Conversion, ConvertRecord, RecordRef};
use tailwater_schema::{Extracted, Headers, Input, Model, Outcome, Rejection};
use tracing::warn;

use crate::config::{MessageField, Transforms};
use crate::models::Warnings;

/// What the buffer of a thread keeps of its memory between two records.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The models and transforms of a topic.
#[derive(Debug)]
pub(crate) struct RecordModels {
    key: Option<Model>,
    value: Option<Model>,
    transforms: Transforms,
    /// Whether a header may name the schema of a record.
    reads_headers: bool,
    /// Of records that violate a lenient model.
    tolerated: Warnings,
    /// Of records that are rejected, if the cluster does not log them.
    rejected: Option<Warnings>,
}

/// The bytes that a model makes of a key or a value.
enum Applied<'r> {
    Unchanged,
    Part(&'r [u8]),
    InBuffer,
}

struct RecordHeaders<'r, 'a>(&'r RecordRef<'a>);

impl Headers for RecordHeaders<'_, '_> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        let named = self.0.headers().filter(|(header, _)| *header == name.as_bytes());
        named.last().and_then(|(_, value)| value)
    }
}

impl RecordModels {
    /// A record is left out if one of the models rejects it. The fields of transforms are read by the model of the
    /// part that they are in.
    pub(crate) fn new(key: Option<Model>, value: Option<Model>, transforms: Transforms) -> Self {
        Self {
            key,
            value,
            transforms,
            reads_headers: true,
            tolerated: Warnings::default(),
            rejected: None,
        }
    }

    /// The model of the values of events, for streams by themselves. The headers of a record say nothing of the
    /// schema of its value if the topic has a model of values, too.
    pub(crate) fn of_events(model: Model, reads_headers: bool) -> Self {
        let models = Self::new(None, Some(model), Transforms::default());
        Self { reads_headers, rejected: Some(Warnings::default()), ..models }
    }

    fn convert_with(
        &self,
        record: &RecordRef<'_>,
        changes: &mut Changes,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Conversion> {
        let headers = RecordHeaders(record);
        let key = record.key().map(|key| Input::key(key).headers(&headers));
        let value = record.value().map(Input::value);
        let value = match self.reads_headers {
            true => value.map(|value| value.headers(&headers)),
            false => value,
        };
        let key_field = self.transforms.key.as_ref();
        if let (Some(model), Some(key)) = (&self.key, &key) {
            match self.apply(record, "key", model, key, buffer)? {
                Applied::Unchanged => {}
                Applied::Part(part) => changes.key_mut().extend_from_slice(part),
                Applied::InBuffer => std::mem::swap(changes.key_mut(), buffer),
            }
        }
        // The key of a record whose value is rejected supersedes that of earlier ones, so it comes first.
        let mut of_key = self.fields(self.key.as_ref(), key.as_ref(), true)?.into_iter();
        if key_field.is_some_and(|field| field.in_key) {
            replace_key(of_key.next(), changes);
        }
        if let (Some(model), Some(value)) = (&self.value, &value) {
            match self.apply(record, "value", model, value, buffer)? {
                Applied::Unchanged => {}
                Applied::Part(part) => changes.value_mut().extend_from_slice(part),
                Applied::InBuffer => std::mem::swap(changes.value_mut(), buffer),
            }
        }
        let mut of_value = self.fields(self.value.as_ref(), value.as_ref(), false)?.into_iter();
        if key_field.is_some_and(|field| !field.in_key) {
            replace_key(of_value.next(), changes);
        }
        for (name, field) in &self.transforms.headers {
            let text = if field.in_key { of_key.next() } else { of_value.next() };
            if let Some(text) = text.flatten() {
                changes.add_header(name.as_bytes(), Some(text));
            }
        }
        Ok(())
    }

    /// Applies a model to the key or the value. New bytes are in the buffer.
    fn apply<'r>(
        &self,
        record: &RecordRef<'_>,
        part: &str,
        model: &Model,
        input: &Input<'r>,
        buffer: &mut Vec<u8>,
    ) -> Result<Applied<'r>, Conversion> {
        buffer.clear();
        let part_of = |bytes: &'r [u8]| match bytes.len() == input.bytes().len() {
            true => Applied::Unchanged,
            false => Applied::Part(bytes),
        };
        match model.convert(input, buffer) {
            Outcome::Unchanged(bytes) => Ok(part_of(bytes)),
            Outcome::Converted => Ok(Applied::InBuffer),
            Outcome::Tolerated(bytes, rejection) => {
                self.log_tolerated(record, part, model, &rejection);
                Ok(bytes.map_or(Applied::InBuffer, part_of))
            }
            Outcome::Rejected(rejection) => Err(Conversion::Rejected {
                reason: rejection.class().as_str(),
                detail: Cow::Owned(format!("{part}, {}: {rejection}", model.name())),
            }),
            Outcome::Pending(waiter) => Err(Conversion::NotYet(Box::pin(waiter))),
            _ => Err(Conversion::Rejected {
                reason: "unknown",
                detail: Cow::Borrowed("the model has another outcome"),
            }),
        }
    }

    /// The texts of the fields that are in the key, or in the value, in the order of the transforms.
    fn fields(
        &self,
        model: Option<&Model>,
        input: Option<&Input<'_>>,
        in_key: bool,
    ) -> Result<Vec<Option<Vec<u8>>>, Conversion> {
        let names = self.transforms.fields().filter(|field| field.in_key == in_key);
        let names: Vec<&str> = names.map(|field| &*field.name).collect();
        let (Some(model), Some(input), [_, ..]) = (model, input, names.as_slice()) else {
            return Ok(vec![None; names.len()]);
        };
        match model.extract(input, &names) {
            Extracted::Fields(texts) => Ok(texts),
            Extracted::Pending(waiter) => Err(Conversion::NotYet(Box::pin(waiter))),
            // The model has let the record pass.
            _ => Ok(vec![None; names.len()]),
        }
    }

    fn log_tolerated(
        &self,
        record: &RecordRef<'_>,
        part: &str,
        model: &Model,
        rejection: &Rejection,
    ) {
        let Some(unlogged) = self.tolerated.due() else { return };
        warn!(
            topic = record.topic(),
            partition = record.partition(),
            offset = record.offset(),
            reason = rejection.class().as_str(),
            detail = %format_args!("{part}, {}: {rejection}", model.name()),
            unlogged,
            "a record violates its model, which is lenient"
        );
    }

    fn log_rejected(&self, record: &RecordRef<'_>, reason: &str, detail: &str) {
        let Some(unlogged) = self.rejected.as_ref().and_then(Warnings::due) else { return };
        warn!(
            topic = record.topic(),
            partition = record.partition(),
            offset = record.offset(),
            reason,
            detail,
            unlogged,
            "an event was left out"
        );
    }
}

/// Makes the text of a field the key. A record without the field keeps its key.
fn replace_key(text: Option<Option<Vec<u8>>>, changes: &mut Changes) {
    if let Some(text) = text.flatten() {
        *changes.key_mut() = text;
    }
}

impl ConvertRecord for RecordModels {
    fn convert(&self, record: &RecordRef<'_>, changes: &mut Changes) -> Conversion {
        BUFFER.with_borrow_mut(|buffer| {
            let converted = self.convert_with(record, changes, buffer);
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
            let conversion = converted.err().unwrap_or(Conversion::Accepted);
            if let Conversion::Rejected { reason, detail } = &conversion {
                self.log_rejected(record, reason, detail);
            }
            conversion
        })
    }
}

impl Transforms {
    /// The fields, in order.
    fn fields(&self) -> impl Iterator<Item = &MessageField> {
        self.key.iter().chain(self.headers.iter().map(|(_, field)| field))
    }
}
