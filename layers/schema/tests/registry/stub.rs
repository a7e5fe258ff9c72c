//! A server of HTTP/1.1 that answers as a script says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What the server does with a request.
pub(crate) enum Answer {
    /// The status, further header lines, and the body.
    Reply(u16, &'static str, Vec<u8>),
    /// The reply after a while.
    Slow(Duration, Vec<u8>),
    /// A part of the body, and nothing more.
    Stall,
    /// A body in chunks without an end.
    Endless,
    /// A body that is shorter than it says.
    Short,
    /// No answer at all.
    Silence,
    /// The end of the connection.
    Close,
    /// What is not HTTP.
    Garbage,
}

impl Answer {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Reply(200, "content-type: application/json\r\n", body.into())
    }

    pub(crate) fn schema(text: &str) -> Self {
        Self::json(serde_json::json!({ "schema": text }).to_string())
    }

    pub(crate) fn error(status: u16, code: u32) -> Self {
        let body = format!(r#"{{"error_code":{code},"message":"no"}}"#);
        Self::Reply(status, "content-type: application/json\r\n", body.into())
    }

    pub(crate) fn redirect(location: impl AsRef<str>) -> Self {
        let line = format!("location: {}\r\n", location.as_ref());
        Self::Reply(302, line.leak(), Vec::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    /// The head as it came, in lower case but for the values.
    pub(crate) headers: Vec<(String, String)>,
    /// The number of its connection.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(other, _)| other == name);
        let value = named.next().map(|(_, value)| &**value);
        assert!(named.next().is_none(), "{name} comes twice");
        value
    }
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

impl Stub {
    /// A server whose script gets the target of a request, and how often it was asked for before.
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), None, script).await
    }

    pub(crate) async fn at(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let serving = serve(listener, tls, Arc::new(script), Arc::clone(&seen));
        Self { address, seen, task: tokio::spawn(serving).abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }
}

impl Drop for Stub {
    /// Closes the port and all connections.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        let script = Arc::clone(&script);
        let seen = Arc::clone(&seen);
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => connection(socket, number, &*script, &seen).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => connection(socket, number, &*script, &seen).await,
                    Err(_) => None,
                },
            }
        });
    }
}

/// Serves one connection until it ends.
async fn connection(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    number: usize,
    script: &Script,
    seen: &Mutex<Vec<Seen>>,
) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let mut lines = head.lines();
        let target = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let before = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let before = seen.iter().filter(|other| other.target == target).count();
            seen.push(Seen { target: target.clone(), headers, connection: number });
            before
        };
        match script(&target, before) {
            Answer::Reply(status, lines, body) => reply(&mut socket, status, lines, &body).await?,
            Answer::Slow(pause, body) => {
                sleep(pause).await;
                reply(&mut socket, 200, "", &body).await?;
            }
            Answer::Stall => {
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await.ok()?;
                socket.write_all(b" ").await.ok()?;
                sleep(Duration::from_secs(3600)).await;
            }
            Answer::Endless => {
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                socket.write_all(head).await.ok()?;
                let chunk = [&b"10000\r\n"[..], &[b' '; 65536], b"\r\n"].concat();
                loop {
                    socket.write_all(&chunk).await.ok()?;
                }
            }
            Answer::Short => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
                socket.write_all(head).await.ok()?;
                return None;
            }
            Answer::Silence => sleep(Duration::from_secs(3600)).await,
            Answer::Close => return None,
            Answer::Garbage => {
                socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok()?;
                return None;
            }
        }
    }
}

async fn reply(
    socket: &mut (impl AsyncWrite + Unpin),
    status: u16,
    lines: &str,
    body: &[u8],
) -> Option<()> {
    let head = format!("HTTP/1.1 {status} Status\r\n{lines}content-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await.ok()?;
    socket.write_all(body).await.ok()?;
    socket.flush().await.ok()
}
