//! Splits event streams into events, and responses over HTTP/1.1 into event streams.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::Result;

static EMPTY_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\n\n"));
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
const HEAD_BYTES: usize = 16 * 1024;

/// Takes the bytes of each read of a response over HTTP/1.1, and returns its events.
#[derive(Debug, Default)]
pub(super) struct Response {
    part: Part,
    /// The head, or the line with the size of a chunk, until it is complete.
    line: Vec<u8>,
    events: EventStream,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Head,
    ChunkSize,
    Chunk(usize),
    /// The number of bytes of CR and LF that follow a chunk.
    ChunkEnd(usize),
    /// A body without chunks, up to the end of the connection.
    Plain,
}

impl Response {
    pub(super) fn has_head(&self) -> bool {
        !matches!(self.part, Part::Head)
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() {
            bytes = match self.part {
                Part::Head => self.head(bytes)?,
                Part::ChunkSize => self.chunk_size(bytes)?,
                Part::Chunk(left) => {
                    let (data, rest) = bytes.split_at(left.min(bytes.len()));
                    self.events.feed(data, &mut event);
                    self.part = if data.len() == left {
                        Part::ChunkEnd(2)
                    } else {
                        Part::Chunk(left - data.len())
                    };
                    rest
                }
                Part::ChunkEnd(left) => {
                    let (_, rest) = bytes.split_at(left.min(bytes.len()));
                    let left = left - (bytes.len() - rest.len());
                    self.part = if left == 0 { Part::ChunkSize } else { Part::ChunkEnd(left) };
                    rest
                }
                Part::Plain => {
                    self.events.feed(bytes, &mut event);
                    &[]
                }
            };
        }
        Ok(())
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let before = self.line.len();
        self.line.extend(bytes);
        let Some(end) = HEAD_END.find(&self.line) else {
            return if self.line.len() > HEAD_BYTES {
                Err("the head has no end".into())
            } else {
                Ok(&[])
            };
        };
        self.line.truncate(end);
        let head = String::from_utf8_lossy(&self.line).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(format!("answered {}", head.lines().next().unwrap_or_default()).into());
        }
        self.part = if head.contains("\r\ntransfer-encoding: chunked") {
            Part::ChunkSize
        } else {
            Part::Plain
        };
        self.line = Vec::new();
        Ok(bytes.get(end + 4 - before..).unwrap_or_default())
    }

    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.line.extend(bytes);
            return if self.line.len() > 32 {
                Err("a chunk's size has no end".into())
            } else {
                Ok(&[])
            };
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.line.extend(line);
        let size = std::str::from_utf8(&self.line)
            .ok()
            .and_then(|line| usize::from_str_radix(line.trim_end(), 16).ok());
        self.line.clear();
        match size {
            Some(0) => return Err("the server ended the stream".into()),
            Some(size) => self.part = Part::Chunk(size),
            None => return Err("a chunk has no size".into()),
        }
        Ok(rest)
    }
}

/// Takes the bytes of an event stream, and returns complete events without their empty line. An event that is
/// complete within the bytes of one call is not copied.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    /// The beginning of an event whose end has not arrived.
    begun: Vec<u8>,
}

impl EventStream {
    pub(super) fn feed(&mut self, mut data: &[u8], event: &mut impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            // The two line ends may arrive in two reads.
            let end = match (self.begun.last(), data.first()) {
                (Some(b'\n'), Some(b'\n')) => 1,
                _ => match EMPTY_LINE.find(data) {
                    Some(at) => at + 2,
                    None => {
                        self.begun.extend(data);
                        return;
                    }
                },
            };
            let (rest_of_event, rest) = data.split_at(end);
            self.begun.extend(rest_of_event);
            event(self.begun.get(..self.begun.len() - 2).unwrap_or_default());
            self.begun.clear();
            data = rest;
        }
        while let Some(at) = EMPTY_LINE.find(data) {
            let (whole, rest) = data.split_at(at + 2);
            event(whole.get(..at).unwrap_or_default());
            data = rest;
        }
        self.begun.extend(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn events(reads: &[&[u8]]) -> Vec<String> {
        let mut stream = Response::default();
        let mut events = Vec::new();
        for read in reads {
            let each = |event: &[u8]| events.push(String::from_utf8_lossy(event).into_owned());
            stream.feed(read, each).expect("a good response");
        }
        events
    }

    #[test]
    fn events_are_the_same_wherever_reads_and_chunks_cut_them() {
        let chunked = format!(
            "{HEAD}d\r\n:\nid:AQ\n\ndata\r\n6\r\n:one\n\n\r\n10\r\ndata:two\nid:2\n\nd\r\nA\r\nata:three\n\r\n1\r\n\n\r\n"
        );
        let expected = [":\nid:AQ", "data:one", "data:two\nid:2", "data:three"];
        let bytes = chunked.as_bytes();
        assert_eq!(events(&[bytes]), expected);
        for cut in 0..bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(events(&[before, after]), expected, "cut at {cut}");
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(events(&single), expected);
    }

    #[test]
    fn a_response_may_end_with_its_connection() {
        assert_eq!(
            events(&[b"HTTP/1.1 200 OK\r\n\r\ndata:a\n\ndata:", b"b\n\n"]),
            ["data:a", "data:b"]
        );
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        for response in [
            "HTTP/1.1 404 Not Found\r\n\r\n",
            &format!("{HEAD}0\r\n\r\n"),
            &format!("{HEAD}xyz\r\n"),
        ] {
            assert!(Response::default().feed(response.as_bytes(), |_| {}).is_err(), "{response}");
        }
    }
}
