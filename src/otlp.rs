//! Exporters of type `otlp`: they push metrics and logs to a collector, as JSON over HTTP/1.1.
//!
//! docs/internals/decisions/own-otlp.md says why no crate does it.

use std::io::{self, BufWriter, IntoInnerError};
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
use serde::Serialize;
use tailwater_client::TcpConnector;
use tailwater_sse::BoxError;
use tailwater_tls::{ClientConfig, ConnectLayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
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
/// The time that the end of the process waits for the last pushes.
const LAST_PUSH: Duration = Duration::from_secs(2);
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
    attributes: Arc<[(String, String)]>,
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
            attributes: attributes.into(),
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

    /// Pushes until `stop` is closed, and once more then.
    async fn run(self, metrics: Arc<Metrics>, stop: watch::Receiver<()>) {
        tokio::join!(self.push_metrics(&metrics, stop.clone()), self.push_logs(stop));
    }

    async fn push_metrics(&self, metrics: &Arc<Metrics>, mut stop: watch::Receiver<()>) {
        if !self.options.signals.contains(&Signal::Metrics) {
            return;
        }
        let mut trouble = Trouble::new("metrics");
        let mut is_last = false;
        while !is_last {
            is_last = self.pause(&trouble, &mut stop).await;
            let attributes = Arc::clone(&self.attributes);
            let started = metrics.started();
            let body = metrics.collect(move |families| {
                body(&json::metrics(families, &attributes, started, SystemTime::now()))
            });
            let failed = || Err(io::Error::other("metrics could not be collected"));
            let body = body.await.unwrap_or_else(failed);
            let result = self.push(&self.options.metrics_path, body).await;
            self.told(&mut trouble, &result);
        }
    }

    async fn push_logs(&self, mut stop: watch::Receiver<()>) {
        if !self.options.signals.contains(&Signal::Logs) {
            return;
        }
        let mut trouble = Trouble::new("logs");
        let mut is_last = false;
        while !is_last {
            is_last = self.pause(&trouble, &mut stop).await;
            self.push_records(&mut trouble).await;
        }
    }

    /// Pushes what is queued. What the collector refuses for good is dropped, so that it does not hold up the rest.
    async fn push_records(&self, trouble: &mut Trouble) {
        let mut most = MOST_RECORDS;
        loop {
            let records = self.records.first(most);
            if records.is_empty() {
                return;
            }
            let body = body(&json::logs(&records, &self.attributes));
            let result = self.push(&self.options.logs_path, body).await;
            self.told(trouble, &result);
            match result {
                Ok(()) => self.records.remove(records.len()),
                Err(error) if error.is_too_large() && records.len() > 1 => {
                    most = records.len() / 2;
                    continue;
                }
                Err(error) if error.is_final() => self.records.drop_first(records.len()),
                Err(_) => return,
            }
            most = MOST_RECORDS;
        }
    }

    /// Waits until the next push. Returns whether the process stops.
    async fn pause(&self, trouble: &Trouble, stop: &mut watch::Receiver<()>) -> bool {
        let interval = self.options.interval;
        let pause = if trouble.told.is_some() { interval.min(RETRY) } else { interval };
        timeout(pause, stop.changed()).await.is_ok()
    }

    /// Logs what a push came to, and counts failures.
    fn told(&self, trouble: &mut Trouble, result: &Result<(), PushError>) {
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
                    let error = error_line(error);
                    warn!(location, signal, error, "telemetry is not taken");
                }
            }
        }
    }

    async fn push(&self, path: &str, body: io::Result<Vec<u8>>) -> Result<(), PushError> {
        let body = body.map_err(BoxError::from)?;
        let status = match timeout(TIMEOUT, self.send(path, body)).await {
            Ok(status) => status?,
            Err(_) => return Err(PushError::NoAnswer),
        };
        if status.is_success() { Ok(()) } else { Err(PushError::Refused(status)) }
    }

    async fn send(&self, path: &str, body: Vec<u8>) -> Result<StatusCode, BoxError> {
        let uri: Uri = format!("{}{path}", self.options.location).parse()?;
        let tcp = TcpConnector::new();
        match &self.tls {
            Some(tls) => {
                let connector = ConnectLayer::new(tls.clone()).layer(tcp);
                self.post(connector.oneshot(uri.clone()).await?, uri, body).await
            }
            None => self.post(tcp.oneshot(uri.clone()).await?, uri, body).await,
        }
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

/// The body of a push: compressed JSON.
fn body(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut gzip = BufWriter::new(GzEncoder::new(Vec::new(), Compression::fast()));
    serde_json::to_writer(&mut gzip, message)?;
    gzip.into_inner().map_err(IntoInnerError::into_error)?.finish()
}

/// Why a push has failed.
#[derive(Debug, thiserror::Error)]
enum PushError {
    /// The connection has failed.
    #[error(transparent)]
    Connection(#[from] BoxError),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    NoAnswer,
    #[error("the collector answers {0}")]
    Refused(StatusCode),
}

impl PushError {
    /// Whether the collector takes less at once.
    fn is_too_large(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::PAYLOAD_TOO_LARGE))
    }

    /// Whether the collector would refuse the same again (OTLP, "Failures").
    fn is_final(&self) -> bool {
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        matches!(self, Self::Refused(status) if status.is_client_error() && !later.contains(status))
    }
}

/// The exporters that push.
#[derive(Debug)]
pub(crate) struct Pushes {
    tasks: JoinSet<()>,
    /// Closed when the process stops.
    stop: watch::Sender<()>,
}

impl Pushes {
    pub(crate) fn start(exporters: impl Iterator<Item = Exporter>, metrics: &Arc<Metrics>) -> Self {
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        for exporter in exporters {
            tasks.spawn(exporter.run(Arc::clone(metrics), stopped.clone()));
        }
        Self { tasks, stop }
    }

    /// Pushes what there is now, for a bounded time.
    pub(crate) async fn finish(self) {
        let Self { mut tasks, stop } = self;
        drop(stop);
        let all = async { while tasks.join_next().await.is_some() {} };
        // A collector that does not answer loses these.
        let _ = timeout(LAST_PUSH, all).await;
    }
}

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
