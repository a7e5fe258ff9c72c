//! The options of the layer, and the configuration of each connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connection::Rejection;
use crate::shutdown::Shutdown;

/// The versions of HTTP that a server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Versions {
    /// Only HTTP/1.1 (and 1.0). A client of HTTP/2 is answered 400.
    Http1,
    /// Only HTTP/2 with prior knowledge. The connection of a client of HTTP/1.1 is closed.
    Http2,
    /// Both. The first bytes of a connection decide.
    #[default]
    Both,
}

/// The options of [`HttpLayer`](crate::HttpLayer), whose methods document them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) versions: Versions,
    pub(crate) first_request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_head_bytes: u32,
    pub(crate) max_headers: Option<usize>,
    pub(crate) keep_alive: bool,
    pub(crate) send_buffer_bytes: usize,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) shutdown: Shutdown,
    pub(crate) on_rejection: OnRejection,
}

/// The callback of [`HttpLayer::on_rejection`](crate::HttpLayer::on_rejection).
#[derive(Clone, Default)]
pub(crate) struct OnRejection(pub(crate) Option<Arc<Callback>>);

type Callback = dyn Fn(Rejection<'_>) + Send + Sync;

impl OnRejection {
    pub(crate) fn call(&self, rejection: Rejection<'_>) {
        if let Some(callback) = &self.0 {
            callback(rejection);
        }
    }
}

impl fmt::Debug for OnRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnRejection").field(&self.0.is_some()).finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            versions: Versions::Both,
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_head_bytes: 32 * 1024,
            max_headers: None,
            keep_alive: true,
            send_buffer_bytes: 64 * 1024,
            max_concurrent_streams: 128,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            shutdown: Shutdown::new(),
            on_rejection: OnRejection::default(),
        }
    }
}

/// The configuration that the services of a layer share.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) versions: Versions,
    pub(crate) first_request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) send_buffer_bytes: usize,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<TokioExecutor>,
    pub(crate) shutdown: Shutdown,
    pub(crate) on_rejection: OnRejection,
}

impl From<&Options> for Config {
    fn from(options: &Options) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(false)
            .keep_alive(options.keep_alive)
            .max_header_size(options.max_head_bytes as usize)
            // hyper reads heads into this buffer as well, so that the largest head has to fit.
            .max_buf_size(
                options.send_buffer_bytes.max(options.max_head_bytes as usize).max(8 * 1024),
            );
        if let Some(count) = options.max_headers {
            http1.max_headers(count);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_frame_size(16 * 1024)
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(options.max_head_bytes)
            .max_send_buf_size(options.send_buffer_bytes)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(128)
            .header_table_size(4096)
            .keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout);
        Self {
            versions: options.versions,
            first_request_timeout: options.first_request_timeout,
            idle_timeout: options.idle_timeout,
            send_buffer_bytes: options.send_buffer_bytes.max(1),
            http1,
            http2,
            shutdown: options.shutdown.clone(),
            on_rejection: options.on_rejection.clone(),
        }
    }
}
