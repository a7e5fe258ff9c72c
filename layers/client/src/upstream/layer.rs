use std::sync::Arc;

use http::{HeaderName, Uri};
use tower_layer::Layer;

use super::Upstream;
use crate::Error;
use crate::event_source::check_server;
use crate::options::{Options, define_option_methods};

/// Makes a source of event streams, as the sse crate serves them, of a connector to a server that has them.
///
/// A server that is lost is asked again with what the request that opened the stream said, headers
/// included: see [`UpstreamLayer::forward_headers`] for tokens that expire meanwhile.
///
/// ```
/// use http::HeaderName;
/// use tailwater_client::{TcpConnector, UpstreamLayer};
/// use tailwater_sse::SseLayer;
/// use tower::ServiceBuilder;
///
/// let upstream = UpstreamLayer::new("http://events.internal:8080".parse()?)?
///     .strip_query(["access_token"])
///     .forward_headers([HeaderName::from_static("x-tenant")]);
/// let service = ServiceBuilder::new()
///     .layer(SseLayer::new())
///     .layer(upstream)
///     .service(TcpConnector::new());
/// # drop(service);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct UpstreamLayer {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) base: Uri,
    pub(crate) options: Arc<Options>,
    pub(crate) stripped: Vec<String>,
    pub(crate) forwarded: Vec<HeaderName>,
}

impl UpstreamLayer {
    /// Streams of the server `base`: scheme, host and port.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(base: Uri) -> Result<Self, Error> {
        check_server(&base)?;
        if base.path_and_query().is_some_and(|path| path != "/") {
            return Err(Error::Url("no path and no query"));
        }
        let options = Arc::default();
        let settings = Settings { base, options, stripped: Vec::new(), forwarded: Vec::new() };
        Ok(Self { settings: Arc::new(settings) })
    }

    /// Query parameters, by their decoded names, that do not go to the server: those that a guard takes
    /// credentials from. Default: all go but those of the last event id, which becomes a header.
    pub fn strip_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        settings.stripped.extend(names.into_iter().map(Into::into));
        self
    }

    /// Headers of the request that go to the server. Default: none, so that credentials in headers and
    /// cookies stay here unless they are named. What is about a connection never goes on.
    ///
    /// They are those of the request that opened the stream, also when a lost server is asked again: a
    /// token that was handed on may have expired by then. The server's 401 ends the stream then, and the
    /// client comes again, with a token that is fresh.
    pub fn forward_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        Arc::make_mut(&mut self.settings).forwarded.extend(names);
        self
    }

    define_option_methods!();

    fn options_mut(&mut self) -> &mut Options {
        Arc::make_mut(&mut Arc::make_mut(&mut self.settings).options)
    }
}

impl<C> Layer<C> for UpstreamLayer {
    type Service = Upstream<C>;

    fn layer(&self, connector: C) -> Upstream<C> {
        Upstream::new(connector, Arc::clone(&self.settings))
    }
}
