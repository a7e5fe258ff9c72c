//! What load balancers are told.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{
    Get, LOOK, Record, Server, Version, health_address, kafka, kafka_alone, raw, server, soon,
};

async fn ask(at: SocketAddr, path: &str, version: Version) -> (u16, Value) {
    let answer = Get::new(at, path).over(version).send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let status = answer.status.as_u16();
    (status, serde_json::from_str(&answer.text().await).expect("JSON"))
}

/// Asks until the answer to `/ready` is this.
async fn until(at: SocketAddr, status: u16, kafka: &str) -> Value {
    let asked = async {
        loop {
            let (told, body) = ask(at, "/ready", Version::Http1).await;
            if told == status && body["clusters"][0]["kafka"] == kafka {
                return body;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(&format!("{status}, kafka {kafka}"), asked).await
}

#[tokio::test]
async fn who_never_reached_kafka_or_drains_is_not_ready() {
    let kafka = kafka_alone().await;
    let topic = kafka.topic(1).await;
    kafka.take_away();
    let arguments = ["--health", "127.0.0.1:0", "--drain", "5"];
    let mut server = server(&kafka).arguments(&arguments).run().await;
    let at = health_address(&server).await;
    until(at, 503, "never reached").await;
    for version in Version::BOTH {
        assert_eq!(ask(at, "/live", version).await, (200, json!({ "live": true })));
    }
    // Its cause stays in the body.
    server.stderr().says("Kafka is away").await;
    // Nobody has asked for a topic, and none is named by the configuration.
    kafka.bring_back();
    until(at, 200, "reached").await;

    // Of many, one ends late when the server drains, and the process with it.
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.get(&format!("/all/{topic}")).open().await);
    }
    kafka.produce(&topic, Record::value("1"));
    for stream in &mut streams {
        assert_eq!(stream.next().await, "data:1\nid:AQIAAg==\n");
    }
    let mut body = until(at, 200, "reached").await;
    let cluster = &mut body["clusters"][0];
    assert!(cluster["since"].take().as_str().is_some_and(|since| since.ends_with('Z')));
    let last_error = cluster["last_error"].take();
    assert!(
        last_error.as_str().is_some_and(|last_error| last_error.contains(kafka.servers())),
        "{last_error}"
    );
    let expected = json!({
        "name": "cache_client/cache_server/kafka_out",
        "kafka": "reached",
        "servers": [kafka.servers()],
        "since": null,
        "last_error": null,
        "restarts": 0,
        "panics": 0,
        "topics": [],
    });
    assert_eq!(body["clusters"], json!([expected]));
    let listener = &body["listeners"][0];
    assert_eq!((&listener["name"], &listener["open"]), (&json!("tcp_in"), &json!(10)));
    assert_eq!((&listener["stalled"], &listener["refused"]), (&json!(0), &json!(0)));

    // Streams wait and lose nothing: no reason to be sent elsewhere.
    kafka.take_away();
    until(at, 200, "away").await;

    server.process().signal(Signal::TERM);
    let body = until(at, 503, "away").await;
    assert_eq!((&body["ready"], &body["draining"]), (&json!(false), &json!(true)));
    assert_eq!(ask(at, "/live", Version::Http1).await.0, 200);
    for stream in &mut streams {
        assert!(stream.end().await.1, "cut off");
    }
    assert_eq!(server.process().ended().await.code(), Some(0));
    // A real one is there for the other tests, too.
    kafka.bring_back();
}

#[tokio::test]
async fn nothing_is_told_unless_it_is_asked_for_and_nonsense_is_bounded() {
    let kafka = kafka_alone().await;
    let plain = server(&kafka).run().await;
    assert_eq!(plain.get("/ready").send().await.status, 404);
    assert!(!plain.stderr().text().contains("/ready"));

    let server = server(&kafka).arguments(&["--health", "127.0.0.1:0"]).run().await;
    let at = health_address(&server).await;
    assert_eq!(ask(at, "/", Version::Http1).await.0, 404);
    assert_eq!(Get::new(at, "/ready").method("POST").send().await.status, 405);
    let head = format!("GET /live HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    let read = raw(at, head.as_bytes(), |read| read.len() > 20).await;
    assert!(read.starts_with(b"HTTP/1.1 431 "), "{}", read.escape_ascii());

    // Those who say nothing take no place for long, and never that of a client.
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(at).await.expect("a connection"));
    }
    assert_eq!(server.get("/nothing").send().await.status, 404);
    drop(idle);
    let answered = async {
        while !raw(at, b"GET /live HTTP/1.0\r\n\r\n", |_| false).await.ends_with(b"{\"live\":true}")
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("an answer", answered).await;
}

#[tokio::test]
async fn limits_of_the_file_hold_and_are_counted() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let config = server(&kafka).config();
    let limited = config.replace("port: 0 }", "port: 0, connections: 2, write-deadline: 5 }");
    assert_ne!(limited, config);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::of_text(folder, &limited, &["--health", "127.0.0.1:0"]).await;
    let at = health_address(&server).await;
    let counted = async |name: &str, count: u64| {
        let counted = async {
            while ask(at, "/ready", Version::Http1).await.1["listeners"][0][name] != count {
                tokio::time::sleep(LOOK).await;
            }
        };
        soon(name, counted).await;
    };

    let get = server.get(&format!("/all/{topic}"));
    let mut reads = get.clone().open().await;
    let _stalls = get.receive_buffer(4096).open().await;
    counted("open", 2).await;
    let read = raw(server.address(), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", |_| false).await;
    assert_eq!(read.escape_ascii().to_string(), "");
    counted("refused", 1).await;

    // More than the kernel and the server keep for a client that takes nothing.
    let value = "x".repeat(10_000);
    kafka.produce_values(&topic, (0..200).map(|_| value.clone()));
    reads.take(200).await;
    counted("stalled", 1).await;
    counted("open", 1).await;
    kafka.produce(&topic, Record::value("on"));
    assert!(reads.next().await.starts_with("data:on\n"));
}
