use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, StatusCode, Uri};
use tailwater_sse::{BoxError, Rejection, Subscription};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::Error;
use crate::exchange::{EVENT_STREAM, Target};
use crate::reader::Reader;
use crate::upstream::settings::Settings;
use crate::upstream::{UpstreamEvents, UpstreamFuture, forward};

/// Service of [`UpstreamLayer`](crate::UpstreamLayer): opens a stream of the server for each subscription.
///
/// Its response is ready when the server has answered. Its rejections are `502 Bad Gateway` if the response
/// is not an event stream or the server is not available, `204 No Content` if the server sent that, `400
/// Bad Request` if the last event id cannot be sent in a header, and `404 Not Found` if the server might
/// [interpret the path as another one](crate#paths).
#[derive(Clone, Debug)]
pub struct Upstream<C> {
    connector: C,
    settings: Arc<Settings>,
}

impl<C> Upstream<C> {
    pub(crate) fn new(connector: C, settings: Arc<Settings>) -> Self {
        Self { connector, settings }
    }

    /// A reference to the connector.
    pub fn get_ref(&self) -> &C {
        &self.connector
    }

    /// A mutable reference to the connector. Open streams keep the connector that they have.
    pub fn get_mut(&mut self) -> &mut C {
        &mut self.connector
    }

    /// Takes the connector out.
    pub fn into_inner(self) -> C {
        self.connector
    }
}

impl<C> Service<Subscription> for Upstream<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    type Response = UpstreamEvents;
    type Error = Rejection;
    type Future = UpstreamFuture;

    /// Always ready: each stream waits for its own clone of the connector.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, subscription: Subscription) -> UpstreamFuture {
        let Settings { base, options, stripped, forwarded } = &*self.settings;
        let parts = subscription.parts();

        if let Some(what) = forward::ambiguity(parts.uri.path()) {
            let reason = Error::Path(what);
            return UpstreamFuture::rejected(Rejection::new(StatusCode::NOT_FOUND, reason));
        }
        let mut uri = base.clone().into_parts();
        uri.path_and_query = forward::path_and_query(&parts.uri, stripped);
        let Ok(uri) = Uri::from_parts(uri) else {
            let reason = Error::Url("a path");
            return UpstreamFuture::rejected(Rejection::new(StatusCode::BAD_REQUEST, reason));
        };
        let last_event_id = subscription.last_event_id().map_or(&[][..], |id| id);
        if HeaderValue::from_bytes(last_event_id).is_err() {
            let reason = Error::LastEventId;
            return UpstreamFuture::rejected(Rejection::new(StatusCode::BAD_REQUEST, reason));
        }

        let mut headers = options.headers.clone();
        forward::headers(&parts.headers, forwarded, &mut headers);
        let timestamps = subscription.timestamps();
        let accept = if timestamps {
            HeaderValue::from_static("text/event-stream;ext=timestamp")
        } else {
            EVENT_STREAM
        };
        let target = Target::new(uri, accept, headers);
        let reader =
            Reader::new(self.connector.clone(), target, last_event_id, Arc::clone(options));
        UpstreamFuture::opening(reader, timestamps)
    }
}
