//! What observes a tailwater server: the ports for health checks and administration, a scrape each second, and a
//! collector that takes what is pushed.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::Result;
use crate::servers::free_address;

/// The section of the configuration. The ports are filled in.
const TELEMETRY: &str = "\
telemetry:
  metrics: [stream.active.received, stream.active.sent, stream.opens.received, stream.opens.sent, stream.data.received, stream.data.sent, stream.errors.received, stream.errors.sent, stream.closes.received, stream.closes.sent, http.request.size, http.response.size, http.duration, http.active.requests]
  exporters:
    scrape: { type: prometheus, options: { endpoints: [{ scheme: http, port: SCRAPE }] } }
    push: { type: otlp, options: { interval: 5, signals: [metrics], endpoint: { location: \"http://127.0.0.1:COLLECTOR\" } } }
";
/// What a binding records.
const RECORDED: &str = "telemetry: { metrics: [\".*\"] }";
/// What an `http` binding records. The labels are from requests.
const RECORDED_OF_REQUESTS: &str = "telemetry: { metrics: [\".*\"], attributes: { path: \"${http.request.path}\", agent: \"${http.request.user-agent}\" } }";

/// The ports of a server, and the collector.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The port for health checks, which has the metrics.
    pub(crate) health: SocketAddr,
    pub(crate) admin: SocketAddr,
    scrape: SocketAddr,
    collector: SocketAddr,
    _runtime: Runtime,
}

impl Observed {
    pub(crate) fn new() -> Result<Self> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let collector = listener.local_addr()?;
        // It answers 200 to whatever comes.
        let app = Router::new().fallback(async |_: bytes::Bytes| {});
        runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self {
            health: free_address()?,
            admin: free_address()?,
            scrape: free_address()?,
            collector,
            _runtime: runtime,
        })
    }

    /// The options of the command line.
    pub(crate) fn arguments(&self) -> [String; 4] {
        ["--health".into(), self.health.to_string(), "--admin".into(), self.admin.to_string()]
    }

    /// Fills in what is recorded and pushed.
    pub(crate) fn complete(&self, configuration: &str) -> String {
        let telemetry = TELEMETRY
            .replace("SCRAPE", &self.scrape.port().to_string())
            .replace("COLLECTOR", &self.collector.port().to_string());
        configuration
            .replace("#TELEMETRY", &telemetry)
            .replace("#RECORDED_OF_REQUESTS", RECORDED_OF_REQUESTS)
            .replace("#RECORDED", RECORDED)
    }

    /// Counts the series of a scrape.
    pub(crate) fn series(&self) -> Result<Series> {
        Ok(Series::of(&get(self.health, "/metrics")?))
    }

    /// Scrapes each second from now on.
    pub(crate) fn scrape(&self) -> Repeated {
        let health = self.health;
        Repeated::each_second(move || get(health, "/metrics").map(drop))
    }
}

/// The numbers of series of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// The series of tailwater's own metrics.
    pub(crate) own: usize,
    /// The sets of labels of the metric of Zilla that has the most. A histogram has a series for each of its buckets
    /// and each of these.
    pub(crate) sets: usize,
}

impl Series {
    fn of(scrape: &str) -> Self {
        let mut own = 0;
        let mut sets = HashMap::<_, usize>::new();
        for line in scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            if name.starts_with("tailwater_") {
                own += 1;
            } else {
                // The series of a histogram that ends in _count is one for each set. Those of its buckets are more.
                *sets.entry(name).or_default() += usize::from(!name.ends_with("_bucket"));
            }
        }
        Self { own, sets: sets.into_values().max().unwrap_or_default() }
    }
}

/// A request each second. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Repeated {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Duration>>>>,
}

impl Repeated {
    pub(crate) fn each_second(request: impl Fn() -> Result<()> + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut times = Vec::new();
            loop {
                let begin = Instant::now();
                request().inspect_err(|error| eprintln!("a repeated request: {error}"))?;
                times.push(begin.elapsed());
                thread::park_timeout(Duration::from_secs(1).saturating_sub(begin.elapsed()));
                if over.load(Ordering::Relaxed) {
                    return Ok(times);
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }

    /// Returns an error if a request failed.
    pub(crate) fn check(&self) -> Result<()> {
        match self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            true => Err("a request that is repeated failed".into()),
            false => Ok(()),
        }
    }

    /// Ends the requests. Returns the time of each. It is an error if one of them failed.
    pub(crate) fn end(mut self) -> Result<Vec<Duration>> {
        self.stop().unwrap_or_else(|| Ok(Vec::new()))
    }

    fn stop(&mut self) -> Option<Result<Vec<Duration>>> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        Some(thread.join().unwrap_or_else(|_| Err("a repeated request panicked".into())))
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The body of an answer, which has to be 200.
pub(crate) fn get(address: SocketAddr, target: &str) -> Result<String> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => {
            if head.to_ascii_lowercase().contains("\r\ntransfer-encoding:") {
                return Err(format!("{target}: the answer has chunks").into());
            }
            Ok(body.to_owned())
        }
        _ => {
            let status = answer.lines().next().unwrap_or_default();
            Err(format!("{target}: answered {status}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_labels_counts_once_for_each_metric() {
        let scrape = "\
# TYPE tailwater_streams gauge
tailwater_streams{binding=\"mapping\"} 1
tailwater_open_files 7
# TYPE http_duration_milliseconds histogram
http_duration_milliseconds_bucket{le=\"2\",path=\"/a\"} 1
http_duration_milliseconds_bucket{le=\"4\",path=\"/a\"} 1
http_duration_milliseconds_bucket{le=\"2\",path=\"/b\"} 1
http_duration_milliseconds_bucket{le=\"4\",path=\"/b\"} 1
http_duration_milliseconds_count{path=\"/a\"} 1
http_duration_milliseconds_count{path=\"/b\"} 1
http_active_requests{path=\"/a\"} 0
";
        assert_eq!(Series::of(scrape), Series { own: 2, sets: 2 });
    }
}
