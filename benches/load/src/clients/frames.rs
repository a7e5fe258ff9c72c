//! A response over HTTP/2 (RFC 9113): one stream on its connection, with the windows of a browser. It takes less
//! processor time than a full client, which would be measured along with the server.

use crate::Result;
use crate::clients::Request;
use crate::clients::stream::EventStream;
use crate::tls::NAME;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The only stream.
const STREAM: u32 = 1;
/// The windows that Chrome opens.
const STREAM_WINDOW: u32 = 6 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 15 * 1024 * 1024;
/// The window of a connection before the first update.
const FIRST_WINDOW: u32 = 65_535;
/// The number of bytes after which the windows are opened again.
const UPDATE: u32 = STREAM_WINDOW / 2;
/// The frame size that this client allows, the least of the protocol.
const MAX_FRAME: usize = 16 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Takes the bytes of each read, and returns the events of the stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of a frame until it is complete.
    head: Vec<u8>,
    /// The frame whose payload arrives.
    frame: Option<Frame>,
    /// The payload of a frame that is not DATA, until it is complete.
    payload: Vec<u8>,
    has_head: bool,
    events: EventStream,
    /// The bytes of DATA since the last update of the windows.
    unacknowledged: u32,
    reply: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    left: usize,
}

/// The bytes that begin the connection, with the request.
pub(super) fn request(request: &Request, is_tls: bool) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    let mut settings = Vec::new();
    // HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE and MAX_HEADER_LIST_SIZE of Chrome.
    for (id, value) in [(1u16, 65_536u32), (2, 0), (4, STREAM_WINDOW), (6, 262_144)] {
        settings.extend(id.to_be_bytes());
        settings.extend(value.to_be_bytes());
    }
    push(&mut out, SETTINGS, 0, 0, &settings);
    push_update(&mut out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
    // HPACK (RFC 7541): `:method: GET` and `:scheme` of the static table, then fields whose names are in the table
    // and whose values are literal.
    let mut fields = vec![0x82, if is_tls { 0x87 } else { 0x86 }];
    push_field(&mut fields, &[0x04], &request.path);
    push_field(&mut fields, &[0x01], NAME);
    push_field(&mut fields, &[0x0f, 19 - 15], "text/event-stream");
    if let Some(id) = &request.last_event_id {
        fields.push(0);
        push_text(&mut fields, "last-event-id");
        push_text(&mut fields, id);
    }
    push(&mut out, HEADERS, END_STREAM | END_HEADERS, STREAM, &fields);
    out
}

impl Frames {
    pub(super) fn has_head(&self) -> bool {
        self.has_head
    }

    /// The bytes that the server has to receive now.
    pub(super) fn take_reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reply)
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) -> Result<()> {
        while !bytes.is_empty() {
            let Some(frame) = &mut self.frame else {
                bytes = self.feed_head(bytes)?;
                continue;
            };
            let (part, rest) = bytes.split_at(frame.left.min(bytes.len()));
            bytes = rest;
            frame.left -= part.len();
            let frame = *frame;
            if frame.kind == DATA {
                self.events.feed(part, &mut event);
            } else {
                self.payload.extend(part);
            }
            if frame.left == 0 {
                self.end_frame(frame)?;
            }
        }
        Ok(())
    }

    fn feed_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let (part, rest) = bytes.split_at((9 - self.head.len()).min(bytes.len()));
        self.head.extend(part);
        let Ok(head) = <[u8; 9]>::try_from(self.head.as_slice()) else { return Ok(rest) };
        self.head.clear();
        let [high, middle, low, kind, flags, id @ ..] = head;
        let left = u32::from_be_bytes([0, high, middle, low]);
        let frame = Frame { kind, flags, left: left as usize };
        if frame.left > MAX_FRAME {
            return Err(format!("a frame of {left} bytes, which is too large").into());
        }
        if matches!(kind, DATA | HEADERS) {
            let id = u32::from_be_bytes(id);
            if id != STREAM || flags & PADDED != 0 {
                return Err(format!("a frame of stream {id} with flags {flags}").into());
            }
        }
        if kind == DATA {
            self.unacknowledged += left;
        }
        self.frame = Some(frame);
        if frame.left == 0 {
            self.end_frame(frame)?;
        }
        Ok(rest)
    }

    fn end_frame(&mut self, frame: Frame) -> Result<()> {
        self.frame = None;
        match frame.kind {
            HEADERS => {
                // A change of the table's size may precede `:status: 200` of the static table.
                let fields = self.payload.iter().skip_while(|byte| **byte & 0xe0 == 0x20);
                if fields.copied().next() != Some(0x88) {
                    return Err("the answer is not 200".into());
                }
                self.has_head = true;
            }
            SETTINGS if frame.flags & ACK == 0 => push(&mut self.reply, SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => push(&mut self.reply, PING, ACK, 0, &self.payload),
            RESET | GO_AWAY => {
                return Err(format!("a frame of type {}: {:?}", frame.kind, self.payload).into());
            }
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            return Err("the server ended the stream".into());
        }
        if self.unacknowledged >= UPDATE {
            push_update(&mut self.reply, 0, self.unacknowledged);
            push_update(&mut self.reply, STREAM, self.unacknowledged);
            self.unacknowledged = 0;
        }
        self.payload = Vec::new();
        Ok(())
    }
}

fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend(payload.len().to_be_bytes().iter().skip(size_of::<usize>() - 3));
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

fn push_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    push(out, WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend(name);
    push_text(out, value);
}

/// A text without Huffman's code. Its length is an integer with a prefix of seven bits.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 0x7f {
        out.push(length as u8);
    } else {
        out.push(0x7f);
        length -= 0x7f;
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, kind, flags, stream, payload);
        out
    }

    fn head() -> Vec<u8> {
        // A change of the size of the table, `:status: 200`, and a field.
        frame(HEADERS, END_HEADERS, STREAM, b"\x20\x88\x5f\x11text/event-stream")
    }

    #[test]
    fn events_are_the_same_wherever_reads_and_frames_cut_them() {
        let bytes = [
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 128]),
            head(),
            frame(DATA, 0, STREAM, b":\nid:AQ\n\ndata"),
            frame(PING, 0, 0, b"12345678"),
            frame(DATA, 0, STREAM, b""),
            frame(DATA, 0, STREAM, b":one\n\n"),
        ]
        .concat();
        let replies = [frame(SETTINGS, ACK, 0, &[]), frame(PING, ACK, 0, b"12345678")].concat();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut events = Vec::new();
            for part in bytes.chunks(size) {
                let each = |event: &[u8]| events.push(String::from_utf8_lossy(event).into_owned());
                frames.feed(part, each).expect("a good answer");
            }
            assert!(frames.has_head());
            assert_eq!(events, [":\nid:AQ", "data:one"], "reads of {size} bytes");
            assert_eq!(frames.take_reply(), replies, "reads of {size} bytes");
        }
    }

    #[test]
    fn windows_are_opened_again_before_they_close() {
        let mut frames = Frames::default();
        frames.feed(&head(), |_| {}).expect("a good head");
        let data = frame(DATA, 0, STREAM, &[b'.'; MAX_FRAME]);
        let mut left = STREAM_WINDOW as usize;
        for _ in 0..1000 {
            left -= MAX_FRAME;
            frames.feed(&data, |_| {}).expect("good data");
            let reply = frames.take_reply();
            if !reply.is_empty() {
                let updates = [
                    frame(WINDOW_UPDATE, 0, 0, &UPDATE.to_be_bytes()),
                    frame(WINDOW_UPDATE, 0, STREAM, &UPDATE.to_be_bytes()),
                ];
                assert_eq!(reply, updates.concat());
                left += UPDATE as usize;
            }
        }
        assert!(left >= STREAM_WINDOW as usize / 2 - MAX_FRAME);
    }

    #[test]
    fn what_is_no_stream_is_an_error() {
        for bytes in [
            frame(HEADERS, END_HEADERS, STREAM, &[0x8d]), // 404
            frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &[0x88]),
            [head(), frame(DATA, END_STREAM, STREAM, b"")].concat(),
            frame(DATA, 0, 3, b"."),
            frame(DATA, PADDED, STREAM, b"\0"),
            frame(DATA, 0, STREAM, &[0; MAX_FRAME + 1]),
            frame(RESET, 0, STREAM, &[0, 0, 0, 2]),
            frame(GO_AWAY, 0, 0, &[0; 8]),
        ] {
            assert!(Frames::default().feed(&bytes, |_| {}).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_are_those_of_hpack() {
        for (length, bytes) in [(126, &[126][..]), (127, &[127, 0]), (127 + 300, &[127, 0xac, 2])] {
            let mut out = Vec::new();
            push_text(&mut out, &"a".repeat(length));
            assert_eq!(out.split_at(bytes.len()).0, bytes);
            assert_eq!(out.len(), bytes.len() + length);
        }
    }
}
