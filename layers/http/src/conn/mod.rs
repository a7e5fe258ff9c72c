//! One connection: from its first bytes to its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use self::detect_version::{DetectVersion, Version};
use self::driver::Driver;
use self::request::{InnerService, RequestService};
use self::stage::Next;
use self::state::ConnState;
use self::versions::{Http1, Http2};
use crate::config::{Config, Versions};
use crate::error::Error;

pub(crate) mod cork;
pub(crate) mod detect_version;
pub(crate) mod driver;
pub(crate) mod event_stream;
pub(crate) mod request;
pub(crate) mod stage;
pub(crate) mod state;
pub(crate) mod versions;

/// The first stage, which detects the version of HTTP.
pub(crate) async fn detect_version<S, Io>(
    mut io: DetectVersion<Io>,
    versions: Versions,
    requests: RequestService<S>,
    state: Arc<ConnState>,
    mut timer: Pin<Box<Sleep>>,
    config: Arc<Config>,
) -> Result<Next, Error>
where
    S: InnerService,
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let version = match versions {
        Versions::Http1 => Version::Http1,
        Versions::Http2 => Version::Http2,
        Versions::Both => {
            let mut started = pin!(config.shutdown.started());
            let version = poll_fn(|cx| {
                if let Poll::Ready(version) = io.poll_version(cx) {
                    return Poll::Ready(version.map(Some).map_err(Error::Read));
                }
                if started.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(None)); // there is no request yet
                }
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(Error::FirstRequestTimeout(config.first_request_timeout)))
            });
            let Some(version) = version.await? else { return Ok(Next::End) };
            version
        }
    };
    let started = config.shutdown.started();
    Ok(Next::Stage(match version {
        Version::Http1 => {
            let connection = Http1::new(io, requests, Arc::clone(&config));
            Box::pin(Driver::new(connection, started, timer, state, config))
        }
        Version::Http2 => {
            let connection = Http2::new(io, requests, &config);
            Box::pin(Driver::new(connection, started, timer, state, config))
        }
    }))
}
