//! A collector of OTLP that does not take everything.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::metrics::pushes_to;
use crate::support::{LOOK, Scrape, health_address, kafka_alone, soon};

/// The most bytes of JSON that the collector takes, as a proxy before it would.
const MOST_BYTES: usize = 100_000;

/// Takes the pushes of logs. To those that are not too large it answers with `status`.
async fn collect(
    listener: TcpListener,
    status: Arc<AtomicU16>,
    taken: mpsc::UnboundedSender<Value>,
) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        if let Some((path, body)) = read(socket, &status).await
            && path == "/v1/logs"
        {
            let _ = taken.send(body);
        }
    }
}

/// Answers one request. Returns its path and its body if it was taken.
async fn read(socket: TcpStream, status: &AtomicU16) -> Option<(String, Value)> {
    let mut socket = BufReader::new(socket);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await.ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("post ") {
            path = rest.split(' ').next()?.to_owned();
        }
        if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    let mut json = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut json).ok()?;
    let is_too_large = path == "/v1/logs" && json.len() > MOST_BYTES;
    let status = if is_too_large { 413 } else { status.load(Relaxed) };
    let head = format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\n\r\n");
    socket.write_all(head.as_bytes()).await.ok()?;
    (status == 200).then(|| serde_json::from_str(&json).ok())?.map(|body| (path, body))
}

/// The same records were pushed again and again, and no others.
#[tokio::test]
async fn records_that_a_collector_refuses_hold_up_no_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let location = format!("http://{}", listener.local_addr().expect("an address"));
    let status = Arc::new(AtomicU16::new(200));
    let (sender, mut taken) = mpsc::unbounded_channel();
    tokio::spawn(collect(listener, Arc::clone(&status), sender));
    let kafka = kafka_alone().await;
    let server = pushes_to(&kafka, &location).await;
    let requests = async |name: &str| {
        for index in 0..300 {
            let path = format!("/{name}-{index}-{}", "x".repeat(900));
            assert_eq!(server.get(&path).send().await.status, 404);
        }
    };
    let mut arrived = async |name: &str| {
        let mut count = 0;
        soon("the records are taken", async {
            while count < 300 {
                let body = taken.recv().await.expect("a push").to_string();
                count += body.matches(&format!("/{name}-")).count();
            }
        })
        .await;
    };
    requests("large").await;
    arrived("large").await;

    status.store(400, Relaxed);
    requests("bad").await;
    let at = health_address(&server).await;
    let dropped = async {
        let series = "tailwater_otlp_dropped_records_total{exporter=\"push\"}";
        while Scrape::of(at).await.value(series).is_none_or(|records| records < 300.0) {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("the records are dropped", dropped).await;
    status.store(200, Relaxed);
    requests("good").await;
    arrived("good").await;
}
