//! The values of records: a timestamp and a number, with padding or in a record of five fields.

/// The length of each value.
pub(crate) const SIZE: usize = 256;

const NANOS: usize = 19;
const NUMBER: usize = 10;

/// What the values of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Values {
    /// The stamp and padding.
    Padded,
    /// A record of five fields as JSON, as tailwater writes it.
    Json,
    /// The same record as Avro, in some 45 bytes. Its schema is in the configuration of tailwater.
    Avro,
}

/// The timestamp and the number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The time since the epoch.
    pub(crate) nanos: u64,
    /// The number of the event, from 0 within a run of a server.
    pub(crate) number: u64,
}

impl Stamp {
    pub(crate) fn write(self) -> String {
        format!(
            "{:0NANOS$} {:0NUMBER$} {:.<padding$}",
            self.nanos,
            self.number,
            "",
            padding = SIZE - NANOS - NUMBER - 2
        )
    }

    pub(crate) fn write_as(self, values: Values) -> Vec<u8> {
        if values == Values::Padded {
            return self.write().into_bytes();
        }
        let Self { nanos, number } = self;
        let device = format!("hall-east/device-{:06}", number % 1000);
        let celsius = (1500 + number % 1000) as f64 / 100.0;
        let ok = !number.is_multiple_of(10);
        if values == Values::Json {
            return format!(
                r#"{{"nanos":{nanos},"number":{number},"device":"{device}","celsius":{celsius:?},"ok":{ok}}}"#
            )
            .into_bytes();
        }
        let mut avro = Vec::with_capacity(48);
        for long in [nanos, number, device.len() as u64] {
            push_zigzag(&mut avro, long);
        }
        avro.extend(device.as_bytes());
        avro.extend(celsius.to_le_bytes());
        avro.push(u8::from(ok));
        avro
    }

    /// Reads the stamp of an event, without its empty line. `None` if the data is not ours.
    pub(crate) fn of_event(event: &[u8]) -> Option<Self> {
        let data = match event.strip_prefix(b"data:") {
            Some(data) => data,
            None => event.get(memchr::memmem::find(event, b"\ndata:")? + 6..)?,
        };
        Self::of_value(data.strip_prefix(b" ").unwrap_or(data))
    }

    pub(crate) fn of_value(data: &[u8]) -> Option<Self> {
        let (nanos, number) = match data.strip_prefix(br#"{"nanos":"#) {
            Some(members) => {
                let (nanos, rest) = members.split_at_checked(NANOS)?;
                let number = rest.strip_prefix(br#","number":"#)?;
                (nanos, number.get(..memchr::memchr(b',', number)?)?)
            }
            None => (data.get(..NANOS)?, data.get(NANOS + 1..NANOS + 1 + NUMBER)?),
        };
        Some(Self { nanos: decimal(nanos)?, number: decimal(number)? })
    }
}

/// Appends a number that is not negative as a zigzag varint.
pub(crate) fn push_zigzag(out: &mut Vec<u8>, number: u64) {
    let mut rest = 2 * number;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
    })
}

/// The set of received events. If two tallies are equal, each event was received exactly once, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    sum: u64,
}

impl Tally {
    /// The tally of each of these numbers once.
    pub(crate) fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let mut tally = Self::default();
        numbers.for_each(|number| tally.add(number));
        tally
    }

    pub(crate) fn add(&mut self, number: u64) {
        self.count += 1;
        // The finalizer of SplitMix64 hashes the number, since the plain sums 1 + 3 and 2 + 2 are equal.
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.sum = self.sum.wrapping_add(mixed ^ (mixed >> 31));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_stamp_wherever_the_data_line_stands() {
        let stamp = Stamp { nanos: 1_700_000_000_123_456_789, number: 42 };
        let value = stamp.write();
        assert_eq!(value.len(), SIZE);
        for event in [
            format!("data:{value}\nid:AQ"),
            format!("id: 7\ndata: {value}"),
            format!("retry:1\n:\ndata:{value}"),
            r#"data:{"nanos":1700000000123456789,"number":42,"device":"hall-east/device-000042","celsius":15.42,"ok":true}"#.to_owned(),
        ] {
            assert_eq!(Stamp::of_event(event.as_bytes()), Some(stamp), "{event}");
        }
        for event in ["id:AQIA", ":", "data:hello", "event:gap\ndata:{\"partition\":0,\"from\":1}"]
        {
            assert_eq!(Stamp::of_event(event.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn a_record_has_the_same_fields_in_both_formats() {
        let stamp = Stamp { nanos: 1_700_000_000_123_456_789, number: 500_000 };
        assert_eq!(
            String::from_utf8_lossy(&stamp.write_as(Values::Json)),
            r#"{"nanos":1700000000123456789,"number":500000,"device":"hall-east/device-000000","celsius":15.0,"ok":false}"#
        );
        let mut avro = vec![0xaa, 0xb4, 0xae, 0xd8, 0xc7, 0xbf, 0xce, 0x97, 0x2f, 0xc0, 0x84, 0x3d];
        avro.extend(b"\x2ehall-east/device-000000");
        avro.extend([0, 0, 0, 0, 0, 0, 0x2e, 0x40, 0]);
        assert_eq!(stamp.write_as(Values::Avro), avro);
        assert_eq!(avro.len(), 45);
    }

    #[test]
    fn tallies_differ_where_an_event_is_missing_or_twice() {
        let of = |numbers: &[u64]| Tally::of(numbers.iter().copied());
        assert_eq!(of(&[2, 0, 3, 1]), Tally::of(0..4));
        assert_ne!(of(&[0, 1, 2]), Tally::of(0..4));
        assert_ne!(of(&[0, 2, 2, 2]), Tally::of(0..4));
    }
}
