use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tailwater_sse::{BoxError, Encoded, EventRef, Events, Item, Message, encode_event, encode_id};

use crate::Error;
use crate::reader::Reader;

/// The events of an upstream server: the response of [`Upstream`](crate::Upstream).
///
/// It forwards events, id-only blocks and reconnection times, and timestamps if the client accepts them. It
/// does not forward comments. While the server is not available, the stream stays open and reconnects. It
/// ends after `204 No Content`, and after a response that is not an event stream.
///
/// It reads when it is polled, and holds at most one event that is not complete and one encoded event.
#[derive(Debug)]
pub struct UpstreamEvents {
    reader: Box<Reader>,
    timestamps: bool,
    /// An event that did not fit into the last write.
    held: Vec<u8>,
    failed: Option<Error>,
}

impl UpstreamEvents {
    pub(crate) fn new(reader: Box<Reader>, timestamps: bool) -> Self {
        Self { reader, timestamps, held: Vec::new(), failed: None }
    }

    fn encode(&self, item: &Item, out: &mut Vec<u8>) {
        match item {
            Item::Message(Message { event, data, id, timestamp, .. }) => encode_event(
                EventRef {
                    timestamp: timestamp.filter(|_| self.timestamps),
                    event: event.as_deref(),
                    data: Some(data),
                    id: id.as_deref(),
                },
                out,
            ),
            Item::Id(id) => encode_id(id, out),
            // Without an empty line, like the `retry` fields of the sse crate.
            Item::Retry(retry) => {
                let field = format!("retry:{}\n", retry.as_millis());
                out.extend_from_slice(field.as_bytes());
            }
            _ => {}
        }
    }
}

impl Events for UpstreamEvents {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let mut out = mem::take(&mut self.held);
        if out.is_empty()
            && let Some(error) = self.failed.take()
        {
            return Poll::Ready(Some(Err(error.into())));
        }
        while out.len() < limit || out.is_empty() {
            match self.reader.poll_item(cx) {
                Poll::Ready(Some(Ok(item))) => {
                    let begin = out.len();
                    self.encode(&item, &mut out);
                    if out.len() > limit && begin > 0 {
                        self.held = out.split_off(begin);
                        break;
                    }
                }
                Poll::Ready(Some(Err(error))) if out.is_empty() => {
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) if out.is_empty() => return Poll::Ready(None),
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(Encoded::trusted(out.into()))))
    }
}
