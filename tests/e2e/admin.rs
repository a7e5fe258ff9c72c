//! What operators see and change.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{
    Get, LOOK, Server, Version, admin_address, health_address, kafka, run, server, server_of, soon,
};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// A Kafka that is not there, where none is needed.
const NOWHERE: &str = "127.0.0.1:1";

async fn ask(at: SocketAddr, method: &str, path: &str) -> (u16, Value) {
    told(Get::new(at, path).method(method)).await
}

/// The status and the body of an answer, which is always JSON.
async fn told(get: Get) -> (u16, Value) {
    let answer = get.send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let status = answer.status.as_u16();
    let body: Value = serde_json::from_str(&answer.text().await).expect("JSON");
    if status >= 400 {
        assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{body}");
    }
    (status, body)
}

#[tokio::test]
async fn requests_that_are_not_understood_are_told_why() {
    let server = server_of(NOWHERE).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    for (method, path, status) in [
        ("GET", "/topics", 200),
        ("HEAD", "/config", 200),
        ("GET", "/nothing", 404),
        ("GET", "/topics/", 404),
        ("POST", "/topics", 405),
        ("DELETE", "/config", 405),
        ("GET", "/drain", 405),
        ("OPTIONS", "/drain", 405),
        ("GET", "/ready", 405),
        ("GET", "/topics?limit=1", 400),
        ("POST", "/ready", 400),
        ("POST", "/ready?state=of", 400),
        ("POST", "/ready?state=off&state=on", 400),
        ("POST", "/ready?state=off&for=1", 400),
        ("POST", "/log", 400),
        ("POST", "/log?levels=loud", 400),
        ("POST", "/log?levels=info&for=0", 400),
        ("POST", "/log?levels=info&for=-1", 400),
        ("POST", "/log?levels=info&for=999999", 400),
        ("POST", "/log?levels=%ff", 400),
        ("POST", "/drain?now=1", 400),
    ] {
        for version in Version::BOTH {
            let get = Get::new(at, path).method(method).over(version);
            if method == "HEAD" {
                assert_eq!(get.send().await.status, status, "{method} {path} {version:?}");
                continue;
            }
            assert_eq!(told(get).await.0, status, "{method} {path} {version:?}");
        }
    }
    let refused = Get::new(at, "/drain").send().await;
    assert_eq!(refused.header("allow"), Some("POST"));
    let refused = Get::new(at, "/topics").method("PUT").send().await;
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
    // Nothing of this is served to the public.
    assert_eq!(server.get("/topics").send().await.status, 404);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = server_of(NOWHERE).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let port = at.port();
    for version in Version::BOTH {
        for (host, status) in [
            (format!("localhost:{port}"), 200),
            (format!("127.0.0.1:{port}"), 200),
            (format!("[::1]:{port}"), 200),
            ("localhost".to_owned(), 200),
            // A name of a page that leads here by DNS.
            (format!("rebound.example.com:{port}"), 403),
            ("localhost.example.com".to_owned(), 403),
            ("10.0.0.1".to_owned(), 403),
        ] {
            let get = Get::new(at, "/clusters").over(version).authority(&host);
            assert_eq!(told(get).await.0, status, "{host} {version:?}");
        }
        for origin in ["https://example.com", "null", &format!("http://127.0.0.1:{port}")] {
            for (method, path) in [("GET", "/clusters"), ("POST", "/drain"), ("OPTIONS", "/drain")]
            {
                let get = Get::new(at, path).method(method).over(version).header("origin", origin);
                let answer = get.send().await;
                assert_eq!(answer.status, 403, "{method} {origin}");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
    }
    assert_eq!(ask(at, "GET", "/clusters").await.0, 200, "nothing was drained");
}

#[tokio::test]
async fn a_token_is_required_where_there_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "  correct-horse\n").expect("it is written");
    let path = file.to_str().expect("UTF-8");
    let arguments = ["--admin", "0.0.0.0:0", "--admin-token-file", path];
    let server = server_of(NOWHERE).arguments(&arguments).run().await;
    let at = SocketAddr::from(([127, 0, 0, 1], admin_address(&server).await.port()));
    let get = || Get::new(at, "/config");
    for (get, status) in [
        (get(), 401),
        (get().bearer("correct-hors"), 401),
        (get().bearer("correct-horse1"), 401),
        (get().bearer(""), 401),
        (get().header("authorization", "Basic correct-horse"), 401),
        (get().bearer("correct-horse").bearer("correct-horse"), 401),
        (Get::new(at, "/config?token=correct-horse"), 401),
        (Get::new(at, "/nothing"), 401),
        (Get::new(at, "/drain").method("POST"), 401),
        (get().bearer("correct-horse").header("origin", "https://example.com"), 403),
        (get().bearer("correct-horse"), 200),
        (get().bearer("correct-horse").authority("tailwater.example.com"), 200),
    ] {
        assert_eq!(told(get).await.0, status);
    }
    let refused = get().send().await;
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert!(!server.stderr().text().contains("correct-horse"));
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("zilla.yaml");
    fs::write(&config, server_of(NOWHERE).config()).expect("it is written");
    let empty = folder.path().join("empty");
    fs::write(&empty, "\n").expect("it is written");
    let (config, empty) = (config.to_str().expect("UTF-8"), empty.to_str().expect("UTF-8"));
    for (arguments, expected) in [
        (&["--admin", "0.0.0.0:0"][..], "--admin-token-file"),
        (&["--admin", "[::]:0"], "--admin-token-file"),
        (&["--admin", "localhost:0"], "--admin"),
        (&["--admin", "127.0.0.1:0", "--admin-token-file", "nowhere"], "nowhere"),
        (&["--admin", "127.0.0.1:0", "--admin-token-file", empty], "empty"),
        (&["--admin-token-file", empty], "--admin"),
    ] {
        let mut all = vec!["start", "-c", config];
        all.extend(arguments);
        let mut process = run(&all, &[]);
        assert_eq!(process.ended().await.code(), Some(2), "{arguments:?}");
        let said = process.stderr.all().await;
        assert!(said.contains(expected) && !said.contains("listening"), "{said}");
    }
}

/// A request to a socket of the file system, and its whole answer.
async fn ask_socket(path: &Path, request: &str) -> String {
    let mut socket = UnixStream::connect(path).await.expect("it listens");
    socket.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    soon("an answer", socket.read_to_string(&mut answer)).await.expect("a text");
    answer
}

#[tokio::test]
async fn a_socket_of_the_file_system_is_for_its_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let address = format!("unix:{}", path.display());
    let start = || server_of(NOWHERE).arguments(&["--admin", &address, "--drain", "0"]).run();
    let get = "GET /clusters HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let mut server = start().await;
    server.stderr().says("serving the administration").await;
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o600);
    assert!(ask_socket(&path, get).await.starts_with("HTTP/1.0 200 "));
    let foreign = "GET /clusters HTTP/1.0\r\nhost: example.com\r\n\r\n";
    assert!(ask_socket(&path, foreign).await.starts_with("HTTP/1.0 403 "));
    server.process().signal(Signal::KILL);
    server.process().ended().await;
    assert!(path.exists());

    // The next process takes the place of the one that was killed, and leaves nothing.
    let mut server = start().await;
    server.stderr().says("serving the administration").await;
    assert!(ask_socket(&path, get).await.starts_with("HTTP/1.0 200 "));
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
    assert!(!path.exists());
}

#[tokio::test]
async fn heads_are_bounded_and_bodies_are_not_waited_for() {
    let server = server_of(NOWHERE).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let long = Get::new(at, &format!("/topics?a={}", "a".repeat(40_000))).send().await;
    assert!([414, 431].contains(&long.status.as_u16()), "{}", long.status);
    let mut socket = TcpStream::connect(at).await.expect("a connection");
    let request =
        "POST /ready?state=on HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\nx";
    socket.write_all(request.as_bytes()).await.expect("it is taken");
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        assert_ne!(soon("an answer", socket.read_buf(&mut read)).await.expect("it is open"), 0);
    }
    assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", read.escape_ascii());

    // Connections that say nothing keep nobody from an answer.
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(at).await.expect("a connection"));
    }
    assert_eq!(ask(at, "GET", "/topics").await.0, 200);
}

#[tokio::test]
async fn the_configuration_in_force_has_no_secrets() {
    let kafka = server_of(NOWHERE)
        .sasl("sasl: { mechanism: plain, username: alice, password: hunter2 }")
        .arguments(&ADMIN);
    let config = kafka.config()
        + "guards:
  who:
    type: jwt
    options:
      issuer: https://auth.example.com
      audience: https://api.example.com
      keys: \"http://alice:hunter2@127.0.0.1:1/keys?key=hunter2\"
";
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::of_text(folder, &config, &ADMIN).await;
    let at = admin_address(&server).await;
    for path in ["/config", "/guards", "/clusters", "/topics"] {
        let answer = Get::new(at, path).send().await.text().await;
        assert!(!answer.contains("hunter2"), "{path}: {answer}");
    }
    let (_, config) = ask(at, "GET", "/config").await;
    assert_eq!(config["name"], "e2e");
    assert_eq!(config["bindings"]["tcp_in"]["options"]["port"], 0);
    assert_eq!(config["bindings"]["kafka_out"]["options"]["sasl"]["password"], "***");
    let (_, guards) = ask(at, "GET", "/guards").await;
    let guard = &guards["guards"][0];
    assert_eq!(
        (&guard["name"], &guard["issuer"]),
        (&json!("who"), &json!("https://auth.example.com"))
    );
    assert_eq!(guard["keys"]["url"], "http://***@127.0.0.1:1/keys?***");
    let (_, clusters) = ask(at, "GET", "/clusters").await;
    let cluster = &clusters["clusters"][0];
    assert_eq!(cluster["name"], "cache_client/cache_server/kafka_out");
    assert_eq!(cluster["servers"], json!([NOWHERE]));
}

#[tokio::test]
async fn levels_of_the_log_change_for_a_time() {
    let server = server_of(NOWHERE).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let is_debug = |line: &str| line.contains(r#""level":"DEBUG""#).then_some(());
    let (status, body) = ask(at, "POST", "/log?levels=debug&for=1").await;
    assert_eq!((status, body), (200, json!({ "levels": "debug", "for": 1 })));
    // Whatever happens at this level: here, a connection that fails.
    let told = async {
        while !server.stderr().text().lines().any(|line| is_debug(line).is_some()) {
            let mut socket = TcpStream::connect(server.address()).await.expect("a connection");
            socket.write_all(b"nonsense\r\n\r\n").await.expect("it is taken");
            let _ = socket.read(&mut [0; 64]).await;
            tokio::time::sleep(LOOK).await;
        }
    };
    // The second may be over before anything was told.
    let again = async {
        loop {
            tokio::time::sleep(LOOK * 20).await;
            ask(at, "POST", "/log?levels=debug&for=1").await;
        }
    };
    tokio::select! {
        () = soon("a line of this level", told) => {}
        () = again => {}
    }
    server.stderr().says("levels of the log are as before").await;
}

#[tokio::test]
async fn readiness_is_switched_and_a_drain_is_that_of_a_signal() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let arguments = ["--health", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain", "5"];
    let mut server = server(&kafka).arguments(&arguments).run().await;
    let at = admin_address(&server).await;
    let health = health_address(&server).await;
    let ready = async |expected: u16| {
        let asked = async {
            loop {
                let answer = Get::new(health, "/ready").send().await;
                if answer.status == expected {
                    return answer.text().await;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        soon("readiness", asked).await
    };
    ready(200).await;
    // Of many, one ends late, and the process with it.
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.get(&format!("/all/{topic}")).open().await);
    }
    assert_eq!(ask(at, "POST", "/ready?state=off").await, (200, json!({ "state": "off" })));
    assert!(ready(503).await.contains("an operator"));
    // All else goes on.
    assert_eq!(server.get("/nothing").send().await.status, 404);
    assert_eq!(ask(at, "POST", "/ready?state=on").await, (200, json!({ "state": "on" })));
    ready(200).await;

    assert_eq!(ask(at, "POST", "/drain").await, (202, json!({ "draining": true })));
    ready(503).await;
    for stream in &mut streams {
        assert!(stream.end().await.1, "cut off");
    }
    assert_eq!(server.process().ended().await.code(), Some(0));
}

/// A manager of processes asks for a drain, and signals a little later.
#[tokio::test]
async fn a_signal_after_a_request_to_drain_drops_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let arguments = ["--admin", "127.0.0.1:0", "--drain", "5"];
    let mut server = server(&kafka).arguments(&arguments).run().await;
    let at = admin_address(&server).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.get(&format!("/all/{topic}")).open().await);
    }
    assert_eq!(ask(at, "POST", "/drain").await.0, 202);
    server.stderr().says("told to stop").await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    server.process().signal(Signal::TERM);
    for stream in &mut streams {
        assert!(stream.end().await.1, "cut off");
    }
    assert_eq!(server.process().ended().await.code(), Some(0));
    assert!(!server.stderr().text().contains("dropping"));
}
