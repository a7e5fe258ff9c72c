use std::borrow::Cow;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use memchr::{memchr, memchr2};

use crate::Error;

#[cfg(test)]
mod tests;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An item of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// An event that clients dispatch.
    Message(Message),
    /// A block with an `id` field and without data: clients remember the id and dispatch nothing. An empty
    /// id resets the last event id.
    Id(Bytes),
    /// A new reconnection time. It takes effect at once, even if its block is not complete.
    Retry(Duration),
    /// A comment line without its colon.
    Comment(Bytes),
}

/// One event of a stream. Invalid UTF-8 is not replaced: see [`Message::data_lossy`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The event type. It is never empty; `None` is `message`.
    pub event: Option<Bytes>,
    /// The data, its lines separated by LF.
    pub data: Bytes,
    /// The id of this event. Without one, the id of an earlier event remains the last event id
    /// ([`Parser::last_event_id`]).
    pub id: Option<Bytes>,
    /// The timestamp in milliseconds since the Unix epoch, an extension of Zilla's.
    pub timestamp: Option<i64>,
}

impl Message {
    /// The data as browsers decode it: U+FFFD replaces invalid UTF-8.
    pub fn data_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.data)
    }
}

/// Parses an event stream piece by piece (WHATWG HTML 9.2.5 and 9.2.6). The stream may be cut anywhere.
///
/// A loop reads a piece, pushes it, and pulls items until there are none. Text after the last empty line of
/// a stream is not an event: it is dropped with the parser.
///
/// ```
/// use tailwater_sse::{Item, Parser};
///
/// let mut parser = Parser::new();
/// parser.push(b"data:a\r");
/// parser.push(b"\ndata: b\nid:7\n\n");
/// let Some(Item::Message(message)) = parser.pull()? else { panic!("no message") };
/// assert_eq!(message.data, "a\nb");
/// assert_eq!(parser.last_event_id(), b"7");
/// assert_eq!(parser.pull()?, None);
/// # Ok::<(), tailwater_sse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parser {
    max_line_bytes: usize,
    max_event_bytes: usize,
    input: Vec<u8>,
    /// The beginning of the first line in `input` that is not parsed.
    begin: usize,
    /// `input` has no line end before this index, so that a line that comes in many pieces is searched
    /// once.
    searched: usize,
    /// Before the first line, where a byte order mark is skipped.
    at_start: bool,
    /// After a CR: a following LF belongs to the same line end.
    after_cr: bool,
    line: u64,
    failed: Option<Error>,
    data: Vec<u8>,
    event: Vec<u8>,
    id: Option<Bytes>,
    timestamp: Option<i64>,
    last_event_id: Bytes,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Self {
            max_line_bytes: 4 << 20,
            max_event_bytes: 8 << 20,
            input: Vec::new(),
            begin: 0,
            searched: 0,
            at_start: true,
            after_cr: false,
            line: 1,
            failed: None,
            data: Vec::new(),
            event: Vec::new(),
            id: None,
            timestamp: None,
            last_event_id: Bytes::new(),
        }
    }

    /// Sets how long a line may be without its line end, in bytes. Default: 4 MiB.
    #[must_use]
    pub fn max_line_bytes(mut self, limit: usize) -> Self {
        self.max_line_bytes = limit;
        self
    }

    /// Sets how long the data of an event may be, in bytes. Default: 8 MiB.
    #[must_use]
    pub fn max_event_bytes(mut self, limit: usize) -> Self {
        self.max_event_bytes = limit;
        self
    }

    /// Adds the next piece of the stream. The parser keeps it until it is pulled: pull before the next push
    /// to bound its memory.
    pub fn push(&mut self, piece: &[u8]) {
        if self.failed.is_none() {
            self.input.drain(..self.begin);
            self.searched -= self.begin;
            self.begin = 0;
            self.input.extend_from_slice(piece);
        }
    }

    /// The next item; `None` when another piece is needed.
    ///
    /// # Errors
    /// [`Error::LineTooLong`] and [`Error::EventTooLong`]. The rest of the stream cannot be parsed: every
    /// later call returns the same error, until [`Parser::reconnect`].
    pub fn pull(&mut self) -> Result<Option<Item>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let pulled = self.pull_line_by_line();
        if let Err(error) = &pulled {
            self.failed = Some(error.clone());
            self.input = Vec::new();
        }
        pulled
    }

    /// The last event id, as of the last item that was pulled. A client sends it when it reconnects. Empty
    /// if there is none.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// Prepares for a new connection: drops unfinished lines and events, and keeps the last event id.
    pub fn reconnect(&mut self) {
        *self = Self {
            max_line_bytes: self.max_line_bytes,
            max_event_bytes: self.max_event_bytes,
            last_event_id: mem::take(&mut self.last_event_id),
            ..Self::new()
        };
    }

    fn pull_line_by_line(&mut self) -> Result<Option<Item>, Error> {
        if self.at_start {
            let input = self.input.get(self.begin..).unwrap_or_default();
            if input.len() < BOM.len() && BOM.starts_with(input) {
                return Ok(None);
            }
            if input.starts_with(BOM) {
                self.advance(BOM.len());
            }
            self.at_start = false;
        }
        loop {
            if self.after_cr {
                match self.input.get(self.begin) {
                    Some(b'\n') => self.advance(1),
                    Some(_) => {}
                    None => return Ok(None),
                }
                self.after_cr = false;
            }
            let unsearched = self.input.get(self.searched..).unwrap_or_default();
            let end = memchr2(b'\r', b'\n', unsearched).map(|at| self.searched + at);
            self.searched = end.unwrap_or(self.input.len());
            if self.searched - self.begin > self.max_line_bytes {
                return Err(Error::LineTooLong { line: self.line, limit: self.max_line_bytes });
            }
            let Some(end) = end else { return Ok(None) };

            // The input is moved out, so that a line of it and the fields can be borrowed together.
            let input = mem::take(&mut self.input);
            let item = self.line(input.get(self.begin..end).unwrap_or_default());
            self.after_cr = input.get(end) == Some(&b'\r');
            self.input = input;
            self.advance(end + 1 - self.begin);
            let item = item?;
            self.line += 1;
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn advance(&mut self, by: usize) {
        self.begin += by;
        self.searched = self.begin;
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Item>, Error> {
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (name, value) = match memchr(b':', line) {
            Some(0) => {
                return Ok(Some(Item::Comment(Bytes::copy_from_slice(
                    line.get(1..).unwrap_or_default(),
                ))));
            }
            Some(colon) => {
                let (name, value) = line.split_at(colon);
                let value = value.strip_prefix(b": ").or_else(|| value.strip_prefix(b":"));
                (name, value.unwrap_or_default())
            }
            None => (line, &[][..]),
        };
        match name {
            b"data" => {
                if self.data.len() + value.len() > self.max_event_bytes {
                    return Err(Error::EventTooLong {
                        line: self.line,
                        limit: self.max_event_bytes,
                    });
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            b"id" if memchr(0, value).is_none() => self.id = Some(Bytes::copy_from_slice(value)),
            b"retry" => return Ok(retry(value).map(Item::Retry)),
            b"timestamp" => self.timestamp = timestamp(value).or(self.timestamp),
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Item> {
        let id = self.id.take();
        if let Some(id) = &id {
            self.last_event_id = id.clone();
        }
        let event = mem::take(&mut self.event);
        let timestamp = self.timestamp.take();
        // Every data field appends an LF, even an empty one: an empty buffer means that there was no data
        // field.
        if self.data.pop().is_none() {
            return id.map(Item::Id);
        }
        let data = mem::take(&mut self.data).into();
        let event = if event.is_empty() || event == b"message" { None } else { Some(event.into()) };
        Some(Item::Message(Message { event, data, id, timestamp }))
    }
}

/// Only digits are accepted. A number beyond 64 bits is the largest one.
fn retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit =
        |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(Duration::from_millis(value.iter().fold(0, digit)))
}

fn timestamp(value: &[u8]) -> Option<i64> {
    let hex = std::str::from_utf8(value.strip_prefix(b"0x")?).ok()?;
    // `from_str_radix` accepts a sign.
    let digits = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    if digits { u64::from_str_radix(hex, 16).ok().map(u64::cast_signed) } else { None }
}
