//! Metrics of this process: the numbers that the layers count, as families, and as the text of Prometheus.
//!
//! The layers know no metrics. They offer counts, and a scrape reads them: between scrapes nothing is computed.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Response, StatusCode};
use tokio::sync::Mutex;
use tracing::error;

use crate::stack::Handle;

mod collect;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod family;
mod histogram;
#[cfg(feature = "kafka")]
mod kafka;
mod labels;
pub(crate) mod meter;
mod process;
pub(crate) mod requests;
mod streams;
mod text;

use self::family::Family;
use self::process::Process;

/// The metrics of what a stack serves.
#[derive(Debug)]
pub(crate) struct Metrics {
    handle: Handle,
    process: Process,
    /// Scrapes come one after the other, however many ask.
    scrape: Mutex<()>,
}

impl Metrics {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, process: Process::new(), scrape: Mutex::default() }
    }

    /// The time at which the process started, when all counters were 0.
    pub(crate) fn started(&self) -> SystemTime {
        self.process.started()
    }

    /// Collects all metrics, including those of OTLP alone, and returns what `make` makes of them.
    pub(crate) async fn collect<T: Send + 'static>(
        self: &Arc<Self>,
        make: impl FnOnce(&[Family]) -> T + Send + 'static,
    ) -> Option<T> {
        let made = self.beside(move |metrics| {
            let mut families = metrics.families();
            families.extend(requests::consumed(&families));
            families.push(metrics.handle.requests.family());
            make(&families)
        });
        made.await
    }

    /// Reads metrics on a thread of its own: thousands of series take milliseconds, in which a thread that serves
    /// would write no event.
    async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let _turn = self.scrape.lock().await;
        let metrics = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || read(&metrics)).await;
        read.inspect_err(|error| error!(%error, "metrics could not be collected")).ok()
    }

    /// The answer to a scrape.
    pub(crate) async fn answer(self: &Arc<Self>, method: &Method) -> Response<String> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let text = self.beside(|metrics| text::encode(&metrics.families())).await;
        let is_failed = text.is_none();
        let mut response = Response::new(text.unwrap_or_default());
        if is_failed {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
        response
    }
}
