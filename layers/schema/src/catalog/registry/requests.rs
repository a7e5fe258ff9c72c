use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use crate::MAX_SCHEMA_BYTES;
use crate::catalog::registry::FetchError;
use crate::catalog::registry::error::MAX_REDIRECTS;
use crate::catalog::registry::escape::chain;
use crate::catalog::registry::protocol::{Answer, Verdict, verdict};
use crate::catalog::registry::redirect::redirected;
use crate::catalog::registry::shared::MAX_FETCHES;

/// How much longer than to its head, and than without progress, an answer may take in all.
const MAX_TIMEOUTS: u32 = 12;
/// How long a connection without a request stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that an answer may ask to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, FetchError>;

pub(crate) type TransportFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, FetchError>> + Send + 'a>>;

/// Sends one request. It follows no redirects.
pub(crate) trait Transport: Send + Sync {
    fn get(&self, uri: Uri, headers: HeaderMap) -> TransportFuture<'_>;
}

/// Requests to a registry, within the limits.
pub(crate) struct Requests {
    pub(crate) transport: Arc<dyn Transport>,
    /// The headers of each request, credentials included.
    pub(crate) headers: HeaderMap,
    /// How long the head of an answer may take, and then each further part of it.
    pub(crate) timeout: Duration,
}

impl Requests {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        headers: HeaderMap,
        timeout: Duration,
    ) -> Self {
        Self { transport, headers, timeout }
    }

    /// An answer with status 200.
    pub(crate) async fn get(&self, uri: Uri) -> Result<Answer, FetchError> {
        within(self.timeout.saturating_mul(MAX_TIMEOUTS), self.follow(uri)).await?
    }

    async fn follow(&self, mut uri: Uri) -> Result<Answer, FetchError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.transport.get(uri.clone(), self.headers.clone());
            let (head, body) = within(self.timeout, response).await??.into_parts();
            match redirected(&uri, head.status, &head.headers) {
                Some(target) => uri = target.map_err(FetchError::CrossOrigin)?,
                None => {
                    let body = self.read(&head.headers, body).await?;
                    return answer(head.status, head.headers, body);
                }
            }
        }
        Err(FetchError::TooManyRedirects)
    }

    /// Reads an answer up to the limit.
    async fn read(&self, headers: &HeaderMap, mut body: AnswerBody) -> Result<Bytes, FetchError> {
        let declared = headers.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > MAX_SCHEMA_BYTES as u64) {
            return Err(FetchError::TooLarge);
        }
        let mut text = BytesMut::new();
        while let Some(frame) = within(self.timeout, body.frame()).await? {
            let Ok(data) = frame?.into_data() else { continue };
            if text.len() + data.len() > MAX_SCHEMA_BYTES {
                return Err(FetchError::TooLarge);
            }
            text.extend_from_slice(&data);
        }
        Ok(text.freeze())
    }
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, FetchError> {
    timeout(time, future).await.map_err(|_| FetchError::Timeout(time))
}

fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Result<Answer, FetchError> {
    if status == StatusCode::OK {
        // Apicurio's answer is the schema itself, of any content type but this.
        return if is_page(&headers) {
            Err(FetchError::Foreign)
        } else {
            Ok(Answer { headers, body })
        };
    }
    if status.is_success() || status.is_redirection() {
        return Err(FetchError::Format("schema"));
    }
    let verdict = is_about_the_schema(status).then(|| verdict(status.as_u16(), &body)).flatten();
    Err(match verdict {
        Some(Verdict::NoSchema(code)) => FetchError::NoSchema { status, code },
        Some(Verdict::NoApi) => FetchError::NoApi { status },
        None => FetchError::Status { status, retry_after: retry_after(&headers) },
    })
}

/// Whether a status says something about the schema, if the answer is the registry's.
pub(crate) fn is_about_the_schema(status: StatusCode) -> bool {
    let is_about_the_client = matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429);
    status.is_client_error() && !is_about_the_client
}

fn is_page(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| essence.eq_ignore_ascii_case(page))
}

/// RFC 9110, 10.2.3. A date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Requests over HTTP/1.1, with or without TLS.
pub(crate) struct HttpTransport {
    /// Made with the first request: reading the certificates of the system takes its time.
    client: RwLock<Option<HttpsClient>>,
    is_https: bool,
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl HttpTransport {
    pub(crate) fn new(is_https: bool, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { client: RwLock::new(tls.map(|config| client(&config))), is_https }
    }

    /// Replaces the configuration for new connections, and closes idle ones.
    pub(crate) fn set_tls(&self, config: &ClientConfig) {
        let client = client(config);
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
    }

    async fn client(&self) -> Result<HttpsClient, FetchError> {
        let known = || self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known() {
            return Ok(client);
        }
        let config = if self.is_https {
            let config = spawn_blocking(|| trusting(system_roots())).await;
            config.map_err(|_| FetchError::Stopped)?
        } else {
            trusting(RootCertStore::empty())
        };
        let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
        Ok(current.get_or_insert_with(|| client(&config)).clone())
    }
}

impl Transport for HttpTransport {
    fn get(&self, uri: Uri, headers: HeaderMap) -> TransportFuture<'_> {
        Box::pin(async move {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = uri;
            *request.headers_mut() = headers;
            let client = self.client().await?;
            let mut response = client.request(request.clone()).await;
            // A registry may close an idle connection at the moment when it is used again.
            if response.as_ref().is_err_and(|error| !error.is_connect()) {
                response = client.request(request).await;
            }
            let response = response.map_err(|error| transport_error(&error))?;
            Ok(response.map(|body| body.map_err(|error| transport_error(&error)).boxed_unsync()))
        })
    }
}

fn transport_error(error: &(dyn std::error::Error + 'static)) -> FetchError {
    FetchError::Transport(chain(error))
}

fn client(config: &ClientConfig) -> HttpsClient {
    let mut config = config.clone();
    // The connector sets its own, and demands that there is none.
    config.alpn_protocols.clear();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_FETCHES)
        .build(connector)
}

fn trusting(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(error = %chain(error), "root certificates of the system could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers: some are secrets, and the caller may not have said so.
        f.debug_struct("Requests").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
