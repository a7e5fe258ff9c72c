//! What the parser reads back is what went into the encoder, but for what can't be said in the grammar.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_sse::{EventRef, Item, Parser, encode_event};

type Input<'a> = (Option<i64>, Option<&'a [u8]>, Option<&'a [u8]>, Option<&'a [u8]>);

fuzz_target!(|input: Input<'_>| {
    let (timestamp, event, data, id) = input;
    let mut wire = Vec::new();
    encode_event(EventRef { timestamp, event, data, id }, &mut wire);
    // The event after it shows that nothing was left open, and nothing forged.
    wire.extend_from_slice(b"data:next\n\n");
    let mut parser = Parser::new();
    parser.push(&wire);

    let id = id.filter(|id| !id.iter().any(|byte| b"\r\n\0".contains(byte)));
    let event = event.and_then(|event| event.split(|byte| b"\r\n".contains(byte)).next());
    let event = event.filter(|event| !event.is_empty() && *event != b"message");
    if let Some(data) = data {
        let Ok(Some(Item::Message(read))) = parser.pull() else { panic!("no message") };
        assert_eq!(read.data, one_line_end(data));
        assert_eq!(read.event.as_deref(), event);
        assert_eq!((read.id.as_deref(), read.timestamp), (id, timestamp));
    } else if let Some(id) = id {
        assert_eq!(parser.pull(), Ok(Some(Item::Id(id.to_vec().into()))));
    }
    assert!(matches!(parser.pull(), Ok(Some(Item::Message(next))) if next.data == "next"));
    assert_eq!(parser.pull(), Ok(None));
});

fn one_line_end(data: &[u8]) -> Vec<u8> {
    let mut after_cr = false;
    let unpaired = data.iter().filter(|byte| {
        let paired = after_cr && **byte == b'\n';
        after_cr = **byte == b'\r';
        !paired
    });
    unpaired.map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect()
}
