//! The streams of a simulated server, forwarded by the sse crate, with the clock paused.

mod support;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use support::{Connector, STREAM, header, server, server_with_pipe};
use tailwater_client::{Error, UpstreamEvents, UpstreamLayer};
use tailwater_sse::{Rejection, SseBody, SseLayer};
use tower::{Layer, ServiceExt};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> UpstreamLayer {
    let base = Uri::from_static("http://events.test:8080");
    UpstreamLayer::new(base).expect("a server")
}

type Answer = Response<Pin<Box<SseBody<UpstreamEvents>>>>;

async fn ask(connector: Connector, layer: UpstreamLayer, request: Request<()>) -> Answer {
    ask_of(SseLayer::new(), connector, layer, request).await
}

async fn ask_of(
    sse: SseLayer,
    connector: Connector,
    layer: UpstreamLayer,
    request: Request<()>,
) -> Answer {
    let answer = sse.layer(layer.layer(connector)).oneshot(request).await;
    answer.expect("a rejection is an answer").map(Box::pin)
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

/// The next write; `None` at the end.
async fn write(answer: &mut Answer) -> Option<String> {
    let frame = answer.body_mut().frame().await?.expect("a body that does not fail");
    let data = frame.into_data().expect("no trailers");
    Some(String::from_utf8(data.to_vec()).expect("text"))
}

/// Skips the first write, which is the sse crate's own.
async fn opened(answer: &mut Answer) {
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(write(answer).await.expect("a first write").starts_with("retry:"));
}

/// All writes after the first one, up to the end.
async fn rest(mut answer: Answer) -> String {
    opened(&mut answer).await;
    let mut all = String::new();
    while let Some(write) = write(&mut answer).await {
        all.push_str(&write);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_the_server_says_is_encoded_anew() {
    let (connector, mut server) = server();
    let serve = async {
        let body = "\u{feff}:hello\nretry: 1500\nid: 1\n\n\
                    id: 2\revent: e\rdata: a\r\ndata:  b\nunknown: x\n\n\
                    data\ntimestamp:0x10\n\nid\n\nevent:none\n\ndata:c\nid:7\n\ndata:cut";
        server.stream(body).await;
        server.stop().await;
    };
    let (answer, ()) =
        tokio::join!(async { rest(ask(connector, layer(), get("/")).await).await }, serve);
    assert_eq!(
        answer,
        "retry:1500\nid:1\n\nevent:e\ndata:a\ndata:  b\nid:2\n\ndata:\n\nid:\n\ndata:c\nid:7\n\n"
    );
}

/// The bounds of `retry:` hold for this client's reconnects only: `retry:50` reached clients as
/// `retry:100`.
#[tokio::test(start_paused = true)]
async fn a_reconnection_time_goes_on_as_the_server_said_it() {
    for field in ["retry:0\n", "retry:50\n", "retry:3600000\n"] {
        let (connector, mut server) = server();
        let serve = async {
            server.stream(field).await;
            server.stop().await;
        };
        let answer = async { rest(ask(connector, layer(), get("/")).await).await };
        let (answer, ()) = tokio::join!(answer, serve);
        assert!(answer.starts_with(field), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn timestamps_go_on_if_they_are_asked_for() {
    for (accept, timestamp) in
        [("text/event-stream", ""), ("text/event-stream;ext=timestamp", "timestamp:0x10\n")]
    {
        let (connector, mut server) = server();
        let mut request = get("/");
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let serve = async {
            let sent = server.stream("timestamp:0x10\ndata:x\n\n").await;
            server.stop().await;
            sent
        };
        let answer = async { rest(ask(connector, layer(), request).await).await };
        let (answer, sent) = tokio::join!(answer, serve);
        assert_eq!(header(&sent, "accept"), Some(accept));
        assert_eq!(answer, format!("{timestamp}data:x\n\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn path_and_query_go_on_and_credentials_do_not() {
    let (connector, mut server) = server();
    let mut request =
        get("/a%20b/c?of=x%26y&access_token=secret&lastEventId=ignored&access%5Ftoken=secret&z");
    for (name, value) in [
        (AUTHORIZATION, "Bearer secret"),
        (COOKIE, "session=secret"),
        (HeaderName::from_static("host"), "downstream.test"),
        (HeaderName::from_static("last-event-id"), "17"),
        (HeaderName::from_static("x-api-key"), "secret"),
        (HeaderName::from_static("accept-language"), "de"),
        (HeaderName::from_static("connection"), "keep-alive, x-hop"),
        (HeaderName::from_static("x-hop"), "hop"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let names = ["accept-language", "x-hop", "host", "connection", "accept", "x-none"];
    let layer =
        layer().strip_query(["access_token"]).forward_headers(names.map(HeaderName::from_static));
    let (answer, sent) = tokio::join!(ask(connector, layer, request), server.stop());
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        sent,
        "GET /a%20b/c?of=x%26y&z HTTP/1.1\r\naccept-language: de\r\naccept: text/event-stream\r\n\
         cache-control: no-cache\r\nlast-event-id: 17\r\nhost: events.test:8080\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_go_on_where_they_are_named_and_headers_may_be_added() {
    let (connector, mut server) = server();
    let mut request = get("/elsewhere/?lastEventId=%E2%80%A6");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
    let tenant = HeaderName::from_static("x-tenant");
    let layer = layer().header(tenant, HeaderValue::from_static("a"));
    let layer = layer.forward_headers([AUTHORIZATION]);
    let (_, sent) = tokio::join!(ask(connector, layer, request), server.stop());
    assert!(sent.starts_with("GET /elsewhere/ HTTP/1.1\r\n"), "{sent}");
    assert_eq!(header(&sent, "host"), Some("events.test:8080"));
    assert_eq!(header(&sent, "authorization"), Some("Bearer mine"));
    assert_eq!(header(&sent, "x-tenant"), Some("a"));
    assert_eq!(header(&sent, "last-event-id"), Some("\u{2026}"));
}

/// Routes do not resolve dot segments, but many servers do: `/public/../private/x` was forwarded unchanged,
/// and a client without a token reached a guarded path.
#[tokio::test(start_paused = true)]
async fn a_path_that_the_server_may_read_as_another_is_not_found_and_the_server_is_not_asked() {
    for path in [
        "/public/../private/x",
        "/public/%2e%2e/private/x",
        "/public/..%5cprivate/x",
        "/public/..\\private/x",
        "/public/..;/private/x",
        "/public/..%2fprivate/x",
        "/public/x%00",
        "//private/x",
    ] {
        let (connector, server) = server();
        let answer = ask(connector, layer(), get(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let rejection = answer.extensions().get::<Arc<Rejection>>().expect("a rejection");
        let reason = std::error::Error::source(&**rejection).expect("a reason");
        assert!(matches!(reason.downcast_ref(), Some(Error::Path(_))), "{path}: {reason}");
        assert!(!reason.to_string().contains("private"), "{reason}");
        assert!(server.calls().is_empty(), "{path}");
    }
    for path in ["/a.b/..c/...", "/a%20b", "/a;b/", "/?a=/../b%2F%5C//c"] {
        let (connector, mut server) = server();
        let (_, sent) = tokio::join!(ask(connector, layer(), get(path)), server.stop());
        assert!(sent.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path}: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_decides_about_the_status() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    for (response, status) in [
        ("204 No Content", StatusCode::NO_CONTENT),
        ("200 OK\r\ncontent-type: text/html", StatusCode::BAD_GATEWAY),
        ("200 OK", StatusCode::BAD_GATEWAY),
        ("401 Unauthorized", StatusCode::BAD_GATEWAY),
        ("403 Forbidden", StatusCode::BAD_GATEWAY),
        ("404 Not Found", StatusCode::BAD_GATEWAY),
        ("500 Internal Server Error", StatusCode::BAD_GATEWAY),
        ("302 Found\r\nlocation: http://elsewhere/", StatusCode::BAD_GATEWAY),
    ] {
        let (connector, mut server) = server();
        let request = get("/path-secret?access_token=secret");
        let serve = async {
            let mut peer = server.answer(format!("HTTP/1.1 {response}\r\n\r\n")).await;
            peer.closed().await;
        };
        let (answer, ()) = tokio::join!(ask(connector, layer(), request), serve);
        assert_eq!(answer.status(), status, "{response}");
        let rejection = answer.extensions().get::<Arc<Rejection>>().expect("a rejection");
        let reason = std::error::Error::source(&**rejection);
        assert!(reason.is_some_and(|reason| reason.is::<Error>()), "{rejection:?}");
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
    let log = lines.text();
    assert_eq!(log.matches(" WARN ").count(), 7, "{log}");
    for part in ["500 Internal Server Error", "text/html", "events.test:8080", "302 Found"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("secret") && !log.contains("elsewhere"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_is_a_bad_gateway() {
    let (connector, server) = server();
    server.refuse(1);
    let answer = ask(connector, layer(), get("/")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(server.calls().len(), 1, "the client comes again, not we");

    // A server that sends nothing, and one that closes the connection.
    let (connector, mut server) = support::server();
    let serve = async {
        server.request().await.closed().await;
        drop(server.request().await);
    };
    let asked = async {
        for _ in 0..2 {
            let answer = ask(connector.clone(), layer(), get("/")).await;
            assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        }
    };
    tokio::join!(asked, serve);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_no_header_can_carry_is_a_bad_request() {
    let (connector, server) = server();
    let answer = ask(connector, layer(), get("/?lastEventId=a%0D%0Aforged:b")).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(server.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_server_is_asked_again_while_the_stream_stays_open() {
    let (connector, mut server) = server();
    let serve = async {
        let first = server.stream("data:a\nid:1\n\nda").await;
        server.refuse(3);
        let second = server.stream("data:b\nid:2\n\n").await;
        server.stop().await;
        [first, second]
    };
    let asked = async {
        let answer = ask(connector, layer(), get("/?lastEventId=0")).await;
        rest(answer).await
    };
    let (all, requests) = tokio::join!(asked, serve);
    let ids = requests.each_ref().map(|request| header(request, "last-event-id"));
    assert_eq!(ids, [Some("0"), Some("1")]);
    // 3 + 6 + 12 + 24 seconds and more: long enough for comments of the sse crate.
    assert_eq!(all.replace(":\n", ""), "data:a\nid:1\n\ndata:b\nid:2\n\n".replace(":\n", ""));
    assert!(all.starts_with("data:a\nid:1\n\n:\n:\n"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_server_is_asked_again_with_the_headers_that_opened_the_stream() {
    let (connector, mut server) = server();
    let mut request = get("/");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer first"));
    let serve = async {
        let first = server.stream("data:a\n\n").await;
        [first, server.stop().await]
    };
    let layer = layer().forward_headers([AUTHORIZATION]);
    let asked = async { rest(ask(connector, layer, request).await).await };
    let (_, requests) = tokio::join!(asked, serve);
    let tokens = requests.each_ref().map(|request| header(request, "authorization"));
    assert_eq!(tokens, [Some("Bearer first"); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_whose_server_is_away_for_now_is_asked_again() {
    let (connector, mut server) = server();
    let serve = async {
        server.stream("data:a\nid:1\n\n").await;
        for status in ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
            server.answer(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        }
        let resumed = server.stream("data:b\nid:2\n\n").await;
        server.stop().await;
        resumed
    };
    let asked = async { rest(ask(connector, layer(), get("/")).await).await };
    let (all, resumed) = tokio::join!(asked, serve);
    assert_eq!(header(&resumed, "last-event-id"), Some("1"));
    assert_eq!(all.replace(":\n", ""), "data:a\nid:1\n\ndata:b\nid:2\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_as_something_else_ends_the_stream_cleanly() {
    for response in [
        "401 Unauthorized",
        "404 Not Found",
        "200 OK\r\ncontent-type: text/html",
        "204 No Content",
        "307 Temporary Redirect\r\nlocation: /",
    ] {
        let (connector, mut server) = server();
        let serve = async {
            server.stream("data:a\n\n").await;
            server.answer(format!("HTTP/1.1 {response}\r\n\r\n")).await;
        };
        let asked = async { rest(ask(connector, layer(), get("/")).await).await };
        let (all, ()) = tokio::join!(asked, serve);
        assert_eq!(all, "data:a\n\n", "{response}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_an_event_that_is_too_long_is_written() {
    let (connector, mut server) = server();
    let serve = async {
        let long = "x".repeat(2000);
        let mut peer = server.answer(format!("{STREAM}data:a\n\ndata:{long}\n\ndata:b\n\n")).await;
        peer.closed().await;
    };
    let asked = async { rest(ask(connector, layer().max_event_bytes(1000), get("/")).await).await };
    let (all, ()) = tokio::join!(asked, serve);
    assert_eq!(all, "data:a\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_write_has_as_many_events_as_fit() {
    let (connector, mut server) = server();
    let event = |length: usize| format!("data:{}\n\n", "x".repeat(length - 7));
    let stream = [20, 30, 50, 1, 99, 500, 10, 100].map(|length| event(length.max(8))).concat();
    let serve = async {
        server.stream(&stream).await;
        server.stop().await;
    };
    let asked = async {
        let sse = SseLayer::new().write_limit(100);
        let mut answer = ask_of(sse, connector, layer(), get("/")).await;
        opened(&mut answer).await;
        let mut writes = Vec::new();
        while let Some(write) = write(&mut answer).await {
            writes.push(write);
        }
        writes
    };
    let (writes, ()) = tokio::join!(asked, serve);
    let lengths: Vec<_> = writes.iter().map(String::len).collect();
    assert_eq!(lengths, [100, 8, 99, 500, 10, 100]);
    assert_eq!(writes.concat(), stream);
}

#[tokio::test(start_paused = true)]
async fn the_servers_connection_ends_with_the_clients() {
    let (connector, mut server) = server();
    // Before the response.
    let mut peer = tokio::select! {
        biased;
        peer = server.request() => peer,
        _ = ask(connector.clone(), layer(), get("/")) => unreachable!("there is no answer"),
    };
    peer.closed().await;
    // On the open stream.
    let (mut answer, mut peer) =
        tokio::join!(ask(connector.clone(), layer(), get("/")), server.answer(STREAM));
    opened(&mut answer).await;
    tokio::time::timeout(SECOND, write(&mut answer)).await.unwrap_err();
    drop(answer);
    peer.closed().await;
    // HEAD.
    let request = Request::head("/").body(()).unwrap();
    let (answer, mut peer) = tokio::join!(ask(connector, layer(), request), server.answer(STREAM));
    assert_eq!(answer.status(), StatusCode::OK);
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
async fn the_server_is_read_as_the_client_reads() {
    let (connector, mut server) = server_with_pipe(1024);
    let (mut answer, mut peer) =
        tokio::join!(ask(connector, layer(), get("/")), server.answer(STREAM));
    let (sender, sent) = tokio::sync::watch::channel(0_usize);
    let event = format!("data:{}\n\n", "x".repeat(1017));
    tokio::spawn(async move {
        loop {
            peer.send(&event).await;
            sender.send_modify(|sent| *sent += 1);
        }
    });
    opened(&mut answer).await;
    let mut read = 0;
    for _ in 0..50 {
        read += write(&mut answer).await.unwrap().len();
        // The paused clock advances only when no task can run: the writer is blocked then.
        tokio::time::sleep(SECOND).await;
        let ahead = *sent.borrow() * 1024 - read;
        assert!(ahead < 128 << 10, "{ahead} bytes were read that nobody asked for");
    }
}

#[test]
fn a_base_is_a_server_and_nothing_more() {
    for (base, expected) in [
        ("http://events.test", None),
        ("https://events.test:8443/", None),
        ("http://events.test/path", Some("no path and no query")),
        ("http://events.test/?query", Some("no path and no query")),
        ("http://user@events.test/", Some("no user")),
        ("events.test:80", Some("`http` or `https`")),
    ] {
        let error = UpstreamLayer::new(base.parse().unwrap()).err();
        let expected =
            expected.map(|what| format!("{what} is expected of the URL of an event stream"));
        assert_eq!(error.map(|error| error.to_string()), expected, "{base}");
    }
}

/// The lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn subscribe(&self) -> (DefaultGuard, Dispatch) {
        // tracing caches whether a line of code is enabled. With a single subscriber, a line that another
        // test's thread reaches first would be disabled for all threads.
        let another = Dispatch::new(NoSubscriber::new());
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        (set_default(subscriber), another)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
