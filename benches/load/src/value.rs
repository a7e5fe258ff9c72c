//! The values of records: a timestamp, a number, and padding.

/// The length of each value.
pub(crate) const SIZE: usize = 256;

const NANOS: usize = 19;
const NUMBER: usize = 10;

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

    /// Reads the stamp of an event, without its empty line. `None` if the data is not ours.
    pub(crate) fn of_event(event: &[u8]) -> Option<Self> {
        let data = match event.strip_prefix(b"data:") {
            Some(data) => data,
            None => event.get(memchr::memmem::find(event, b"\ndata:")? + 6..)?,
        };
        Self::of_value(data.strip_prefix(b" ").unwrap_or(data))
    }

    pub(crate) fn of_value(data: &[u8]) -> Option<Self> {
        let nanos = decimal(data.get(..NANOS)?)?;
        let number = decimal(data.get(NANOS + 1..NANOS + 1 + NUMBER)?)?;
        Some(Self { nanos, number })
    }
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
        ] {
            assert_eq!(Stamp::of_event(event.as_bytes()), Some(stamp), "{event}");
        }
        for event in ["id:AQIA", ":", "data:hello", "event:gap\ndata:{\"partition\":0,\"from\":1}"]
        {
            assert_eq!(Stamp::of_event(event.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn tallies_differ_where_an_event_is_missing_or_twice() {
        let of = |numbers: &[u64]| Tally::of(numbers.iter().copied());
        assert_eq!(of(&[2, 0, 3, 1]), Tally::of(0..4));
        assert_ne!(of(&[0, 1, 2]), Tally::of(0..4));
        assert_ne!(of(&[0, 2, 2, 2]), Tally::of(0..4));
    }
}
