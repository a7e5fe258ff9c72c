//! Properties of any event and any stream.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tailwater_sse::{
    DataFields, Error, EventRef, Item, Parser, encode_comment, encode_event, encode_id,
};

/// Bytes, most of which have a meaning in the grammar.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => prop::sample::select(&b"\r\n\0 :\xEF\xBB\xBF"[..]),
        4 => prop::sample::select(&b"dateivnrymsp0x"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..24)
}

/// Pieces of streams: fields, line ends, and noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![&b"\r"[..], b"\n", b"\r\n", b"\n\n", b"\xEF\xBB\xBF"])
            .prop_map(<[u8]>::to_vec),
        prop::sample::select(vec![
            &b"data:"[..],
            b"data: x",
            b"id:7",
            b"id",
            b"event:e",
            b"retry:9",
            b"timestamp:0x1",
            b":c"
        ])
        .prop_map(<[u8]>::to_vec),
        field(),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// The items of `pieces`, up to an error.
fn parse<'a>(
    mut parser: Parser,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Item>, Option<Error>, Vec<u8>) {
    let mut items = Vec::new();
    for piece in pieces {
        parser.push(piece);
        loop {
            match parser.pull() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error), parser.last_event_id().to_vec()),
            }
        }
    }
    (items, None, parser.last_event_id().to_vec())
}

/// The lines of `text`: each line end is replaced by LF, and the text is split at LF.
fn with_lf(text: &[u8]) -> Vec<u8> {
    let mut normal = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        normal.push(if byte == b'\r' { b'\n' } else { byte });
    }
    normal
}

fn sound_id(id: &[u8]) -> bool {
    !id.iter().any(|byte| b"\r\n\0".contains(byte))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_read_back(
        timestamp in option::of(any::<i64>()),
        event in option::of(field()),
        data in option::of(field()),
        id in option::of(field()),
        comment in option::of(field()),
    ) {
        let mut wire = b":\n".to_vec();
        if let Some(comment) = &comment {
            encode_comment(comment, &mut wire);
        }
        let event = EventRef { timestamp, event: event.as_deref(), data: data.as_deref(), id: id.as_deref() };
        encode_event(event, &mut wire);

        let (items, error, _) = parse(Parser::new(), [&wire[..]]);
        prop_assert_eq!(error, None);
        let mut items = items.into_iter().skip(1);

        for line in comment.iter().flat_map(|comment| with_lf(comment).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()) {
            prop_assert_eq!(items.next(), Some(Item::Comment(line.into())));
        }
        let id = event.id.filter(|id| sound_id(id));
        match event.data {
            Some(data) => {
                let Some(Item::Message(message)) = items.next() else { panic!("no message in {wire:?}") };
                let name = event.event.and_then(|name| name.split(|byte| b"\r\n".contains(byte)).next());
                prop_assert_eq!(message.event.as_deref(), name.filter(|name| !name.is_empty()));
                prop_assert_eq!(message.data, with_lf(data));
                prop_assert_eq!(message.id.as_deref(), id);
                prop_assert_eq!(message.timestamp, event.timestamp);
            }
            None => if let Some(id) = id {
                prop_assert_eq!(items.next(), Some(Item::Id(id.to_vec().into())));
            },
        }
        prop_assert_eq!(items.next(), None);
    }

    #[test]
    fn fields_that_are_encoded_in_pieces_are_those_of_the_event(
        data in vec(prop::sample::select(b"\r\n a".to_vec()), 0..60),
        limits in vec(0..40_usize, 1..8),
    ) {
        let mut whole = Vec::new();
        encode_event(EventRef { data: Some(&data), ..EventRef::default() }, &mut whole);

        let mut fields = DataFields::default();
        let mut wire = Vec::new();
        for limit in limits.iter().copied().cycle() {
            let before = wire.len();
            let is_last = fields.encode(&data, limit, &mut wire);
            prop_assert!((1..=limit.max(1) + 7).contains(&(wire.len() - before)));
            if is_last {
                break;
            }
        }
        wire.push(b'\n');
        prop_assert_eq!(wire, whole);
    }

    #[test]
    fn an_id_block_is_read_back(id in field()) {
        let mut wire = Vec::new();
        encode_id(&id, &mut wire);
        let expected = if sound_id(&id) { vec![Item::Id(id.into())] } else { Vec::new() };
        prop_assert_eq!(parse(Parser::new(), [&wire[..]]).0, expected);
    }

    #[test]
    fn a_stream_gives_the_same_items_wherever_it_is_cut(stream in stream(), cuts in vec(any::<prop::sample::Index>(), 0..6)) {
        let parser = || Parser::new().max_line_bytes(20).max_event_bytes(40);
        let whole = parse(parser(), [&stream[..]]);
        prop_assert_eq!(&parse(parser(), stream.chunks(1)), &whole);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
        prop_assert_eq!(&parse(parser(), pieces), &whole);
    }
}
