//! Idle streams over HTTP/2, many on one connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::Result;
use crate::clients::{PATIENCE, Ready};
use crate::{process, tls};

/// A length that no stream reaches before its first event.
const START_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Fleet {
    runtime: Runtime,
    connections: Vec<Connection>,
    ready_when: Ready,
}

#[derive(Debug)]
struct Connection {
    requests: SendRequest<Empty<Bytes>>,
    scheme: &'static str,
    streams: Vec<Incoming>,
}

impl Fleet {
    /// Opens connections without streams.
    pub(crate) fn connect(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        count: usize,
        ready_when: Ready,
    ) -> Result<Self> {
        process::permits_files(count)?;
        let runtime = Runtime::new()?;
        let connections = runtime.block_on(async {
            let each = (0..count).map(|_| Connection::open(address, tls.clone()));
            timeout(PATIENCE, try_join_all(each)).await.map_err(|_| "no connection in time")?
        })?;
        Ok(Self { runtime, connections, ready_when })
    }

    /// Opens this number of streams on each connection. Returns when all streams are at their start.
    pub(crate) fn open(&mut self, count: usize) -> Result<()> {
        let Self { connections, ready_when, .. } = self;
        self.runtime.block_on(async {
            let each = connections.iter_mut().map(async |connection| {
                for _ in 0..count {
                    timeout(PATIENCE, connection.open_stream(*ready_when)).await.map_err(
                        |_| format!("after {} streams none came", connection.streams.len()),
                    )??;
                }
                Ok(())
            });
            try_join_all(each).await.map(drop)
        })
    }

    /// Waits, and checks that all streams are still open.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<()> {
        self.runtime.block_on(async { sleep(time).await });
        for stream in self.connections.iter_mut().flat_map(|connection| &mut connection.streams) {
            match stream.frame().now_or_never() {
                None | Some(Some(Ok(_))) => {}
                Some(Some(Err(error))) => return Err(format!("a stream ended: {error}").into()),
                Some(None) => return Err("the server ended a stream".into()),
            }
        }
        Ok(())
    }
}

impl Connection {
    async fn open(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        match tls {
            None => Self::over(socket, "http").await,
            Some(config) => {
                let socket =
                    TlsConnector::from(config).connect(tls::NAME.try_into()?, socket).await?;
                Self::over(socket, "https").await
            }
        }
    }

    async fn over(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: &'static str,
    ) -> Result<Self> {
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        // An error of the connection is also one of its streams.
        tokio::spawn(connection.map(drop));
        Ok(Self { requests, scheme, streams: Vec::new() })
    }

    async fn open_stream(&mut self, ready_when: Ready) -> Result<()> {
        let request = Request::get(format!("{}://{}/events", self.scheme, tls::NAME))
            .header("accept", "text/event-stream")
            .body(Empty::new())?;
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()).into());
        }
        let mut stream = response.into_body();
        let mut start = Vec::new();
        while ready_when == Ready::Id
            && !start.starts_with(b"id:")
            && memchr::memmem::find(&start, b"\nid:").is_none()
        {
            if start.len() > START_BYTES {
                return Err("the stream has no start".into());
            }
            let frame = stream.frame().await.ok_or("the server ended the stream")??;
            start.extend(frame.into_data().unwrap_or_default());
        }
        self.streams.push(stream);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use futures_util::stream::{self, StreamExt as _};
    use http::Response;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    /// Answers each request with this status, and with a body that stays open after `start`.
    fn server(runtime: &Runtime, status: StatusCode, start: &'static str) -> SocketAddr {
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service_fn(move |_| async move {
                    let start = stream::iter([Ok::<_, Infallible>(Frame::data(
                        Bytes::from_static(start.as_bytes()),
                    ))]);
                    let body = StreamBody::new(start.chain(stream::pending()));
                    let mut response = Response::new(body);
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                });
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        address
    }

    #[test]
    fn streams_are_open_when_their_id_came() {
        let runtime = Runtime::new().unwrap();
        let address = server(&runtime, StatusCode::OK, "retry:1\n:\nid:AQ\n\n");
        let mut fleet = Fleet::connect(address, None, 2, Ready::Id).unwrap();
        fleet.open(1).unwrap();
        fleet.open(2).unwrap();
        fleet.wait(Duration::ZERO).unwrap();
        assert!(fleet.connections.iter().all(|connection| connection.streams.len() == 3));
        runtime.shutdown_background();
        let ended = (0..100).any(|_| fleet.wait(Duration::from_millis(20)).is_err());
        assert!(ended, "the server has gone");
    }

    #[test]
    fn a_refused_stream_is_an_error() {
        let runtime = Runtime::new().unwrap();
        let address = server(&runtime, StatusCode::NOT_FOUND, "id:AQ\n\n");
        let error = Fleet::connect(address, None, 1, Ready::Id).unwrap().open(1).unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }
}
