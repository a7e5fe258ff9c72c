//! Messages without their unknown fields.

use super::scan::is_packed;
use super::wire::{Reader, Reason, WireType, push_varint};
use super::{
    Kind, MAX_STEPS, MessageId, NO_MESSAGE, NOT_UTF8, REQUIRED, Schema, TOO_DEEP, TOO_LONG,
};
use crate::limits::MAX_DEPTH;

pub(super) fn write(
    schema: &Schema,
    message: MessageId,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    Copy { schema, bytes, steps: 0 }.message(message, (0, bytes.len()), out, 0)
}

struct Copy<'s, 'v> {
    schema: &'s Schema,
    bytes: &'v [u8],
    steps: usize,
}

impl Copy<'_, '_> {
    /// Copies the fields between two places in their order.
    fn message(
        &mut self,
        message: MessageId,
        (start, end): (usize, usize),
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Reason> {
        let Self { schema, bytes, .. } = *self;
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let message = schema.messages.get(message).ok_or(NO_MESSAGE)?;
        let mut missing: Vec<usize> = Vec::new();
        if message.has_required {
            self.step(message.fields.len())?;
            missing.extend(
                message
                    .fields
                    .iter()
                    .enumerate()
                    .filter(|(_, field)| field.required)
                    .map(|(place, _)| place),
            );
        }
        let mut reader = Reader::new(bytes, start, end);
        while !reader.is_at_end() {
            let field_start = reader.at;
            let (number, wire_type) = reader.tag()?;
            let tag_end = reader.at;
            let (start, end) = reader.payload(number, wire_type, 0)?;
            let Some((place, field)) = message.find(number) else { continue };
            self.step(missing.len())?;
            missing.retain(|other| *other != place);
            let packed = is_packed(field, wire_type)?;
            match field.kind {
                Kind::Message(id) | Kind::Group(id) => {
                    out.extend_from_slice(bytes.get(field_start..tag_end).unwrap_or_default());
                    let body = out.len();
                    self.message(id, (start, end), out, depth + 1)?;
                    if wire_type == WireType::Length {
                        let mut length = Vec::with_capacity(10);
                        push_varint(&mut length, (out.len() - body) as u64);
                        out.splice(body..body, length);
                    } else {
                        push_varint(out, u64::from(number) << 3 | 4);
                    }
                    continue;
                }
                Kind::String => {
                    let text = bytes.get(start..end).unwrap_or_default();
                    std::str::from_utf8(text).map_err(|_| NOT_UTF8)?;
                }
                kind if packed => {
                    let mut numbers = Reader::new(bytes, start, end);
                    while !numbers.is_at_end() {
                        numbers.payload(number, kind.wire_type(), 0)?;
                    }
                }
                _ => {}
            }
            out.extend_from_slice(bytes.get(field_start..reader.at).unwrap_or_default());
        }
        if missing.is_empty() { Ok(()) } else { Err(REQUIRED) }
    }

    fn step(&mut self, steps: usize) -> Result<(), Reason> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > MAX_STEPS { Err(TOO_LONG) } else { Ok(()) }
    }
}
