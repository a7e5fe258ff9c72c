use http::StatusCode;
use tailwater_sse::BoxError;

/// Why a server's event stream can't be had.
///
/// No text of it holds a path, a query, or a header that was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not `http` or `https`, has no host, or has a user in it; or the base of an
    /// [`UpstreamLayer`](crate::UpstreamLayer) has a path or a query.
    #[error("{0} is expected of the URL of an event stream")]
    Url(&'static str),
    /// The path of a request to an [`UpstreamLayer`](crate::UpstreamLayer) is one that a server may read as
    /// [another](crate#paths).
    #[error("the path has {0}, by which the server may read it as another")]
    Path(&'static str),
    /// A last event id with a control character in it, which no header can carry.
    #[error("the last event id can't be sent in a header")]
    LastEventId,
    /// The connector failed.
    #[error("connecting to the server failed")]
    Connect(#[source] BoxError),
    /// There was no connection in time.
    #[error("no connection to the server in time")]
    ConnectTimeout,
    /// The server did not answer in HTTP, or the connection was lost.
    #[error("the exchange with the server failed")]
    Http(#[source] BoxError),
    /// There was no whole head of a response in time.
    #[error("no response of the server in time")]
    ResponseTimeout,
    /// Nothing came on the stream for too long.
    #[error("nothing came from the server in time")]
    IdleTimeout,
    /// The server sent a client that reads no more events away.
    #[error("the server has no content for this client")]
    NoContent,
    /// The server answered with a redirection, which is not followed.
    #[error("the server redirects with {0}")]
    Redirect(StatusCode),
    /// The server answered with another status than 200.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The response is no `text/event-stream`, or is one in a content coding, which nobody asked for.
    #[error("the server answered with {0}, not with an event stream")]
    ContentType(String),
    /// A line or an event was longer than [`max_event_bytes`](crate::EventSourceBuilder::max_event_bytes)
    /// allows.
    #[error("the event stream is not read on")]
    Stream(#[from] tailwater_sse::Error),
}

impl Error {
    /// Whether a gateway says that its server is away for now: a restart behind a load balancer. HTML
    /// 9.2.2 gives up even then, and a stream that was there would be lost to a passing trouble.
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

    /// Whether asking again is futile.
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
