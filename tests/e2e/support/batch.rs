//! Record batches as bytes, for what librdkafka's producer does not write.

use crate::support::request::{length, request, text};

/// A record of a batch: any bytes are key, value, and names and values of headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

fn varint(number: i64, out: &mut Vec<u8>) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        out.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn number(length: usize) -> i64 {
    i64::try_from(length).expect("a small number")
}

fn bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    varint(bytes.map_or(-1, |bytes| number(bytes.len())), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// The records of a batch, one after the other.
pub(crate) fn records(records: &[RawRecord<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let mut body = vec![0];
        varint(0, &mut body);
        varint(number(index), &mut body);
        bytes(record.key, &mut body);
        bytes(record.value, &mut body);
        varint(number(record.headers.len()), &mut body);
        for (name, value) in record.headers {
            bytes(Some(name), &mut body);
            bytes(*value, &mut body);
        }
        varint(number(body.len()), &mut out);
        out.extend(body);
    }
    out
}

/// A batch of version 2 with `count` records, whose bytes these are once they are unpacked as the
/// attributes say.
pub(crate) fn batch(count: usize, attributes: i16, timestamp: i64, records: &[u8]) -> Vec<u8> {
    let count = i32::try_from(count).expect("a small number");
    let mut rest = Vec::new();
    rest.extend(attributes.to_be_bytes());
    rest.extend((count - 1).to_be_bytes());
    rest.extend([timestamp.to_be_bytes(), timestamp.to_be_bytes()].concat());
    // No producer's id, epoch and sequence.
    rest.extend([0xff; 14]);
    rest.extend(count.to_be_bytes());
    rest.extend_from_slice(records);
    let mut after = Vec::new();
    after.extend((-1_i32).to_be_bytes());
    after.push(2);
    after.extend(crc32c(&rest).to_be_bytes());
    after.extend(rest);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend(i32::try_from(after.len()).expect("a small batch").to_be_bytes());
    batch.extend(after);
    batch
}

/// A record of zeros, at its place in its batch, as it is compressed.
pub(crate) fn zeros(index: usize, key: Option<&[u8]>, count: usize) -> [Part; 3] {
    let mut body = vec![0, 0];
    varint(number(index), &mut body);
    bytes(key, &mut body);
    varint(number(count), &mut body);
    let mut head = Vec::new();
    varint(number(body.len() + count + 1), &mut head);
    head.extend(body);
    // No headers.
    [Part::Bytes(head), Part::Zeros(count), Part::Bytes(vec![0])]
}

/// A part of what is compressed.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    Zeros(usize),
}

/// A frame of zstd (RFC 8878, 3.1.1): bytes as they are, and runs of zeros.
pub(crate) fn zstd(parts: impl IntoIterator<Item = Part>) -> Vec<u8> {
    const BLOCK: usize = 128 * 1024;
    // Neither size nor checksum; a window of 1 MiB.
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    let mut block = |kind: usize, size: usize, content: &[u8], last: bool| {
        let header = (size << 3) | (kind << 1) | usize::from(last);
        out.extend(&header.to_le_bytes()[..3]);
        out.extend(content);
    };
    for part in parts {
        match part {
            Part::Bytes(bytes) => {
                bytes.chunks(BLOCK).for_each(|byte| block(0, byte.len(), byte, false))
            }
            Part::Zeros(mut left) => {
                while left > 0 {
                    let size = left.min(BLOCK);
                    block(1, size, &[0], false);
                    left -= size;
                }
            }
        }
    }
    block(0, 0, &[], true);
    out
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}

/// Writes a batch as it is (Produce, version 7): the offset of its first record.
pub(crate) fn produce(server: &str, topic: &str, partition: i32, batch: &[u8]) -> i64 {
    let produce = [
        &[0, 0, 0, 7, 0, 0, 0, 1][..],
        &text("raw"),
        // No transaction, all acknowledge, within ten seconds; one topic.
        &[0xff, 0xff, 0xff, 0xff],
        &10_000_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &text(topic),
        &1_i32.to_be_bytes(),
        &partition.to_be_bytes(),
        &length(batch.len()),
        batch,
    ]
    .concat();
    let answer = request(server, &produce);
    // One topic, the name, one partition: number, error, offset.
    let at = 4 + 2 + topic.len() + 4 + 4;
    let error = i16::from_be_bytes(answer[at..at + 2].try_into().expect("two bytes"));
    assert_eq!(error, 0, "Kafka takes the batch");
    i64::from_be_bytes(answer[at + 2..at + 10].try_into().expect("eight bytes"))
}
