//! Clients that take all the open files that they can get.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Get, Kafka, LOOK, Server, health_address, kafka, raw, server, soon};

/// Streams of topics, and files below `/files`: the configuration itself is one.
fn config(kafka: &Kafka) -> String {
    let config = server(kafka).config();
    let routed = config.replacen(
        "    exit: sse_in\n",
        "    routes: [{ when: [{ headers: { \":path\": \"/files/*\" } }], exit: pages }]\n    exit: sse_in\n",
        1,
    );
    assert_ne!(routed, config);
    let files = "  pages:
    type: http-filesystem
    kind: proxy
    routes: [{ when: [{ path: \"/files/{path}\" }], with: { path: \"${params.path}\" }, exit: files }]
  files: { type: filesystem, kind: server, options: { location: . } }
telemetry:";
    routed.replace("telemetry:", files)
}

/// A stream of a connection of its own, if that is taken.
async fn stream(server: &Server, path: &str) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(server.address()).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let first = soon("an answer or an end", socket.read_u8()).await;
    first.ok().map(|_| socket)
}

async fn answers(at: SocketAddr) {
    assert_eq!(Get::new(at, "/live").send().await.status, 200);
    // Kafka may not have been reached yet.
    let ready = async {
        while Get::new(at, "/ready").send().await.status != 200 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("it is ready", ready).await;
}

#[tokio::test]
async fn clients_that_take_all_connections_leave_files_to_kafka_to_health_and_to_pages() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let arguments = ["--health", "127.0.0.1:0", "--drain", "0"];
    let server = Server::with_open_files(&config(&kafka), &arguments, 256).await;
    let is_warning = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let warns = line["level"] == "WARN" && line["message"].as_str()?.contains("open files");
        warns.then(|| line["connections"].as_u64())?
    };
    let left = server.stderr().find(is_warning).await;
    let at = health_address(&server).await;
    answers(at).await;

    let http2 = server.http2().await;
    assert_eq!(http2.get("/files/zilla.yaml").send().await.status, 200);
    let mut streams = Vec::new();
    while let Some(stream) = stream(&server, &format!("/all/{topic}")).await {
        streams.push(stream);
        assert!(streams.len() < 256, "nobody was refused");
    }
    assert_eq!(streams.len() as u64 + 1, left, "all that was said to be left");
    assert!(left > 48, "{left}");
    // And those who only come, again and again.
    for _ in 0..300 {
        assert!(stream(&server, "/nothing").await.is_none());
    }
    answers(at).await;
    let new = kafka.topic(3).await;
    kafka.produce_values(&new, (0..9).map(|number| number.to_string()));
    let mut history = http2.open(&format!("/all/{new}")).await;
    assert_eq!(history.take(9).await.len(), 9);
    assert_eq!(http2.get("/files/zilla.yaml").send().await.status, 200);
    assert!(!server.stderr().text().contains("accepting failed"), "{}", server.stderr().text());

    // Who leaves makes room.
    drop(streams);
    let comes = async {
        while stream(&server, &format!("/all/{topic}")).await.is_none() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("a place", comes).await;
}

const LOOPS: usize = 64;

/// Without a Kafka, whose clients open connections when they like.
#[tokio::test]
async fn health_is_told_where_there_is_no_open_file_left() {
    let folder = tempfile::tempdir().expect("a folder");
    // Each accept loop takes a file that another one has just freed, if it can.
    let loops: String = (0..LOOPS)
        .map(|number| {
            format!("  tcp_{number}: {{ type: tcp, kind: server, options: {{ host: 127.0.0.1, port: 0 }}, exit: http_in }}\n")
        })
        .collect();
    let config = format!(
        "name: e2e
bindings:
{loops}  http_in: {{ type: http, kind: server, exit: pages }}
  pages:
    type: http-filesystem
    kind: proxy
    routes: [{{ with: {{ path: zilla.yaml }}, exit: files }}]
  files: {{ type: filesystem, kind: server, options: {{ location: . }} }}
"
    );
    let mut server = Server::of_text(folder, &config, &["--health", "127.0.0.1:0"]).await;
    let at = health_address(&server).await;
    answers(at).await;
    let listens = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "listening").then(|| line["address"].as_str().map(str::to_owned))?
    };
    let mut addresses = BTreeSet::new();
    let is_last = |line: &str| {
        addresses.extend(listens(line));
        (addresses.len() == LOOPS).then_some(())
    };
    server.stderr().find(is_last).await;
    server.process().open_files(true);
    // The first ones may be accepted. The others are refused by nobody, and answered by nobody.
    let mut waits = Vec::new();
    for address in &addresses {
        waits.push(TcpStream::connect(address).await.expect("the kernel takes it"));
        // A loop tries again each second, and this one at another time than the others.
        tokio::time::sleep(Duration::from_secs(1) / LOOPS as u32).await;
    }
    server.stderr().says("accepting failed").await;
    for _ in 0..20 {
        let answers = async {
            answers(at).await;
            let _idle = TcpStream::connect(at).await.expect("the kernel takes it");
            answers(at).await;
        };
        // After 10 s the others that sent nothing are closed, and there are files again.
        tokio::time::timeout(Duration::from_secs(5), answers).await.expect("answers");
    }
    drop(waits);
    server.process().open_files(false);
    assert_eq!(server.get("/").send().await.status, 200);
}

/// 64 that asked nothing kept all others from their answer.
#[tokio::test]
async fn who_is_idle_at_the_port_for_health_makes_room() {
    let kafka = kafka().await;
    let server = server(&kafka).arguments(&["--health", "127.0.0.1:0"]).run().await;
    let at = health_address(&server).await;
    let mut prober = TcpStream::connect(at).await.expect("a connection");
    let mut idle = Vec::new();
    for number in 0..70 {
        // A connection that is younger than 100 ms is not closed for another one.
        if number == 60 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        idle.push(TcpStream::connect(at).await.expect("a connection"));
        // Who asks now and then stays.
        prober.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it is open");
        let mut read = Vec::new();
        while !read.ends_with(b"{\"live\":true}") {
            let count = soon("an answer", prober.read_buf(&mut read)).await.expect("it is open");
            assert_ne!(count, 0, "closed");
        }
    }
    let live = raw(at, b"GET /live HTTP/1.0\r\n\r\n", |_| false).await;
    assert!(live.ends_with(b"{\"live\":true}"), "{}", live.escape_ascii());
    // The first of them was closed.
    let first = idle.first_mut().expect("there are 70");
    assert_eq!(soon("its end", first.read(&mut [0])).await.unwrap_or(0), 0);
}
