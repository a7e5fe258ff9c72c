use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

use crate::escape::chain;
use crate::{Error, Fetch, FetchFuture, MAX_KEY_SET_BYTES};

const ACCEPT: &str = "application/jwk-set+json, application/json";
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Fetches key sets over HTTP/1.1, with or without TLS. It keeps no connection open.
///
/// The first fetch reads the root certificates of the system. Clones share them.
#[derive(Clone)]
pub struct HttpFetch {
    shared: Arc<Shared>,
}

struct Shared {
    /// The root certificates in addition to those of the system.
    roots: RootCertStore,
    client: OnceLock<HttpsClient>,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl HttpFetch {
    /// A transport that trusts the root certificates of the system.
    #[must_use]
    pub fn new() -> Self {
        Self::trusting(RootCertStore::empty())
    }

    /// A transport that trusts these root certificates in addition to those of the system.
    ///
    /// # Errors
    /// [`Error::RootCertificate`] for the first that cannot be parsed.
    pub fn with_root_certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            roots.add(certificate).map_err(|_| Error::RootCertificate(index + 1))?;
        }
        Ok(Self::trusting(roots))
    }

    fn trusting(roots: RootCertStore) -> Self {
        Self { shared: Arc::new(Shared { roots, client: OnceLock::new() }) }
    }
}

impl Shared {
    async fn client(self: Arc<Self>) -> Result<HttpsClient, JoinError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // Reading the certificates of the system blocks for milliseconds.
        spawn_blocking(move || self.client.get_or_init(|| client(self.roots.clone())).clone()).await
    }
}

fn client(mut roots: RootCertStore) -> HttpsClient {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(error = %chain(error), "root certificates of the system could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

impl Default for HttpFetch {
    fn default() -> Self {
        Self::new()
    }
}

impl Fetch for HttpFetch {
    fn fetch(&self, uri: &Uri) -> FetchFuture {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        // Firewalls of some issuers answer 403 to requests without a user agent.
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (head, body) = shared.client().await?.request(request).await?.into_parts();
            let body = Limited::new(body, MAX_KEY_SET_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        })
    }
}

impl fmt::Debug for HttpFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFetch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_certificates_of_the_system_are_read_with_the_first_fetch_and_once() {
        let fetch = HttpFetch::new();
        let clone = fetch.clone();
        assert!(fetch.shared.client.get().is_none());
        // No server listens on port 0.
        assert!(clone.fetch(&Uri::from_static("http://127.0.0.1:0/")).await.is_err());
        let client: *const _ = fetch.shared.client.get().expect("read");
        assert!(fetch.fetch(&Uri::from_static("http://127.0.0.1:0/")).await.is_err());
        assert!(std::ptr::eq(client, fetch.shared.client.get().expect("read")));
    }
}
