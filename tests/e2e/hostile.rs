//! Nonsense of clients: no answer of 5xx, and the server serves on.

use crate::support::{Record, Server, kafka, raw, server};

/// The status of the first answer, if there is one.
fn status(read: &[u8]) -> Option<u16> {
    let rest = read.strip_prefix(b"HTTP/1.1 ").or_else(|| read.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

async fn serves_on(server: &Server, path: &str, case: &str) {
    let mut stream = server.get(path).open().await;
    assert_eq!(stream.next().await, "data:a\nid:AQIAAg==\n", "{case}");
}

const H2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn hostile_requests_get_a_4xx_or_are_closed() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let field =
        |field: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes();
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    // What may come back: a status of these, or no answer but the end of the connection.
    for (case, bytes, allowed) in [
        ("garbage", b"\x00\x01\x02\xff\xfe\r\n\r\n".to_vec(), &[400][..]),
        ("a TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
        ("empty lines", b"\r\n\r\n\r\n\r\nGARBAGE\r\n\r\n".to_vec(), &[400]),
        ("an unknown version", line("GET / HTTP/9.9"), &[400, 505]),
        ("no version", line("GET /"), &[400]),
        ("no path", line("GET  HTTP/1.1"), &[400]),
        ("a space in the path", line("GET /a b HTTP/1.1"), &[400]),
        ("a control byte in the path", line("GET /\x01 HTTP/1.1"), &[400]),
        ("bytes in the path", b"GET /all/\xff\xff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), &[400, 404]),
        ("a bad method", line("G@T / HTTP/1.1"), &[400]),
        ("a huge path", line(&format!("GET /{} HTTP/1.1", "a".repeat(100_000))), &[414, 431]),
        ("a huge field", field(&format!("x: {}", "a".repeat(100_000))), &[431]),
        ("a huge id", field(&format!("last-event-id: {}", "A".repeat(40_000))), &[431]),
        ("many fields", field(many.trim_end()), &[431]),
        ("a field without a name", field(": x"), &[400]),
        ("a field with a space", field("a b: x"), &[400]),
        ("a folded field", field("a: x\r\n y"), &[400]),
        ("a NUL in a field", field("a: x\0y"), &[400]),
        ("a bare CR in a field", field("a: x\ry"), &[400]),
        ("lengths that differ", field("content-length: 1\r\ncontent-length: 2"), &[400]),
        ("a negative length", field("content-length: -1"), &[400]),
        ("a length that overflows", field("content-length: 99999999999999999999999"), &[400]),
        ("an unknown coding", field("transfer-encoding: gzip"), &[400, 501]),
        ("chunked twice over", field("transfer-encoding: chunked, gzip"), &[400]),
        ("a chunk of no length", [&b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"[..], b"zz\r\n"].concat(), &[400, 404]),
        ("an absolute form", line("GET http://other.example/nothing HTTP/1.1"), &[404]),
        ("an absolute form of nonsense", line("GET gopher://%zz/ HTTP/1.1"), &[400, 404]),
        ("OPTIONS *", line("OPTIONS * HTTP/1.1"), &[404, 405]),
        ("GET *", line("GET * HTTP/1.1"), &[400, 404]),
        ("CONNECT", line("CONNECT other.example:443 HTTP/1.1"), &[400, 404, 405]),
        ("CONNECT of a path", line("CONNECT / HTTP/1.1"), &[400, 404, 405]),
        ("TRACE", line("TRACE / HTTP/1.1"), &[404, 405]),
        ("an upgrade", field("connection: upgrade, close\r\nupgrade: websocket\r\norigin: null"), &[403]),
        ("a bad escape", line("GET /all/%zz HTTP/1.1"), &[404]),
        ("half an escape", line("GET /all/% HTTP/1.1"), &[404]),
        ("a climb", line("GET /all/../../etc/passwd HTTP/1.1"), &[404]),
        ("a fragment", line("GET /nothing#fragment HTTP/1.1"), &[400, 404]),
        ("HTTP/1.0", b"GET /nothing HTTP/1.0\r\n\r\n".to_vec(), &[404]),
        ("an early end of HTTP/2", [H2, b"\0\0\0\x04\0\0\0\0\0"].concat(), &[]),
        ("HTTP/2 of garbage", [H2, &[0xff; 64]].concat(), &[]),
        ("HTTP/2 that begins with data", [H2, b"\0\0\x01\0\0\0\0\0\x01x"].concat(), &[]),
        ("HTTP/2 of endless continuations", [H2, b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x01\x01\0\0\0\0\x01\x82", &b"\0\0\0\x09\0\0\0\0\x01".repeat(10_000)].concat(), &[]),
    ] {
        // Over HTTP/2 the server speaks first and waits for more: enough has come with a GOAWAY.
        let preface = bytes.starts_with(H2);
        let done = |read: &[u8]| match preface {
            true => case.starts_with("an early end") && !read.is_empty(),
            false => status(read).is_some(),
        };
        let read = raw(server.address(), &bytes, done).await;
        match status(&read) {
            Some(status) => assert!(allowed.contains(&status), "{case}: {status}"),
            None => assert!(preface || read.is_empty(), "{case}: {}", read.escape_ascii()),
        }
        serves_on(&server, &path, case).await;
    }
}

#[tokio::test]
async fn no_request_hides_behind_another() {
    let kafka = kafka().await;
    let server = server(&kafka).run().await;
    // Two readings of where the first request ends: by one of them, in front of us perhaps, all of
    // it is one request. RFC 9112, 6.1: close the connection after it.
    let body = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for framing in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", body.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", body.len()),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding : chunked".to_owned(),
    ] {
        let request = format!("POST /first HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n{body}");
        // A last request that asks for the end, so that the end comes in any case.
        let last = "GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let read = raw(server.address(), (request + last).as_bytes(), |_| false).await;
        assert!(read.starts_with(b"HTTP/1.1 4"), "{framing}: {}", read.escape_ascii());
    }
    server.get("/afterwards").send().await;
    server.stdout().says("/afterwards").await;
    let log = server.stdout().text();
    assert!(!log.contains("/smuggled"), "{log}");
}

#[tokio::test]
async fn a_client_that_leaves_at_any_byte_disturbs_nobody() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    for cut in 0..=request.len() {
        raw(server.address(), &request.as_bytes()[..cut], |_| true).await;
    }
    for cut in 0..=H2.len() {
        raw(server.address(), &H2[..cut], |_| true).await;
    }
    serves_on(&server, &path, "after all of them").await;
}
