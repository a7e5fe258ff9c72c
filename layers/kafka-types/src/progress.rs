//! The progress of an event id: version, number of pairs, and pairs of partition and offset, as zigzag varints in
//! base64url.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64url with padding when encoding, and with optional padding when decoding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The first byte of each id.
const VERSION: u8 = 0x01;

/// Appends the progress of an event id to `out`. `offsets` has the next offset of each partition, from 0 on. The
/// content of `buffer` is replaced. If each call gets the same buffer, no call allocates it anew.
///
/// ```
/// use tailwater_kafka_types::{EventId, encode_progress};
///
/// let mut text = String::new();
/// encode_progress(&[2, 1], &mut Vec::new(), &mut text);
/// assert_eq!(text, "AQQABAIC");
/// assert_eq!(EventId::decode(text.as_bytes()).unwrap().offsets(), [(0, 2), (1, 1)]);
/// ```
pub fn encode_progress(offsets: &[i64], buffer: &mut Vec<u8>, out: &mut String) {
    buffer.clear();
    buffer.push(VERSION);
    varint(offsets.len() as i64, buffer);
    for (partition, offset) in (0..).zip(offsets) {
        varint(partition, buffer);
        varint(*offset, buffer);
    }
    BASE64.encode_string(buffer, out);
}

/// Decodes the partitions and next offsets of a progress, in ascending order of partitions. The offset -2 is the
/// beginning of its partition, and -1 the end. Zilla issues both.
pub(crate) fn decode_progress(text: &[u8]) -> Option<Vec<(i32, i64)>> {
    let binary = BASE64.decode(text).ok()?;
    let (&VERSION, mut rest) = binary.split_first()? else { return None };
    let count = usize::try_from(unvarint(&mut rest)?).ok()?;
    // A pair has at least two bytes. So a wrong count can't reserve more memory than the client has sent.
    let mut pairs = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let partition =
            i32::try_from(unvarint(&mut rest)?).ok().filter(|partition| *partition >= 0)?;
        let offset = unvarint(&mut rest).filter(|offset| *offset >= -2)?;
        pairs.push((partition, offset));
    }
    pairs.sort_unstable_by_key(|(partition, _)| *partition);
    let unique = pairs.windows(2).all(|pair| pair[0].0 < pair[1].0);
    (rest.is_empty() && unique).then_some(pairs)
}

fn varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn unvarint(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(offsets: &[i64]) -> String {
        let mut text = String::new();
        encode_progress(offsets, &mut Vec::new(), &mut text);
        text
    }

    #[test]
    fn progress_is_that_of_the_reference() {
        for (offsets, text) in
            [(&[2, 1][..], "AQQABAIC"), (&[3, 1], "AQQABgIC"), (&[1], "AQIAAg==")]
        {
            assert_eq!(encoded(offsets), text, "{offsets:?}");
            let pairs: Vec<_> = (0..).zip(offsets.iter().copied()).collect();
            assert_eq!(decode_progress(text.as_bytes()), Some(pairs), "{text}");
        }
    }

    #[test]
    fn beginning_end_and_any_order_are_read() {
        assert_eq!(decode_progress(b"AQQAAwIC"), Some(vec![(0, -2), (1, 1)]));
        assert_eq!(decode_progress(b"AQQCAgAE"), Some(vec![(0, 2), (1, 1)]));
        assert_eq!(decode_progress(b"AQIAAg"), Some(vec![(0, 1)]));
    }

    #[test]
    fn what_is_no_progress_is_refused() {
        for text in [
            "",
            "AA==",
            "AQ==",
            "AQQABAI",
            "AQQABAICAA==",
            "AgQABAIC",
            "****",
            "AQQABAAE",
            "AQIABQ==",
        ] {
            assert_eq!(decode_progress(text.as_bytes()), None, "{text}");
        }
        let many = BASE64.encode([1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 2]);
        assert_eq!(decode_progress(many.as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_reads_back(offsets in proptest::collection::vec(0..i64::MAX, 0..40)) {
            let pairs: Vec<_> = (0..).zip(offsets.iter().copied()).collect();
            proptest::prop_assert_eq!(decode_progress(encoded(&offsets).as_bytes()), Some(pairs));
        }

        #[test]
        fn varints_read_back(value: i64) {
            let mut bytes = Vec::new();
            varint(value, &mut bytes);
            proptest::prop_assert_eq!(unvarint(&mut &bytes[..]), Some(value));
        }
    }
}
