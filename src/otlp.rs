//! Exporters of type `otlp`: they push metrics and logs to a collector, as JSON over HTTP/1.1.
//!
//! docs/internals/decisions/own-otlp.md says why no crate does it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use ::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use ::http::{HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tailwater_client::TcpConnector;
use tailwater_sse::BoxError;
use tailwater_tls::{ClientConfig, ConnectLayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tower::{Layer as _, ServiceExt as _};
use tracing::{info, warn};

use crate::config::{self, Signal};
use crate::metrics::Metrics;
use crate::telemetry::error_line;

mod json;
pub(crate) mod records;

use self::records::Records;

/// The time that a collector has to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// The time between two warnings while a collector takes nothing.
const TOLD_AGAIN: Duration = Duration::from_secs(5 * 60);
/// The maximum number of log records of a push.
const MOST_RECORDS: usize = 512;

/// What an exporter has counted.
#[derive(Debug, Default)]
pub(crate) struct ExporterCounts {
    failures: AtomicU64,
}

/// An exporter.
#[derive(Debug)]
pub(crate) struct Exporter {
    name: String,
    options: config::Otlp,
    /// `attributes` of `telemetry`.
    attributes: Vec<(String, String)>,
    tls: Option<ClientConfig>,
    counts: Arc<ExporterCounts>,
    records: Arc<Records>,
}

/// The counters of an exporter, for metrics.
#[derive(Clone, Debug)]
pub(crate) struct ExporterHandle {
    pub(crate) name: String,
    counts: Arc<ExporterCounts>,
    records: Arc<Records>,
}

impl ExporterHandle {
    /// The number of pushes that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.counts.failures.load(Relaxed)
    }

    /// The number of log records that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.records.dropped()
    }
}

impl Exporter {
    /// An exporter of a namespace with these attributes. `tls` is that of an `https` location.
    pub(crate) fn new(
        name: &str,
        options: &config::Otlp,
        attributes: &[(String, String)],
        tls: Option<ClientConfig>,
    ) -> Self {
        let records = Arc::<Records>::default();
        if options.signals.contains(&Signal::Logs) {
            records::add(&records);
        }
        Self {
            name: name.to_owned(),
            options: options.clone(),
            attributes: attributes.to_vec(),
            tls,
            counts: Arc::default(),
            records,
        }
    }

    pub(crate) fn handle(&self) -> ExporterHandle {
        let counts = Arc::clone(&self.counts);
        let records = Arc::clone(&self.records);
        ExporterHandle { name: self.name.clone(), counts, records }
    }

    /// Pushes until the future is dropped.
    pub(crate) async fn run(self, metrics: Arc<Metrics>) {
        tokio::join!(self.push_metrics(&metrics), self.push_logs());
    }

    async fn push_metrics(&self, metrics: &Arc<Metrics>) {
        if !self.options.signals.contains(&Signal::Metrics) {
            return;
        }
        let mut trouble = Trouble::new("metrics");
        loop {
            self.pause(&trouble).await;
            let families = metrics.collect().await;
            let now = SystemTime::now();
            let body = json::metrics(&families, &self.attributes, metrics.started(), now);
            let result = self.push(&self.options.metrics_path, &body).await;
            self.told(&mut trouble, &result);
        }
    }

    async fn push_logs(&self) {
        if !self.options.signals.contains(&Signal::Logs) {
            return;
        }
        let mut trouble = Trouble::new("logs");
        loop {
            self.pause(&trouble).await;
            let mut most = MOST_RECORDS;
            loop {
                let records = self.records.first(most);
                if records.is_empty() {
                    break;
                }
                let body = json::logs(&records, &self.attributes);
                let result = self.push(&self.options.logs_path, &body).await;
                let refused = result.as_ref().err().and_then(|error| error.downcast_ref());
                match refused.map(|Refused(status)| *status) {
                    Some(StatusCode::PAYLOAD_TOO_LARGE) if records.len() > 1 => {
                        most = records.len() / 2;
                        continue;
                    }
                    // The same records would be refused for ever, and all others would wait behind them.
                    Some(
                        StatusCode::BAD_REQUEST
                        | StatusCode::PAYLOAD_TOO_LARGE
                        | StatusCode::UNPROCESSABLE_ENTITY,
                    ) => self.records.drop_first(records.len()),
                    _ if result.is_ok() => self.records.remove(records.len()),
                    _ => {}
                }
                self.told(&mut trouble, &result);
                if result.is_err() {
                    break;
                }
            }
        }
    }

    async fn pause(&self, trouble: &Trouble) {
        let interval = self.options.interval;
        let pause = if trouble.told.is_some() { interval.min(RETRY) } else { interval };
        sleep_until(Instant::now() + pause).await;
    }

    /// Logs what a push came to, and counts failures.
    fn told(&self, trouble: &mut Trouble, result: &Result<(), BoxError>) {
        let location = self.options.location.as_str();
        let signal = trouble.signal;
        match result {
            Ok(()) => {
                if trouble.told.take().is_some() {
                    info!(location, signal, "telemetry is taken again");
                }
            }
            Err(error) => {
                self.counts.failures.fetch_add(1, Relaxed);
                let now = Instant::now();
                if trouble.told.is_none_or(|told| now.duration_since(told) >= TOLD_AGAIN) {
                    trouble.told = Some(now);
                    let error = error_line(&**error);
                    warn!(location, signal, error, "telemetry is not taken");
                }
            }
        }
    }

    async fn push(&self, path: &str, body: &Value) -> Result<(), BoxError> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(body.to_string().as_bytes())?;
        let body = gzip.finish()?;
        let uri: Uri = format!("{}{path}", self.options.location).parse()?;
        match timeout(TIMEOUT, self.send(uri, body)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs()).into()),
        }
    }

    async fn send(&self, uri: Uri, body: Vec<u8>) -> Result<(), BoxError> {
        let tcp = TcpConnector::new();
        let status = match &self.tls {
            Some(tls) => {
                let connector = ConnectLayer::new(tls.clone()).layer(tcp);
                self.post(connector.oneshot(uri.clone()).await?, uri, body).await?
            }
            None => self.post(tcp.oneshot(uri.clone()).await?, uri, body).await?,
        };
        if status.is_success() {
            return Ok(());
        }
        Err(Refused(status).into())
    }

    async fn post<Io>(&self, io: Io, uri: Uri, body: Vec<u8>) -> Result<StatusCode, BoxError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        // It ends with this future.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let host = uri.authority().map_or("", |authority| authority.as_str()).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip")
            .header(USER_AGENT, concat!("tailwater/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.options.authorization {
            let mut value = HeaderValue::from_str(authorization.reveal())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        Ok(sender.send_request(request).await?.status())
    }
}

/// The collector does not take a push.
#[derive(Debug, thiserror::Error)]
#[error("the collector answers {0}")]
struct Refused(StatusCode);

/// Whether a signal is taken.
#[derive(Debug)]
struct Trouble {
    signal: &'static str,
    /// When the last warning was logged, since the collector takes nothing.
    told: Option<Instant>,
}

impl Trouble {
    fn new(signal: &'static str) -> Self {
        Self { signal, told: None }
    }
}
