use std::fmt;

/// The headers of a record, as far as this crate asks for them.
pub trait Headers {
    /// The value of the last header of this name, if there is one and it is not null.
    fn last(&self, name: &str) -> Option<&[u8]>;
}

impl Headers for () {
    fn last(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .rev()
            .find(|(header, _)| header.as_ref() == name)
            .map(|(_, value)| value.as_ref())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const COUNT: usize> Headers for [(N, V); COUNT] {
    fn last(&self, name: &str) -> Option<&[u8]> {
        <[(N, V)] as Headers>::last(self, name)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        <[(N, V)] as Headers>::last(self, name)
    }
}

/// The part of a record that a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The record's key.
    Key,
    /// The record's value.
    Value,
}

/// A key or a value, with the headers of its record.
///
/// ```
/// use tailwater_schema::Input;
///
/// let headers = [("__value_schema_id", [0, 0, 0, 0, 9])];
/// let input = Input::value(b"\x02a\x02").headers(&headers);
/// assert_eq!(input.bytes(), b"\x02a\x02");
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Input<'a> {
    bytes: &'a [u8],
    part: Part,
    headers: &'a dyn Headers,
}

impl<'a> Input<'a> {
    /// The value of a record. A null value has no model: it is not for this crate.
    pub fn value(bytes: &'a [u8]) -> Self {
        Self { bytes, part: Part::Value, headers: &() }
    }

    /// The key of a record.
    pub fn key(bytes: &'a [u8]) -> Self {
        Self { bytes, part: Part::Key, headers: &() }
    }

    /// The headers of the record, which may hold the id of the schema. Default: none.
    pub fn headers(mut self, headers: &'a dyn Headers) -> Self {
        self.headers = headers;
        self
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Key or value.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.last(name)
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes are a user's data, which stays out of logs.
        f.debug_struct("Input")
            .field("part", &self.part)
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
