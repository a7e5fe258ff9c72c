use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderName, Uri};
use tower_layer::Layer;

use crate::Error;
use crate::event_source::check_server;
use crate::options::{Options, define_option_methods};
use crate::upstream::Upstream;
use crate::upstream::settings::Settings;

/// Makes a source for `SseLayer` of a connector: it forwards the event streams of an upstream server.
///
/// After the connection to the server is lost, the request is repeated with the same headers. See
/// [`UpstreamLayer::forward_headers`] for tokens that have expired meanwhile.
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

impl UpstreamLayer {
    /// A layer for the server with this scheme, host and port.
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

    /// Adds query parameters, by their decoded names, that are not forwarded: name those from which a guard
    /// takes credentials. Default: all are forwarded except for those of the last event id, which is sent
    /// as a header.
    pub fn strip_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let settings = Arc::make_mut(&mut self.settings);
        settings.stripped.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds request headers that are forwarded. Default: none, so that no credentials and no cookies are
    /// forwarded. Headers that belong to a connection are never forwarded.
    ///
    /// After the connection to the server is lost, the headers of the first request are sent again. If a
    /// token in them has expired, the server answers 401, which ends the stream, and the client reconnects
    /// with a new token.
    pub fn forward_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        Arc::make_mut(&mut self.settings).forwarded.extend(names);
        self
    }

    /// The number of times that a stream of the server was requested again, since the layer was made. All clones
    /// of the layer and all of its services count together.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.settings.options.reconnects.load(Relaxed)
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
