use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64url that writes padding and reads it either way.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The version byte that every id begins with.
const VERSION: u8 = 0x01;

/// The next offset to deliver, for each partition of a topic: a place in its log.
///
/// The partitions of a topic are numbered from 0 without holes. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positions(Arc<[i64]>);

impl Positions {
    pub(crate) fn new(offsets: impl Into<Arc<[i64]>>) -> Self {
        Self(offsets.into())
    }

    /// The number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next offset of `partition`; the beginning where the partition is not known.
    pub(crate) fn next(&self, partition: i32) -> i64 {
        usize::try_from(partition).ok().and_then(|index| self.0.get(index)).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        (0..).zip(self.0.iter().copied())
    }

    /// Whether this place comes at or before `other` in every partition.
    pub(crate) fn at_or_before(&self, other: &Self) -> bool {
        self.iter().all(|(partition, next)| next <= other.next(partition))
    }

    /// Whether a log that stands at `mark` has come by this place, and names each partition that it names.
    pub(crate) fn is_behind(&self, mark: &Self) -> bool {
        self.len() <= mark.len() && self.at_or_before(mark)
    }

    /// The larger of both in every partition.
    pub(crate) fn max(&self, other: &Self) -> Self {
        self.merge(other, i64::max)
    }

    /// The smaller of both in every partition.
    pub(crate) fn min(&self, other: &Self) -> Self {
        self.merge(other, i64::min)
    }

    /// How many offsets lie between both places.
    pub(crate) fn distance(&self, other: &Self) -> u64 {
        let of = |(partition, next): (i32, i64)| next.abs_diff(other.next(partition));
        self.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How many offsets lie between this place and a later one, where that is later.
    pub(crate) fn offsets_until(&self, later: &Self) -> u64 {
        let of = |(partition, end): (i32, i64)| u64::try_from(end - self.next(partition));
        later.iter().map(|end| of(end).unwrap_or(0)).fold(0, u64::saturating_add)
    }

    /// The place after records at these partitions and offsets.
    pub(crate) fn after(&self, records: impl IntoIterator<Item = (i32, i64)>) -> Self {
        let mut offsets = self.0.to_vec();
        for (partition, offset) in records {
            advance(&mut offsets, partition, offset);
        }
        Self(offsets.into())
    }

    /// This place, but at `next` in `partition`, if it is known.
    pub(crate) fn with(&self, partition: i32, next: i64) -> Self {
        let mut offsets = self.0.to_vec();
        let known = usize::try_from(partition).ok().and_then(|index| offsets.get_mut(index));
        known.into_iter().for_each(|offset| *offset = next);
        Self(offsets.into())
    }

    /// The progress of an event id: version, count and pairs as zigzag varints, in base64url.
    pub(crate) fn progress(&self) -> String {
        let mut text = String::new();
        Encoder::new(self).encode(&mut text);
        text
    }

    fn merge(&self, other: &Self, choose: impl Fn(i64, i64) -> i64) -> Self {
        let longer = if self.len().cmp(&other.len()) == Ordering::Less { other } else { self };
        Self(longer.iter().map(|(p, _)| choose(self.next(p), other.next(p))).collect())
    }
}

fn advance(offsets: &mut Vec<i64>, partition: i32, offset: i64) {
    let Ok(index) = usize::try_from(partition) else { return };
    if offsets.len() <= index {
        offsets.resize(index + 1, 0);
    }
    offsets[index] = offset + 1;
}

/// Encodes the positions at one record after the other without allocating.
#[derive(Debug)]
pub(crate) struct Encoder {
    offsets: Vec<i64>,
    binary: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(start: &Positions) -> Self {
        Self { offsets: start.0.to_vec(), binary: Vec::with_capacity(2 + 4 * start.len()) }
    }

    pub(crate) fn advance(&mut self, partition: i32, offset: i64) {
        advance(&mut self.offsets, partition, offset);
    }

    pub(crate) fn encode(&mut self, out: &mut String) {
        self.binary.clear();
        self.binary.push(VERSION);
        varint(self.offsets.len() as i64, &mut self.binary);
        for (partition, offset) in (0..).zip(&self.offsets) {
            varint(partition, &mut self.binary);
            varint(*offset, &mut self.binary);
        }
        BASE64.encode_string(&self.binary, out);
    }
}

/// The partitions and next offsets of the progress in an event id, ascending by partition.
/// An offset of -2 is the beginning of its partition, -1 its end; Zilla issues both.
pub(crate) fn decode_progress(text: &[u8]) -> Option<Vec<(i32, i64)>> {
    let binary = BASE64.decode(text).ok()?;
    let (&VERSION, mut rest) = binary.split_first()? else { return None };
    let count = usize::try_from(unvarint(&mut rest)?).ok()?;
    // A pair takes two bytes at least: nobody makes us reserve more than they sent.
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
        Positions::new(offsets).progress()
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
    fn a_place_is_behind_a_mark_that_names_its_partitions() {
        let place = Positions::new([3, 0]);
        for (mark, at_or_before, is_behind) in [
            (&[3][..], true, false),
            (&[2, 0], false, false),
            (&[3, 0], true, true),
            (&[4, 1, 0], true, true),
        ] {
            let mark = Positions::new(mark);
            assert_eq!(place.at_or_before(&mark), at_or_before, "{mark:?}");
            assert_eq!(place.is_behind(&mark), is_behind, "{mark:?}");
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
