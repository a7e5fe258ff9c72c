//! `sse` bindings of kind `client`, and the `http` and `tcp` clients below them: they proxy event streams of
//! other servers.

use std::sync::Arc;
use std::time::Duration;

use ::http::uri::Scheme;
use ::http::{HeaderName, HeaderValue, Request, Uri};
use hyper::body::Incoming;
use tailwater_client::{TcpConnector, UpstreamLayer, Version};
use tailwater_jwt::Session;
use tailwater_sse::SseLayer;
use tailwater_tls::ConnectLayer;
use tower::{Layer as _, ServiceBuilder};

use crate::config::{Authorization, Binding, HttpVersion, Kind, plan};
use crate::models::ContentLayer;
use crate::open_files::Bounded;
use crate::stack::guard::credentials;
use crate::stack::{Error, HttpService, SseOptions, StackBuilder, boxed, headers};
use crate::streams::TrackLayer;

impl<'c> StackBuilder<'c> {
    /// Streams of the server of an `http` client, for a `sse` client. `streams` comes from the `sse` binding above.
    /// `reconnect` is the delay before a lost stream is requested again.
    pub(super) fn upstream(
        &mut self,
        binding: &Binding,
        client: &plan::HttpClient<'c>,
        streams: SseOptions,
        reconnect: Duration,
    ) -> Result<HttpService, Error> {
        // The streams are those of the `sse` binding above.
        self.routes(None, &client.routes, headers, |this, route| {
            let frames = this.frames(streams, Box::default());
            let content = ContentLayer::new(this.event_models(streams));
            let connected = this.connected(client, &route.next, frames, content, reconnect);
            let (service, layer) = connected?;
            let label = this.label(&binding.name);
            this.counted.upstreams.push((label, layer));
            Ok(service)
        })
    }

    fn connected(
        &mut self,
        planned: &plan::HttpClient<'c>,
        upstream: &plan::Upstream<'c>,
        frames: SseLayer,
        content: ContentLayer,
        reconnect: Duration,
    ) -> Result<(HttpService, UpstreamLayer), Error> {
        let binding = &planned.binding.name;
        let failed = |source| Error::Upstream { binding: binding.clone(), source };
        let client = planned.options;
        let (version, alpn) = match client.versions.as_slice() {
            [HttpVersion::H2] => (Version::Http2, "h2"),
            _ => (Version::Http1, "http/1.1"),
        };
        let tls = upstream.connection.tls();
        let encrypting = tls.map(|tls| self.encrypting(tls, alpn)).transpose()?;
        let address = upstream.address.clone();
        let authority = client.authority.as_ref().unwrap_or(&address).clone();
        let scheme = if encrypting.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let base = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        // The configuration has checked these parts. The layer would reject an empty URI.
        let base = base.unwrap_or_default();

        // Parameters in which a guard looks for credentials are not forwarded. `authorization` can forward the
        // credentials in another place.
        let guards = self.config.bindings.iter().filter_map(|binding| match &binding.kind {
            Kind::HttpServer(server) => server.authorization.as_ref(),
            _ => None,
        });
        let hidden = guards.clone().flat_map(|guard| &guard.query).map(|(name, _)| name.clone());
        let handed = client.authorization.as_ref();
        let names = handed.into_iter().flat_map(|authorization| &authorization.headers);
        let names: Vec<HeaderName> = names.filter_map(|(name, _)| name.parse().ok()).collect();
        let layer = UpstreamLayer::new(base)
            .map_err(failed)?
            .version(version)
            .retry(reconnect)
            .strip_query(hidden)
            .forward_headers(names);
        let overrides = client.overrides.iter().cloned();
        let layer = overrides.fold(layer, |layer, (name, value)| layer.header(name, value));
        let hand_on = HandOn::new(handed);
        let service = ServiceBuilder::new()
            .map_request(move |request| hand_on.hand_on(request))
            .layer(TrackLayer::new(&self.streams, |_| None))
            .layer(frames)
            .layer(content)
            .layer(layer.clone());
        let tcp = TcpConnector::new().address(address);
        // Each stream also has a connection to the upstream server.
        let places = &self.upstream;
        let service = match encrypting {
            Some(config) => {
                let above = ConnectLayer::new(config).layer(tcp);
                boxed(Bounded::new(service.service(above), places))
            }
            None => boxed(Bounded::new(service.service(tcp), places)),
        };
        Ok((service, layer))
    }
}

/// The credentials of a request, kept for the upstream server.
#[derive(Clone)]
struct Presented(Arc<str>);

impl StackBuilder<'_> {
    /// Keeps the credentials of requests if an `http` client forwards those of this guard. The guard removes
    /// them from the request.
    pub(super) fn kept(
        &self,
        authorization: &Authorization,
    ) -> Result<impl Fn(Request<Incoming>) -> Request<Incoming> + Clone + use<>, Error> {
        let hands_on = |kind: &Kind| match kind {
            Kind::HttpClient(client) => client
                .authorization
                .as_ref()
                .is_some_and(|found| found.guard == authorization.guard),
            _ => false,
        };
        let wanted = self.config.bindings.iter().any(|binding| hands_on(&binding.kind));
        let credentials = wanted.then(|| credentials(authorization)).transpose()?;
        Ok(move |mut request: Request<Incoming>| {
            let found = credentials
                .as_ref()
                .and_then(|credentials| credentials.find(request.headers(), request.uri()));
            if let Some(found) = found.map(|found| Presented(found.into())) {
                request.extensions_mut().insert(found);
            }
            request
        })
    }
}

/// Forwards the credentials of a request to the upstream server, but only those that the guard has verified.
#[derive(Clone)]
struct HandOn {
    guard: Arc<str>,
    to: Arc<[(HeaderName, String)]>,
}

impl HandOn {
    fn new(to: Option<&Authorization>) -> Self {
        let guard = to.map(|to| to.guard.as_str()).unwrap_or_default().into();
        let headers = to.into_iter().flat_map(|to| &to.headers);
        let headers = headers
            .filter_map(|(name, pattern)| Some((name.parse().ok()?, pattern.clone())))
            .collect();
        Self { guard, to: headers }
    }

    fn hand_on(&self, mut request: Request<Incoming>) -> Request<Incoming> {
        let session = request.extensions().get::<Session>();
        let good = session.is_some_and(|session| *session.guard_name() == *self.guard);
        let presented = request.extensions_mut().remove::<Presented>().filter(|_| good);
        for (name, pattern) in &*self.to {
            // A client must not set these headers itself.
            request.headers_mut().remove(name);
            let value =
                presented.as_ref().map(|presented| pattern.replace("{credentials}", &presented.0));
            if let Some(Ok(mut value)) = value.map(HeaderValue::try_from) {
                value.set_sensitive(true);
                request.headers_mut().insert(name, value);
            }
        }
        request
    }
}
