//! Which message of a schema a value is.

use super::wire::{Reader, zigzag};
use super::{MessageId, Schema};
use crate::framing::{Framed, MessageAt};
use crate::reject::Rejection;

/// The most indexes that lead to a message: one for each level that it is nested.
const MAX_INDEXES: i64 = 100;

/// Finds the message, and its bytes.
pub(crate) fn select<'a>(
    schema: &Schema,
    record: &str,
    framed: &Framed<'a>,
) -> Result<(MessageId, &'a [u8]), Rejection> {
    let payload = framed.payload;
    let named = || schema.find(record).ok_or_else(|| no_message(record));
    match framed.message {
        MessageAt::Header([]) => Ok((named()?, payload)),
        MessageAt::Header(indexes) => Ok((by_indexes(schema, indexes)?.0, payload)),
        MessageAt::Name(name) => {
            let found = std::str::from_utf8(name).ok().and_then(|name| schema.find(name));
            let lacks =
                || Rejection::malformed("the schema has no message of the name in a header");
            Ok((found.ok_or_else(lacks)?, payload))
        }
        MessageAt::Prefix => by_indexes(schema, payload),
        MessageAt::ApicurioPrefix => match apicurio_reference(schema, payload) {
            Some(found) => Ok(found),
            None => by_indexes(schema, payload),
        },
        // No message begins so: these are tags of field number 0.
        MessageAt::Guess if matches!(payload, [0 | 2 | 4 | 6, ..]) => by_indexes(schema, payload),
        MessageAt::Guess => Ok((named()?, payload)),
    }
}

/// The rejection of values whose message the schema lacks.
pub(crate) fn no_message(record: &str) -> Rejection {
    Rejection::unusable(format!("the schema has no message `{}`", record.escape_debug()))
}

fn by_indexes<'a>(schema: &Schema, bytes: &'a [u8]) -> Result<(MessageId, &'a [u8]), Rejection> {
    let mut reader = Reader::new(bytes, 0, bytes.len());
    let mut next = || reader.varint().map(zigzag).map_err(Rejection::malformed);
    let count = next()?;
    if !(0..=MAX_INDEXES).contains(&count) {
        return Err(Rejection::malformed(
            "the number of protobuf message indexes is not from 0 to 100",
        ));
    }
    let lacks = || Rejection::malformed("the schema has no message of these indexes");
    let mut candidates = schema.roots();
    // No index at all stands for the first message.
    let mut message = match count {
        0 => Some(*candidates.first().ok_or_else(lacks)?),
        _ => None,
    };
    for _ in 0..count {
        let index = usize::try_from(next()?)
            .map_err(|_| Rejection::malformed("a protobuf message index is negative"))?;
        let id = *candidates.get(index).ok_or_else(lacks)?;
        candidates = schema.children(id);
        message = Some(id);
    }
    let rest = bytes.get(reader.at..).unwrap_or_default();
    Ok((message.ok_or_else(lacks)?, rest))
}

/// Apicurio's serializers write a length and a message with the name of the type, in field 1.
fn apicurio_reference<'a>(schema: &Schema, bytes: &'a [u8]) -> Option<(MessageId, &'a [u8])> {
    let [length, 0x0a, name_length, rest @ ..] = bytes else { return None };
    if *length >= 0x80 || *length != name_length.checked_add(2)? {
        return None;
    }
    let (name, payload) = rest.split_at_checked(usize::from(*name_length))?;
    let message = schema.find(std::str::from_utf8(name).ok()?)?;
    Some((message, payload))
}
