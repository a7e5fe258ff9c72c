//! A configuration of the shape of Zilla's example `sse.kafka.fanout.jwt` starts as it is, with keys
//! put in.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::support::{
    Authority, CHALLENGE, Kafka, LOOK, PASSWORD, Record, Server, Tls, Token, Version, ec_key,
    ends_at, in_seconds, kafka_alone, keys_store, rsa_key, soon,
};

/// The port that the example names: one of them at a time.
static PORT: Mutex<()> = Mutex::const_new(());

/// The example with keys, its store and its page.
fn example(authority: &Authority) -> TempDir {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/examples");
    let text = fs::read_to_string(examples.join("fanout-jwt.yaml")).expect("the example");
    let of = |key: &serde_json::Value, name: &str| key[name].as_str().expect("a text").to_owned();
    let rsa = &rsa_key().public;
    let ec = &ec_key().public;
    let x = of(ec, "x");
    let y = of(ec, "y");
    let text = text.replacen("n: \"…\"", &format!("n: \"{}\"", of(rsa, "n")), 1).replacen(
        "x: \"…\", y: \"…\"",
        &format!("x: \"{x}\", y: \"{y}\""),
        1,
    );
    assert!(!text.contains('…'), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("it is written");
    };
    write("zilla.yaml", text.as_bytes());
    write("www/index.html", &fs::read(examples.join("www/index.html")).expect("the page"));
    write("tls/localhost.p12", &keys_store(&[&authority.issue(&["localhost"])]));
    folder
}

async fn start(folder: &TempDir, authority: &Authority, kafka: &Kafka) -> Server {
    let free = async {
        while TcpListener::bind("0.0.0.0:7143").is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("port 7143 is free", free).await;
    kafka.create_anew("events", 2).await;
    let environment =
        [("KAFKA_BOOTSTRAP_SERVER", kafka.servers()), ("KEYSTORE_PASSWORD", PASSWORD)];
    let server = Server::start(&folder.path().join("zilla.yaml"), &environment).await;
    server.encrypted(Tls::trusting(authority))
}

fn token() -> Token {
    Token::of("me").roles("proxy:stream")
}

#[tokio::test]
async fn fanout_jwt_streams_to_whom_a_token_lets_in_beside_a_page() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let authority = Authority::new("Test authority");
    let folder = example(&authority);
    let server = start(&folder, &authority, &kafka).await;
    kafka.produce("events", Record::value("a"));
    let get = |path: &str| server.get(path).over(Version::Http2).authority("localhost:7143");

    let rsa = token().sign();
    let ec = token().sign_by(ec_key());
    for token in [&rsa, &ec] {
        let by_header = get("/events").bearer(token);
        let by_query = get(&format!("/events?access_token={token}"));
        for get in [by_header, by_query] {
            assert_eq!(get.open().await.next().await, "data:a\nid:AQQAAgIA\n");
        }
    }
    let resumed = get("/events").bearer(&ec).last_event_id("AQQAAgIA").open().await;
    let mut resumed = resumed;
    kafka.produce("events", Record::value("b").partition(1));
    assert_eq!(resumed.next().await, "data:b\nid:AQQAAgIC\n");

    for (case, get, status) in [
        ("no token", get("/events"), 401),
        ("a bad token", get("/events").bearer(&token().forge()), 401),
        ("a bad token in the query", get("/events?access_token=x"), 401),
        ("no role", get("/events").bearer(&Token::of("me").roles("proxy").sign()), 403),
        ("another path", get("/events/").bearer(&rsa), 404),
        ("another file", get("/missing.html"), 404),
        ("a file outside", get("/../zilla.yaml"), 404),
        ("the page", get("/index.html"), 200),
    ] {
        let answer = get.header("origin", "https://other.example").send().await;
        assert_eq!(answer.status, status, "{case}");
        let demanded = (status == 401).then_some("Bearer");
        assert_eq!(answer.header("www-authenticate"), demanded, "{case}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{case}");
    }
    let page = get("/index.html").send().await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().await.starts_with("<!doctype html>"));

    // A page of another origin asks before it answers a challenge; it has no token then.
    let wanted = "authorization,content-type,x-challenge-session";
    let preflight = get("/events").method("OPTIONS").header("origin", "https://other.example");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", wanted);
    let preflight = preflight.send().await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some(wanted));
}

#[tokio::test]
async fn fanout_jwt_challenges_and_goes_on_with_the_answer() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let authority = Authority::new("Test authority");
    let folder = example(&authority);
    let server = start(&folder, &authority, &kafka).await;
    let expiry = in_seconds(4);
    let connection = server.http2().await;
    let left = server.http2().await;
    let open = async |connection: &crate::support::Http2| {
        // Within the ten seconds of the challenge.
        let get = connection.get("/events").authority("localhost:7143");
        let mut stream = get.bearer(&token().until(expiry).sign()).open().await;
        assert_eq!(stream.next().await, CHALLENGE);
        stream
    };
    let mut stream = open(&connection).await;
    let mut other = open(&connection).await;
    let mut left = open(&left).await;
    // As a page of another origin answers it.
    let get = connection.get("/events").authority("localhost:7143").answer();
    let get = get.header("origin", "https://other.example");
    let answer = get.bearer(&token().sign_by(ec_key())).send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(ends_at(&mut left, expiry).await, [""; 0]);
    kafka.produce("events", Record::value("after"));
    for stream in [&mut stream, &mut other] {
        assert_eq!(stream.next().await, "data:after\nid:AQQAAgIA\n");
    }
}

#[tokio::test]
async fn fanout_jwt_speaks_http2_and_nothing_else() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let authority = Authority::new("Test authority");
    let folder = example(&authority);
    let server = start(&folder, &authority, &kafka).await;
    let tls = server.tls().expect("it is encrypted");
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let refused = soon("a handshake", tls.clone().alpn(&["http/1.1"]).handshake(socket)).await;
    let refused = refused.expect_err("there is no protocol for both").to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    // Where both are offered it is HTTP/2.
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let both = tls.alpn(&["http/1.1", "h2"]).handshake(socket).await.expect("a handshake");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn the_example_is_the_one_that_was_given() {
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/examples/fanout-jwt.yaml");
    if !given.exists() {
        return;
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/examples/fanout-jwt.yaml");
    assert_eq!(fs::read(ours).expect("our copy"), fs::read(given).expect("it was given"));
}
