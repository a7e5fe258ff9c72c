//! Metrics of this process: the numbers that the layers count, as families, and as the text of Prometheus.
//!
//! The layers know no metrics. They offer counts, and a scrape reads them: between scrapes nothing is computed.

use std::sync::Arc;

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Response, StatusCode};
use tokio::sync::Mutex;
use tracing::error;

use crate::stack::Handle;

mod collect;
mod family;
mod process;
mod streams;
mod text;

use self::process::Process;

/// The metrics of what a stack serves.
#[derive(Debug)]
pub(crate) struct Metrics {
    handle: Handle,
    config_hash: String,
    process: Process,
    /// Scrapes come one after the other, however many ask.
    scrape: Mutex<()>,
}

impl Metrics {
    pub(crate) fn new(handle: Handle, config_hash: String) -> Self {
        Self { handle, config_hash, process: Process::new(), scrape: Mutex::default() }
    }

    /// All metrics as the text of Prometheus.
    fn text(&self) -> String {
        text::encode(&self.families())
    }

    /// The answer to a scrape.
    pub(crate) async fn answer(self: &Arc<Self>, method: &Method) -> Response<String> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let _turn = self.scrape.lock().await;
        // A scrape of thousands of series takes milliseconds, in which the thread would write no event.
        let metrics = Arc::clone(self);
        let text = tokio::task::spawn_blocking(move || metrics.text()).await;
        let mut response = Response::new(text.unwrap_or_else(|error| {
            error!(%error, "metrics could not be collected");
            String::new()
        }));
        if response.body().is_empty() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
        response
    }
}
