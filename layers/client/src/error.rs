use http::StatusCode;
use tailwater_sse::BoxError;

/// The reason why an event stream of a server cannot be opened or read.
///
/// Its texts contain no path, no query and no request header, which may hold credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The scheme of the URL is neither `http` nor `https`, or the URL has no host, or it has a user; or
    /// the base URL of an [`UpstreamLayer`](crate::UpstreamLayer) has a path or a query.
    #[error("{0} is expected of the URL of an event stream")]
    Url(&'static str),
    /// A server may interpret the path of a request to an [`UpstreamLayer`](crate::UpstreamLayer) as
    /// [another one](crate#paths).
    #[error("the path has {0}, so the server may interpret it as another path")]
    Path(&'static str),
    /// The last event id contains a control character, so it cannot be sent in a header.
    #[error("the last event id can't be sent in a header")]
    LastEventId,
    /// The connector failed.
    #[error("connecting to the server failed")]
    Connect(#[source] BoxError),
    /// The connector took longer than `connect_timeout`.
    #[error("timed out connecting to the server")]
    ConnectTimeout,
    /// The response is not HTTP, or the connection was lost.
    #[error("the exchange with the server failed")]
    Http(#[source] BoxError),
    /// The head of the response took longer than `response_timeout`.
    #[error("timed out waiting for the response of the server")]
    ResponseTimeout,
    /// No byte arrived on the stream for longer than `idle_timeout`.
    #[error("the server sent nothing for too long")]
    IdleTimeout,
    /// The server answered `204 No Content`: the client must not reconnect.
    #[error("the server answered 204 No Content")]
    NoContent,
    /// The server answered with a redirect, which is not followed.
    #[error("the server redirects with {0}")]
    Redirect(StatusCode),
    /// The status of the response is not 200.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The content type of the response is not `text/event-stream`, or the response has a content coding,
    /// which the request did not accept.
    #[error("the server answered with {0}, not with an event stream")]
    ContentType(String),
    /// A line or an event is longer than [`max_event_bytes`](crate::EventSourceBuilder::max_event_bytes).
    #[error("the event stream cannot be read")]
    Stream(#[from] tailwater_sse::Error),
}

impl Error {
    /// Whether a gateway reports that its server is not available, for example during a restart. HTML 9.2.2
    /// gives up in this case, so that a short outage would end a stream.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Status(
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            )
        )
    }

    /// Whether another attempt would fail, too.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Connect(_)
                | Self::ConnectTimeout
                | Self::Http(_)
                | Self::ResponseTimeout
                | Self::IdleTimeout
        )
    }
}
