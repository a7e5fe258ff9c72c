//! Connections, as the meters of `tcp` and `tls` bindings count them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::meter::Meter;

/// Counts a connection while a future serves it.
pub(crate) fn counted<F, E>(
    meter: Option<&Arc<Meter>>,
    served: F,
) -> impl Future<Output = Result<(), E>> + use<F, E>
where
    F: Future<Output = Result<(), E>>,
{
    let open = meter.map(OpenConnection::new);
    // An `async` block would keep two places for the future of a connection, which is large.
    served.map(|result| {
        if let (Some(open), Ok(())) = (open, &result) {
            open.close();
        }
        result
    })
}

/// A connection that a meter counts.
#[derive(Debug)]
struct OpenConnection {
    meter: Arc<Meter>,
    is_good: bool,
}

impl OpenConnection {
    fn new(meter: &Arc<Meter>) -> Self {
        meter.open_received();
        meter.open_sent();
        Self { meter: Arc::clone(meter), is_good: false }
    }

    /// The connection has ended by itself.
    fn close(mut self) {
        self.is_good = true;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.meter.end(self.is_good, true);
    }
}

/// A byte stream whose bytes a meter counts, if there is one.
#[derive(Debug)]
pub(crate) struct MeteredIo<Io> {
    io: Io,
    meter: Option<Arc<Meter>>,
}

impl<Io> MeteredIo<Io> {
    pub(crate) fn new(io: Io, meter: Option<&Arc<Meter>>) -> Self {
        Self { io, meter: meter.filter(|meter| meter.records_bytes()).cloned() }
    }

    fn sent(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let (Some(meter), Ok(bytes)) = (&self.meter, &written) {
            meter.add_sent(*bytes as u64);
        }
        Poll::Ready(written)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for MeteredIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if let Some(meter) = &self.meter {
            meter.add_received((buffer.filled().len() - before) as u64);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for MeteredIo<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::config;
    use crate::metrics::family::Value;
    use crate::metrics::meter::Meters;

    #[tokio::test]
    async fn the_bytes_of_a_connection_are_counted_where_they_are_recorded() {
        for (recorded, expected) in [("stream.*", Some([3, 5])), ("stream.opens.sent", None)] {
            let file = format!(
                "name: example
telemetry: {{ metrics: [stream.opens.sent, stream.data.received, stream.data.sent] }}
bindings:
  tcp: {{ type: tcp, kind: server, options: {{ host: a, port: 1 }}, exit: web, telemetry: {{ metrics: ['{recorded}'] }} }}
  web: {{ type: http, kind: server, exit: pages }}
  pages: {{ type: http-filesystem, kind: proxy, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: www }} }}
"
            );
            let parsed = config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap();
            let config = &parsed.namespaces[0];
            let meters = Meters::default();
            let meter = meters.of(config, config.binding("tcp").unwrap());
            let (io, mut peer) = tokio::io::duplex(64);
            let mut io = MeteredIo::new(io, meter.as_ref());
            peer.write_all(b"abc").await.unwrap();
            io.read_exact(&mut [0; 3]).await.unwrap();
            io.write_all(b"abc").await.unwrap();
            let parts = [io::IoSlice::new(b"d"), io::IoSlice::new(b"e")];
            assert_eq!(io.write_vectored(&parts).await.unwrap(), 2);
            let mut families = Vec::new();
            meters.collect(&mut families);
            let of_bytes = families.iter().filter(|family| family.name.starts_with("stream_data"));
            let counted: Vec<_> = of_bytes.map(|family| &family.samples[0].value).collect();
            let expected = expected.into_iter().flatten().map(Value::Integer);
            assert_eq!(counted, expected.collect::<Vec<_>>().iter().collect::<Vec<_>>());
        }
    }
}
