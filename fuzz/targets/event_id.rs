//! Any bytes are an id or none; what is read from an id, written anew in any form, is read the same.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use libfuzzer_sys::fuzz_target;
use tailwater_kafka_types::EventId;

fuzz_target!(|input: &[u8]| {
    let Some(id) = EventId::decode(input) else { return };
    assert!(
        id.offsets().windows(2).all(|pair| pair[0].0 < pair[1].0),
        "ascending, each partition once"
    );
    assert!(id.offsets().iter().all(|&(partition, offset)| partition >= 0 && offset >= -2));

    // The layout, written from its description: version, count, pairs, all zigzag varints.
    let mut binary = vec![1];
    varint(id.offsets().len() as i64, &mut binary);
    for &(partition, offset) in id.offsets() {
        varint(partition.into(), &mut binary);
        varint(offset, &mut binary);
    }
    let progress = URL_SAFE.encode(binary);
    for text in [
        format!("{progress}"),
        format!("{progress}/e/\"tag"),
        format!("[null,\"{progress}\"]"),
        format!("[\"a2V5\",\"{progress}/x\"]"),
    ] {
        assert_eq!(EventId::decode(text.as_bytes()).as_ref(), Some(&id), "{text}");
    }
});

fn varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
