use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_core::stream::FusedStream;
use http::Uri;
use tailwater_sse::{BoxError, Item, Message};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::exchange::{EVENT_STREAM, Target};
use crate::options::{Options, define_option_methods};
use crate::reader::Reader;
use crate::{Error, TcpConnector};

/// A client of an event stream. It reconnects whenever the stream is lost and resumes after the last event,
/// as the `EventSource` of browsers does (WHATWG HTML 9.2).
///
/// It is a `Stream` of events without a task: it reads from the connection when it is polled. After a
/// connection has failed or ended, it waits for the reconnection time and makes another one. It returns an
/// error and ends if the response is not an event stream, if it is a redirect (browsers follow it), or if
/// an event is too long. It ends after `204 No Content`.
///
/// It has one connection at a time, and closes it when it is dropped.
#[derive(Debug)]
pub struct EventSource {
    reader: Reader,
    ended: bool,
}

impl EventSource {
    /// Configures an event source for `uri`, whose scheme is `http` or `https`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::header::{AUTHORIZATION, HeaderValue};
    /// use tailwater_client::EventSource;
    ///
    /// let prices = EventSource::builder("http://localhost:8080/prices".parse()?)
    ///     .header(AUTHORIZATION, HeaderValue::from_static("Bearer eyJhbGciOi"))
    ///     .idle_timeout(Duration::from_secs(45))
    ///     .build()?;
    /// # drop(prices);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(uri: Uri) -> EventSourceBuilder {
        EventSourceBuilder {
            uri,
            connector: TcpConnector::new(),
            last_event_id: Bytes::new(),
            options: Options::default(),
        }
    }

    /// The next event; `None` after an error, or after `204 No Content`. Waits for the event over any
    /// number of connections. Dropping the future loses nothing.
    ///
    /// # Errors
    /// All errors after which no other attempt is made: see [the
    /// table](crate#what-ends-a-stream-and-what-does-not).
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The last event id, after which the next connection begins. Empty if there is none.
    pub fn last_event_id(&self) -> &[u8] {
        self.reader.last_event_id()
    }

    /// The current reconnection time: the last one that the server sent, within the bounds of
    /// `retry_bounds`.
    pub fn retry(&self) -> Duration {
        self.reader.retry()
    }
}

/// Options of an [`EventSource`]: result of [`EventSource::builder`].
#[derive(Clone)]
#[must_use]
pub struct EventSourceBuilder<C = TcpConnector> {
    uri: Uri,
    connector: C,
    last_event_id: Bytes,
    options: Options,
}

impl<C> EventSourceBuilder<C> {
    /// Sets the connector: a `Service<Uri>` whose response is a connection. `https` needs one for TLS.
    /// Default: [`TcpConnector::new`].
    pub fn connector<D>(self, connector: D) -> EventSourceBuilder<D> {
        let Self { uri, last_event_id, options, .. } = self;
        EventSourceBuilder { uri, connector, last_event_id, options }
    }

    /// Sets the id after which the stream is to begin. Default: none. An empty id is none.
    pub fn last_event_id(mut self, id: impl Into<Bytes>) -> Self {
        self.last_event_id = id.into();
        self
    }

    define_option_methods!();

    fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Makes the event source. It connects when it is polled first.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn build(self) -> Result<EventSource, Error>
    where
        C: Service<Uri> + Clone + Send + 'static,
        C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
    {
        let Self { uri, connector, last_event_id, options } = self;
        check_server(&uri)?;
        let target = Target::new(uri, EVENT_STREAM, options.headers.clone());
        let reader = Reader::new(connector, target, &last_event_id, Arc::new(options));
        Ok(EventSource { reader, ended: false })
    }
}

/// Leaves out path, query and the values of headers, which may hold credentials.
impl<C> fmt::Debug for EventSourceBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSourceBuilder")
            .field("server", &self.uri.authority())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Stream for EventSource {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.reader.poll_item(cx)) {
                Some(Ok(Item::Message(message))) => Some(Ok(message)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => {
                    self.ended = true;
                    None
                }
            });
        }
    }
}

impl FusedStream for EventSource {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

/// Accepts a URL with `http` or `https` and a host, without user and password.
pub(crate) fn check_server(uri: &Uri) -> Result<(), Error> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Error::Url("`http` or `https`"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(Error::Url("no user")),
        Some(authority) if !authority.host().is_empty() => Ok(()),
        _ => Err(Error::Url("a host")),
    }
}
