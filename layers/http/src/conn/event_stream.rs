//! An HTTP/1.1 event stream, from the head of the response on.
//!
//! hyper keeps two buffers of 8 KiB for each connection. They are most of the memory of an idle stream:
//! 16 KiB resident with hyper (axum, in the scenario `idle` of `benches/load`). So hyper reads the
//! request only. A response that is an event stream is written here, and ends the connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::SystemTime;

use bytes::{Buf, BufMut, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::config::Config;
use crate::conn::request::OpenBody;
use crate::conn::stage::Next;
use crate::error::{BoxError, Error};
use crate::shutdown::Started;

/// Up to this size data is copied into one buffer with the frame of its chunk. The kernel takes one
/// buffer at less cost than three.
const COPY_BYTES: usize = 1024;

pin_project! {
    /// Writes an event stream to its end, and then closes the connection.
    pub(crate) struct EventStream<Io, B: Body> {
        io: Io,
        #[pin]
        body: OpenBody<B>,
        buffer: WriteBuffer<B::Data>,
        ended: bool,
        flushed: bool,
        #[pin]
        started: Started,
        // The waker that is registered with `started`.
        waker: Option<Waker>,
        window: Option<Pin<Box<Sleep>>>,
        config: Arc<Config>,
    }
}

impl<Io, B: Body> EventStream<Io, B> {
    pub(crate) fn new(io: Io, response: Response<OpenBody<B>>, config: Arc<Config>) -> Self {
        let (parts, body) = response.into_parts();
        let mut buffer = WriteBuffer::default();
        buffer.push(Segment::Bytes(head(parts.status, &parts.headers)));
        let started = config.shutdown.started();
        Self {
            io,
            body,
            buffer,
            ended: false,
            flushed: true,
            started,
            waker: None,
            window: None,
            config,
        }
    }
}

impl<Io, B> Future for EventStream<Io, B>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Next, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        if let Poll::Ready(written) = self.as_mut().poll_write_body(cx) {
            if let Err(Error::Write(error)) = &written {
                self.body.connection().record_error(error);
            }
            return Poll::Ready(written.map(|()| Next::End));
        }
        if self.as_mut().poll_closed(cx).is_ready() {
            return Poll::Ready(Ok(Next::End));
        }
        let this = self.project();
        if this.window.is_none() {
            // A poll of `started` takes a lock that all streams share. A registered waker needs none.
            let registered = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if registered && this.config.shutdown.window_end().is_none() {
                return Poll::Pending;
            }
            let Poll::Ready(end) = this.started.poll(cx) else {
                *this.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            *this.window = Some(Box::pin(sleep_until(end)));
        }
        if let Some(window) = this.window {
            ready!(window.as_mut().poll(cx));
        }
        Poll::Ready(Err(Error::DrainTimeout))
    }
}

impl<Io, B> EventStream<Io, B>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Writes the body to the socket. Ready when all of it is written and the socket is shut down.
    fn poll_write_body(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut this = self.project();
        // A bounded number of rounds: a socket that takes everything must not starve the other tasks.
        for _ in 0..16 {
            while !*this.ended && this.buffer.bytes < this.config.send_buffer_bytes {
                match this.body.as_mut().poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers are dropped: they are for clients that ask, and EventSource does not.
                        if let Ok(data) = frame.into_data() {
                            this.buffer.push_chunk(data);
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Err(Error::Body(error.into())));
                    }
                    Poll::Ready(None) => {
                        *this.ended = true;
                        this.buffer.push(Segment::Bytes(Bytes::from_static(b"0\r\n\r\n")));
                    }
                }
            }
            let io = Pin::new(&mut *this.io);
            if this.buffer.bytes > 0 {
                let written = this.buffer.poll_write(io, cx);
                let waiting = if written.is_ready() { 0 } else { this.buffer.bytes };
                this.body.connection().record_waiting(waiting);
                let count = ready!(written).map_err(Error::Write)?;
                if count == 0 {
                    return Poll::Ready(Err(Error::Write(io::ErrorKind::WriteZero.into())));
                }
                *this.flushed = false;
            } else if !*this.flushed {
                ready!(io.poll_flush(cx)).map_err(Error::Write)?;
                *this.flushed = true;
            } else if *this.ended {
                return io.poll_shutdown(cx).map_err(Error::Write);
            } else {
                return Poll::Pending; // the body wakes the task
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when the client has closed the connection. Bytes that it still sends are dropped: the head
    /// of the response has said that the connection closes.
    fn poll_closed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let mut buffer = [0; 512];
        for _ in 0..16 {
            let mut buffer = ReadBuf::new(&mut buffer);
            let read = ready!(Pin::new(&mut *this.io).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The head of a response with a chunked body that ends the connection.
fn head(status: StatusCode, headers: &HeaderMap) -> Bytes {
    const OURS: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING];
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| !OURS.contains(name)) {
        // HeaderName and HeaderValue have no CR, LF or NUL.
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !headers.contains_key(DATE) {
        let date = httpdate::HttpDate::from(SystemTime::now());
        write!(head, "date: {date}\r\n").expect("a vector takes everything");
    }
    head.extend_from_slice(b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    head.into()
}

/// The bytes that wait to be written.
struct WriteBuffer<D> {
    segments: VecDeque<Segment<D>>,
    bytes: usize,
}

enum Segment<D> {
    Bytes(Bytes),
    Data(D),
}

impl<D> Default for WriteBuffer<D> {
    fn default() -> Self {
        Self { segments: VecDeque::new(), bytes: 0 }
    }
}

impl<D: Buf> WriteBuffer<D> {
    fn push(&mut self, segment: Segment<D>) {
        self.bytes += segment.remaining();
        self.segments.push_back(segment);
    }

    /// Adds a chunk (RFC 9112, 7.1). Empty data is skipped, since an empty chunk ends the body.
    fn push_chunk(&mut self, data: D) {
        let bytes = data.remaining();
        let Some(bits) = bytes.checked_ilog2() else { return };
        let head_bytes = bits as usize / 4 + 3;
        let is_copied = bytes <= COPY_BYTES;
        let mut head = Vec::with_capacity(head_bytes + if is_copied { bytes + 2 } else { 0 });
        write!(head, "{bytes:x}\r\n").expect("a vector takes everything");
        if is_copied {
            head.put(data);
            head.put_slice(b"\r\n");
            self.push(Segment::Bytes(head.into()));
        } else {
            self.push(Segment::Bytes(head.into()));
            self.push(Segment::Data(data));
            self.push(Segment::Bytes(Bytes::from_static(b"\r\n")));
        }
    }

    fn poll_write<Io: AsyncWrite>(
        &mut self,
        io: Pin<&mut Io>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let [segment] = self.segments.as_slices().0
            && segment.chunk().len() == self.bytes
        {
            let count = ready!(io.poll_write(cx, segment.chunk()))?;
            self.advance(count);
            return Poll::Ready(Ok(count));
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let mut filled = 0;
        for segment in &self.segments {
            let Some(rest) = slices.get_mut(filled..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let count = segment.chunks_vectored(rest);
            let bytes: usize = rest.iter().take(count).map(|slice| slice.len()).sum();
            filled += count;
            if bytes < segment.remaining() {
                break; // all of this segment must be written before the next one
            }
        }
        let count = ready!(io.poll_write_vectored(cx, slices.get(..filled).unwrap_or_default()))?;
        self.advance(count);
        Poll::Ready(Ok(count))
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(segment) = self.segments.front_mut() {
            let step = count.min(segment.remaining());
            segment.advance(step);
            count -= step;
            if segment.has_remaining() {
                return;
            }
            self.segments.pop_front();
        }
        self.segments = VecDeque::new(); // frees the memory: the stream may be idle for hours
    }
}

impl<D: Buf> Buf for Segment<D> {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::Data(data) => data.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::Data(data) => data.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.chunks_vectored(slices),
            Self::Data(data) => data.chunks_vectored(slices),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Data(data) => data.advance(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio::net::TcpStream;

    use super::*;
    use crate::serve::WriteDeadline;

    /// The allocator has no size between 256 and 320. The program has a pointer beside the socket.
    #[test]
    fn an_idle_event_stream_fits_256_bytes() {
        type Boxed = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
        let size = size_of::<EventStream<(WriteDeadline<TcpStream>, usize), Boxed>>();
        assert!(size <= 256, "{size}");
    }
}
