//! The wire format.

/// Why a value is malformed.
pub(super) type Reason = &'static str;

const TRUNCATED: Reason = "the protobuf value ends too early";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Length,
    Start,
    End,
    Fixed32,
}

/// Reads a value from a place on. Places are those of the whole value, also within nested messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], start: usize, end: usize) -> Self {
        Self { bytes, at: start, end: end.min(bytes.len()) }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Reason> {
        let rest = self.bytes.get(self.at..self.end).unwrap_or_default();
        match rest.first() {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                return Ok(u64::from(*byte));
            }
            _ => {}
        }
        let mut number = 0;
        for (index, byte) in rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if index == 9 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(if rest.len() < 10 { TRUNCATED } else { "a protobuf integer has more than 64 bits" })
    }

    pub(super) fn tag(&mut self) -> Result<(u32, WireType), Reason> {
        let tag =
            u32::try_from(self.varint()?).map_err(|_| "a protobuf field number is too large")?;
        let wire_type = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Length,
            3 => WireType::Start,
            4 => WireType::End,
            5 => WireType::Fixed32,
            _ => return Err("a protobuf wire type is not known"),
        };
        match tag >> 3 {
            0 => Err("a protobuf field has number 0"),
            number => Ok((number, wire_type)),
        }
    }

    fn advance(&mut self, count: usize) -> Result<(usize, usize), Reason> {
        let start = self.at;
        let end = start.checked_add(count).filter(|end| *end <= self.end).ok_or(TRUNCATED)?;
        self.at = end;
        Ok((start, end))
    }

    /// Passes over what follows a tag. Returns the place of the payload: of a length-delimited field its bytes, of a
    /// group what is between its tags.
    pub(super) fn payload(
        &mut self,
        number: u32,
        wire_type: WireType,
        depth: usize,
    ) -> Result<(usize, usize), Reason> {
        match wire_type {
            WireType::Varint => {
                let start = self.at;
                self.varint()?;
                Ok((start, self.at))
            }
            WireType::Fixed64 => self.advance(8),
            WireType::Fixed32 => self.advance(4),
            WireType::Length => {
                let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                self.advance(length)
            }
            WireType::Start => {
                if depth > crate::limits::MAX_DEPTH {
                    return Err(super::TOO_DEEP);
                }
                let start = self.at;
                loop {
                    let end = self.at;
                    let (inner, wire_type) = self.tag()?;
                    if wire_type == WireType::End {
                        return if inner == number { Ok((start, end)) } else { Err(UNMATCHED) };
                    }
                    self.payload(inner, wire_type, depth + 1)?;
                }
            }
            WireType::End => Err(UNMATCHED),
        }
    }

    #[inline]
    pub(super) fn fixed<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], Reason> {
        let (start, end) = self.advance(COUNT)?;
        self.bytes.get(start..end).and_then(|bytes| bytes.try_into().ok()).ok_or(TRUNCATED)
    }
}

const UNMATCHED: Reason = "a protobuf group ends where none began";

pub(super) fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(super) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
