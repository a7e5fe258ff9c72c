//! The binary encoding of Avro.

/// Why a value is malformed.
pub(super) type Reason = &'static str;

const TRUNCATED: Reason = "the avro value ends too early";

#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        let (byte, rest) = self.bytes.split_first().ok_or(TRUNCATED)?;
        self.bytes = rest;
        Ok(*byte)
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (bytes, rest) = self.bytes.split_at_checked(count).ok_or(TRUNCATED)?;
        self.bytes = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], Reason> {
        let (bytes, rest) = self.bytes.split_first_chunk().ok_or(TRUNCATED)?;
        self.bytes = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Reason> {
        let byte = self.byte()?;
        let number = if byte < 0x80 { u64::from(byte) } else { self.long_varint(byte)? };
        // Zigzag.
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn long_varint(&mut self, first: u8) -> Result<u64, Reason> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("an avro integer has more than 64 bits")
    }

    #[inline]
    pub(super) fn int(&mut self) -> Result<i32, Reason> {
        self.long()?.try_into().map_err(|_| "an avro int has more than 32 bits")
    }

    /// A length and as many bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let length = self.long()?.try_into().map_err(|_| "an avro length is negative")?;
        self.take(length)
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "an avro string is not UTF-8")
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool, Reason> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("an avro boolean is neither 0 nor 1"),
        }
    }

    /// The number of items in the next block of an array or a map. 0: there is none.
    #[inline]
    pub(super) fn block(&mut self) -> Result<u64, Reason> {
        let count = self.long()?;
        if count < 0 {
            // Then its size in bytes follows, for readers that skip it.
            if self.long()? < 0 {
                return Err("the size of an avro block is negative");
            }
        }
        Ok(count.unsigned_abs())
    }

    /// The index of an enum's symbol or of a union's branch.
    #[inline]
    pub(super) fn index(&mut self) -> Result<usize, Reason> {
        self.long()?.try_into().map_err(|_| "an avro index is negative")
    }
}
