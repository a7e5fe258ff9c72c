//! Where a key or a value carries the id of its schema.

use crate::catalog::{Framing, IdEncoding, SchemaId, UseId};
use crate::input::{Input, Part};
use crate::reject::Rejection;

/// A value without what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framed<'a> {
    /// The schema that the record names, if it names one.
    pub(crate) id: Option<SchemaId>,
    /// The value, for protobuf with the indexes of the message before it.
    pub(crate) payload: &'a [u8],
    /// What says which message of a protobuf schema the payload is.
    pub(crate) message: MessageAt<'a>,
}

/// Where the indexes of a protobuf message stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageAt<'a> {
    /// Before the payload, or nowhere: the first byte tells.
    Guess,
    /// Before the payload.
    Prefix,
    /// Before the payload: indexes, or the message's name as Apicurio's serializers write it.
    ApicurioPrefix,
    /// In a header. Empty: nowhere.
    Header(&'a [u8]),
    /// The message's name in a header, as Apicurio's serializers write it.
    Name(&'a [u8]),
}

/// Finds the id in the headers or before the value.
pub(crate) fn split<'a>(framing: Framing, input: &Input<'a>) -> Result<Framed<'a>, Rejection> {
    match framing {
        Framing::None => Ok(unframed(input.bytes())),
        Framing::Confluent => confluent(input),
        Framing::Apicurio { use_id, encoding } => apicurio(use_id, encoding, input),
    }
}

fn unframed(bytes: &[u8]) -> Framed<'_> {
    Framed { id: None, payload: bytes, message: MessageAt::Guess }
}

fn confluent<'a>(input: &Input<'a>) -> Result<Framed<'a>, Rejection> {
    let name = match input.part() {
        Part::Key => "__key_schema_id",
        Part::Value => "__value_schema_id",
    };
    if let Some(header) = input.header(name) {
        let (id, indexes) = match header {
            [0, rest @ ..] => rest
                .split_first_chunk()
                .map(|(id, rest)| (SchemaId::Confluent(u32::from_be_bytes(*id)), rest)),
            [1, rest @ ..] => {
                rest.split_first_chunk().map(|(guid, rest)| (SchemaId::Guid(*guid), rest))
            }
            _ => None,
        }
        .ok_or_else(|| Rejection::malformed(format!("header {name} holds no schema id")))?;
        return Ok(Framed {
            id: Some(id),
            payload: input.bytes(),
            message: MessageAt::Header(indexes),
        });
    }
    match input.bytes() {
        [0, rest @ ..] => {
            let (id, payload) = rest.split_first_chunk().ok_or(SHORT)?;
            let id = SchemaId::Confluent(u32::from_be_bytes(*id));
            Ok(Framed { id: Some(id), payload, message: MessageAt::Prefix })
        }
        bytes => Ok(unframed(bytes)),
    }
}

fn apicurio<'a>(
    use_id: UseId,
    encoding: IdEncoding,
    input: &Input<'a>,
) -> Result<Framed<'a>, Rejection> {
    let (global, content, message) = match input.part() {
        Part::Key => {
            ("apicurio.key.globalId", "apicurio.key.contentId", "apicurio.protobuf.type.key")
        }
        Part::Value => {
            ("apicurio.value.globalId", "apicurio.value.contentId", "apicurio.protobuf.type")
        }
    };
    // The configured id first: a serializer may write both.
    let ordered = match use_id {
        UseId::GlobalId => [(global, UseId::GlobalId), (content, UseId::ContentId)],
        UseId::ContentId => [(content, UseId::ContentId), (global, UseId::GlobalId)],
    };
    for (name, kind) in ordered {
        if let Some(header) = input.header(name) {
            let id = header.try_into().map_err(|_| {
                Rejection::malformed(format!("header {name} does not have 8 bytes"))
            })?;
            let id = apicurio_id(kind, u64::from_be_bytes(id));
            return Ok(Framed {
                id: Some(id),
                payload: input.bytes(),
                message: input.header(message).map_or(MessageAt::Header(&[]), MessageAt::Name),
            });
        }
    }
    match input.bytes() {
        [0, rest @ ..] => {
            let (id, payload) = match encoding {
                IdEncoding::Default => {
                    rest.split_first_chunk().map(|(id, rest)| (u64::from_be_bytes(*id), rest))
                }
                IdEncoding::Legacy => rest
                    .split_first_chunk()
                    .map(|(id, rest)| (u64::from(u32::from_be_bytes(*id)), rest)),
            }
            .ok_or(SHORT)?;
            Ok(Framed {
                id: Some(apicurio_id(use_id, id)),
                payload,
                message: MessageAt::ApicurioPrefix,
            })
        }
        bytes => Ok(unframed(bytes)),
    }
}

fn apicurio_id(use_id: UseId, id: u64) -> SchemaId {
    match use_id {
        UseId::GlobalId => SchemaId::GlobalId(id),
        UseId::ContentId => SchemaId::ContentId(id),
    }
}

struct Short;

const SHORT: Short = Short;

impl From<Short> for Rejection {
    fn from(_: Short) -> Self {
        Self::malformed("the value ends within the schema id before it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APICURIO: Framing =
        Framing::Apicurio { use_id: UseId::GlobalId, encoding: IdEncoding::Default };
    const LEGACY: Framing =
        Framing::Apicurio { use_id: UseId::ContentId, encoding: IdEncoding::Legacy };

    #[test]
    fn prefixes_are_split_off() {
        let rows: [(Framing, &[u8], _, &[u8]); 9] = [
            (Framing::None, b"\0\0\0\0\x09a", None, b"\0\0\0\0\x09a"),
            (Framing::Confluent, b"\0\0\0\0\x09a", Some(SchemaId::Confluent(9)), b"a"),
            (Framing::Confluent, b"\0\xff\xff\xff\xff", Some(SchemaId::Confluent(u32::MAX)), b""),
            (Framing::Confluent, b"a", None, b"a"),
            (Framing::Confluent, b"", None, b""),
            (APICURIO, b"\0\0\0\0\0\0\0\0\x09a", Some(SchemaId::GlobalId(9)), b"a"),
            (APICURIO, b"\x0aa", None, b"\x0aa"),
            (LEGACY, b"\0\0\0\0\x09a", Some(SchemaId::ContentId(9)), b"a"),
            (LEGACY, b"", None, b""),
        ];
        for (framing, bytes, id, payload) in rows {
            let framed = split(framing, &Input::value(bytes)).expect("well-formed");
            assert_eq!((framed.id, framed.payload), (id, payload), "{framing:?} {bytes:?}");
        }
    }

    #[test]
    fn a_prefix_that_ends_early_is_malformed() {
        let rows: [(Framing, &[u8]); 5] = [
            (Framing::Confluent, b"\0"),
            (Framing::Confluent, b"\0\0\0\0"),
            (APICURIO, b"\0\0\0\0\x09"),
            (APICURIO, b"\0\0\0\0\0\0\0\0"),
            (LEGACY, b"\0\0\0\0"),
        ];
        for (framing, bytes) in rows {
            let rejection = split(framing, &Input::value(bytes)).expect_err("too short");
            assert_eq!(rejection.class(), crate::Class::Malformed, "{framing:?} {bytes:?}");
        }
    }

    #[test]
    fn headers_name_the_schema() {
        let mut guid = vec![1];
        guid.extend(0..16);
        guid.extend([2, 2]);
        let headers = [
            ("__value_schema_id", guid.clone()),
            ("__key_schema_id", vec![0, 0, 0, 0, 7]),
            ("apicurio.value.contentId", vec![0, 0, 0, 0, 0, 0, 0, 5]),
        ];
        let value =
            split(Framing::Confluent, &Input::value(b"\0").headers(&headers)).expect("a GUID");
        assert_eq!(value.id, Some(SchemaId::Guid(std::array::from_fn(|at| at as u8))));
        assert_eq!((value.payload, value.message), (&b"\0"[..], MessageAt::Header(&[2, 2])));
        let key = split(Framing::Confluent, &Input::key(b"\0").headers(&headers)).expect("an id");
        assert_eq!((key.id, key.message), (Some(SchemaId::Confluent(7)), MessageAt::Header(&[])));
        let apicurio = split(APICURIO, &Input::value(b"\0").headers(&headers)).expect("an id");
        assert_eq!((apicurio.id, apicurio.payload), (Some(SchemaId::ContentId(5)), &b"\0"[..]));
    }

    #[test]
    fn headers_that_hold_no_id_are_malformed() {
        for header in [&b""[..], b"\0", b"\0\0\0\0", b"\x01\0\0\0\x09", b"\x02\0\0\0\x09"] {
            let headers = [("__value_schema_id", header), ("apicurio.value.globalId", header)];
            for framing in [Framing::Confluent, APICURIO] {
                split(framing, &Input::value(b"a").headers(&headers)).expect_err("no id");
            }
        }
    }
}
