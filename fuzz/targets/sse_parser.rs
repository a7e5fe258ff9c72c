//! A stream has the same items and the same error wherever it is cut, and none beyond the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_sse::{Error, Item, Parser};

const LINE: usize = 48;
const EVENT: usize = 96;

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Item>, Option<Error>, Vec<u8>) {
    let mut parser = Parser::new().max_line_bytes(LINE).max_event_bytes(EVENT);
    let mut items = Vec::new();
    let mut error = None;
    for piece in pieces {
        parser.push(piece);
        while error.is_none() {
            match parser.pull() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(found) => error = Some(found),
            }
        }
    }
    (items, error, parser.last_event_id().to_vec())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = read([stream]);
    assert_eq!(read(stream.chunks(usize::from(size % 16) + 1)), whole);
    assert_eq!(read(stream.chunks(1)), whole);
    for item in &whole.0 {
        let bytes = match item {
            Item::Message(message) => message.data.len(),
            Item::Id(text) | Item::Comment(text) => text.len(),
            _ => 0,
        };
        assert!(bytes <= if matches!(item, Item::Message(_)) { EVENT } else { LINE });
    }
});
