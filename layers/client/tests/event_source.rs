//! An event source against a simulated server, over HTTP/1, with the clock paused.

mod support;

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use support::{Connector, STREAM, gaps, header, server, server_with_pipe};
use tailwater_client::{Error, EventSource, EventSourceBuilder};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn source(connector: Connector) -> EventSource {
    builder(connector).build().expect("a URL of a server")
}

fn builder(connector: Connector) -> EventSourceBuilder<Connector> {
    let uri = Uri::from_static("http://events.test:8080/prices?of=all&token=secret");
    EventSource::builder(uri).connector(connector)
}

/// Type, data and last event id of each event up to the end.
async fn all(mut source: EventSource) -> Vec<(String, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut events = Vec::new();
    while let Some(event) = source.next().await {
        let event = event.expect("an event");
        let name = event.event.as_deref().unwrap_or(b"message");
        events.push((text(name), text(&event.data), text(source.last_event_id())));
    }
    assert!(source.next().await.is_none(), "after its end");
    events
}

fn event(name: &str, data: &str, id: &str) -> (String, String, String) {
    (name.to_owned(), data.to_owned(), id.to_owned())
}

/// The error that ends the source, before any event.
async fn error(mut source: EventSource) -> Error {
    let error = source.next().await.expect("an error").expect_err("no event");
    assert!(source.next().await.is_none(), "after {error:?}");
    error
}

#[tokio::test(start_paused = true)]
async fn a_request_says_what_it_wants_and_no_more() {
    let (connector, mut server) = server();
    tokio::join!(async { assert!(all(source(connector)).await.is_empty()) }, async {
        let request = server.stop().await;
        assert_eq!(
            request,
            "GET /prices?of=all&token=secret HTTP/1.1\r\n\
                 accept: text/event-stream\r\n\
                 cache-control: no-cache\r\n\
                 host: events.test:8080\r\n\r\n"
        );
        assert_eq!(server.calls()[0].0, "http://events.test:8080/prices?of=all&token=secret");
    });
}

#[tokio::test(start_paused = true)]
async fn headers_and_a_first_id_are_sent_but_replace_nothing() {
    let (connector, mut server) = server();
    let mut builder = builder(connector).last_event_id("AQIAAg==");
    for (name, value) in [
        ("authorization", "Bearer secret"),
        ("accept", "text/html"),
        ("last-event-id", "forged"),
        ("host", "elsewhere"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("accept-encoding", "gzip"),
    ] {
        let name = HeaderName::from_static(name);
        builder = builder.header(name, HeaderValue::from_static(value));
    }
    assert!(!format!("{builder:?}").contains("secret"));
    let source = builder.build().expect("a URL of a server");
    assert!(!format!("{source:?}").contains("secret"), "{source:?}");
    let (_, request) = tokio::join!(all(source), server.stop());
    for (name, value) in [
        ("authorization", Some("Bearer secret")),
        ("accept", Some("text/event-stream")),
        ("last-event-id", Some("AQIAAg==")),
        ("host", Some("events.test:8080")),
        ("transfer-encoding", None),
        ("connection", None),
        ("accept-encoding", None),
    ] {
        assert_eq!(header(&request, name), value, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_read_wherever_it_is_cut() {
    for pipe_bytes in [1, 2, 3, 7, 64 << 10] {
        let (connector, mut server) = server_with_pipe(pipe_bytes);
        let serve = async {
            let body = "\u{feff}data:a\r\ndata:b\rid:1\n\r\n:comment\r\rdata: c\nevent:e\r\n\r\nid:2\n\ndata\n\n";
            server.stream(body).await;
            server.stop().await
        };
        let (events, request) = tokio::join!(all(source(connector)), serve);
        let expected =
            [event("message", "a\nb", "1"), event("e", "c", "1"), event("message", "", "2")];
        assert_eq!(events, expected, "{pipe_bytes}");
        assert_eq!(header(&request, "last-event-id"), Some("2"), "{pipe_bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_of_every_kind_are_read_and_followed_by_the_next() {
    const CHUNKED: &str =
        "1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    const STREAM: &str = "1.1 200 OK\r\ncontent-type: text/event-stream";
    // Bodies with and without a length, and their ends.
    for (head, body, ends) in [
        (STREAM.replace("1.1", "1.0"), "data:x\n\n", false),
        (STREAM.to_owned(), "data:x\n\n", false),
        (format!("{STREAM}\r\ncontent-length: 8"), "data:x\n\n", true),
        (format!("{STREAM}\r\ncontent-length: 9"), "data:x\n\n", false),
        (CHUNKED.to_owned(), "3;ext=1\r\ndat\r\n5\r\na:x\n\n\r\n0\r\ntrailer: x\r\n\r\n", true),
        (CHUNKED.to_owned(), "8\r\ndata:x\n\n\r\n9\r\ndata", false),
        (CHUNKED.to_owned(), "8\r\ndata:x\n\n\r\nno size\r\n", true),
        (format!("1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/{STREAM}"), "data:x\n\n", false),
    ] {
        let (connector, mut server) = server();
        let serve = async {
            let mut peer = server.answer(format!("HTTP/{head}\r\n\r\n{body}")).await;
            if ends {
                peer.closed().await;
            }
            drop(peer);
            server.stop().await
        };
        let (events, _) = tokio::join!(all(source(connector)), serve);
        assert_eq!(events, [event("message", "x", "")], "{head} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_reconnect_asks_for_what_follows_the_last_whole_event() {
    let (connector, mut server) = server();
    let serve = async {
        let mut requests = Vec::new();
        for body in [
            "data:a\nid:1\n\n",
            "data:b\n\nid:2\ndata:cut",
            "id:3\n\n",
            ":nothing\n\n",
            "id:\n\n",
            "data:c\nid:with\0nul\n\n",
            "data:d\nid:\u{2026}\n\n",
        ] {
            requests.push(server.stream(body).await);
        }
        requests.push(server.stop().await);
        requests
    };
    let (events, requests) = tokio::join!(all(source(connector)), serve);
    let ids: Vec<_> = requests.iter().map(|request| header(request, "last-event-id")).collect();
    assert_eq!(
        ids,
        [None, Some("1"), Some("1"), Some("3"), Some("3"), None, None, Some("\u{2026}")]
    );
    let expected = [("a", "1"), ("b", "1"), ("c", ""), ("d", "\u{2026}")];
    assert_eq!(events, expected.map(|(data, id)| event("message", data, id)));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_no_header_can_carry_is_an_error_when_it_is_needed() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let (first, _) = tokio::join!(source.next(), server.stream("data:x\nid:a\u{1}b\n\n"));
    first.unwrap().unwrap();
    assert!(matches!(error(source).await, Error::LastEventId));
}

#[tokio::test(start_paused = true)]
async fn attempts_come_ever_later_up_to_a_bound_until_one_brings_something() {
    let (connector, mut server) = server();
    server.refuse(6);
    let serve = async {
        server.stream(":\n").await;
        server.refuse(1);
        server.stop().await;
    };
    tokio::join!(all(source(connector)), serve);
    let gaps = gaps(&server.calls());
    let expected = [3, 6, 12, 24, 30, 30, 3, 6];
    assert_eq!(gaps.len(), expected.len());
    for (gap, seconds) in gaps.iter().zip(expected) {
        let least = SECOND * seconds;
        // Tokio's timers round up to a millisecond.
        let most = least * 5 / 4 + Duration::from_millis(2);
        assert!((least..=most).contains(gap), "{gaps:?}");
    }
    assert!(gaps.iter().any(|gap| gap.subsec_nanos() != 0), "no jitter: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_is_left_alone_ever_longer() {
    let (connector, mut server) = server();
    let serve = async {
        for _ in 0..3 {
            server.stream("").await;
        }
        server.stop().await;
    };
    tokio::join!(all(source(connector)), serve);
    let gaps = gaps(&server.calls());
    for (gap, seconds) in gaps.iter().zip([3, 6, 12]) {
        assert!(*gap >= SECOND * seconds, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_reconnection_time_counts_within_bounds() {
    type Configure = fn(EventSourceBuilder<Connector>) -> EventSourceBuilder<Connector>;
    let default: Configure = |builder| builder;
    let rows: [(_, Configure, _); 8] = [
        ("retry:500\n", default, 500),
        ("retry:500\ndata:cut", default, 500),
        ("retry:0\n", default, 100),
        ("retry:99999999999999999999999\n", default, 60_000),
        ("retry:-1\n\n:\n", default, 3000),
        ("retry:1.5\n:\n", default, 3000),
        ("retry:5000\n", |builder| builder.retry_bounds(Duration::ZERO, SECOND), 1000),
        (":\n", |builder| builder.retry(SECOND * 40), 40_000),
    ];
    for (field, configure, milliseconds) in rows {
        let (connector, mut server) = server();
        let serve = async {
            server.stream(field).await;
            server.stop().await;
        };
        let source = configure(builder(connector)).build().expect("a URL of a server");
        tokio::join!(all(source), serve);
        let gap = gaps(&server.calls())[0];
        let least = Duration::from_millis(milliseconds);
        let most = least * 5 / 4 + Duration::from_millis(2);
        assert!((least..=most).contains(&gap), "{field:?}: {gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reconnection_time_outlasts_the_connection() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let serve = async {
        server.stream("retry:700\n").await;
        server.stream("data:x\n\n").await;
        server.answer(STREAM).await
    };
    let follow = async {
        source.next().await.unwrap().unwrap();
        assert_eq!(source.retry(), Duration::from_millis(700));
        tokio::time::timeout(SECOND, source.next()).await.unwrap_err();
    };
    tokio::join!(follow, serve);
    assert!(gaps(&server.calls())[1] < SECOND);
}

#[tokio::test(start_paused = true)]
async fn any_answer_but_an_event_stream_is_final() {
    for (head, expected) in [
        ("500 Internal Server Error", "the server answered 500 Internal Server Error"),
        ("503 Service Unavailable", "the server answered 503 Service Unavailable"),
        ("404 Not Found\r\ncontent-type: text/event-stream", "the server answered 404 Not Found"),
        ("401 Unauthorized", "the server answered 401 Unauthorized"),
        (
            "206 Partial Content\r\ncontent-type: text/event-stream",
            "the server answered 206 Partial Content",
        ),
        (
            "301 Moved\r\nlocation: http://elsewhere/?a=b",
            "the server redirects with 301 Moved Permanently",
        ),
        ("307 Moved\r\nlocation: /", "the server redirects with 307 Temporary Redirect"),
        ("200 OK", "the server answered with no content type, not with an event stream"),
        (
            "200 OK\r\ncontent-type: text/html",
            "the server answered with text/html, not with an event stream",
        ),
        (
            "200 OK\r\ncontent-type: text/event-streams",
            "the server answered with text/event-streams, not with an event stream",
        ),
        (
            "200 OK\r\ncontent-type: text/html, text/event-stream",
            "the server answered with text/html, text/event-stream, not with an event stream",
        ),
        (
            "200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip",
            "the server answered with gzip, not with an event stream",
        ),
        (
            "200 OK\r\ncontent-type: \u{1F4A9}\t\"",
            "the server answered with \\xf0\\x9f\\x92\\xa9\\t\\\", not with an event stream",
        ),
    ] {
        let (connector, mut server) = server();
        let serve = async {
            let mut peer = server.answer(format!("HTTP/1.1 {head}\r\n\r\ndata:x\n\n")).await;
            peer.closed().await;
        };
        let (error, ()) = tokio::join!(error(source(connector)), serve);
        assert_eq!(error.to_string(), expected, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_calls_its_content_is_cut_off_in_the_error() {
    let (connector, mut server) = server();
    let long = "x".repeat(5000);
    let response = format!("HTTP/1.1 200 OK\r\ncontent-type: {long}\r\n\r\n");
    let (error, _) = tokio::join!(error(source(connector)), server.answer(response));
    assert!(error.to_string().len() < 200, "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_content_type_is_compared_without_parameters_and_case() {
    for content_type in [
        "text/event-stream",
        "Text/Event-Stream",
        "text/event-stream;charset=utf-8",
        "text/event-stream ; charset=UTF-8; x=\"y\"",
        "text/event-stream;ext=timestamp",
        "text/event-stream\r\ncontent-encoding: identity",
    ] {
        let (connector, mut server) = server();
        let serve = async {
            server
                .answer(format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\ndata:x\n\n"
                ))
                .await;
            server.stop().await;
        };
        let (events, ()) = tokio::join!(all(source(connector)), serve);
        assert_eq!(events.len(), 1, "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_ends_it_after_events_too() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let serve = async {
        server.stream("data:x\n\n").await;
        server.answer("HTTP/1.1 500 Oops\r\n\r\n").await
    };
    let follow = async {
        source.next().await.unwrap().unwrap();
        error(source).await
    };
    let (error, _) = tokio::join!(follow, serve);
    assert!(matches!(error, Error::Status(StatusCode::INTERNAL_SERVER_ERROR)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_given_up_and_asked_for_again() {
    // No byte; a head byte by byte; one informational response after the other.
    for (begin, piece) in
        [("", ""), ("HTTP/1.1 200 OK\r\nx: ", "x"), ("", "HTTP/1.1 102 Processing\r\n\r\n")]
    {
        let (connector, mut server) = server();
        let serve = async {
            let begun = Instant::now();
            let mut peer = server.answer(begin).await;
            let mut ticks = tokio::time::interval(SECOND);
            while peer.io.write_all(piece.as_bytes()).await.is_ok() && !peer.is_closed().await {
                ticks.tick().await;
            }
            let waited = begun.elapsed();
            assert!((SECOND * 10..SECOND * 13).contains(&waited), "{piece:?}: {waited:?}");
            server.stop().await;
        };
        tokio::join!(all(source(connector)), serve);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_is_given_up_and_asked_again() {
    let calls = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&calls);
    let connector = tower::service_fn(move |_: Uri| {
        log.lock().unwrap().push(Instant::now());
        std::future::pending::<Result<tokio::io::DuplexStream, std::io::Error>>()
    });
    let uri = Uri::from_static("http://events.test/");
    let builder = EventSource::builder(uri).connector(connector);
    let mut source = builder.connect_timeout(SECOND * 2).build().unwrap();
    tokio::time::timeout(SECOND * 20, source.next()).await.unwrap_err();
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(calls[1] - calls[0] >= SECOND * 5, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_lost_at_the_idle_timeout_and_comments_keep_it() {
    let (connector, mut server) = server();
    let source = builder(connector).idle_timeout(SECOND * 20).build().unwrap();
    let serve = async {
        let mut peer = server.answer(STREAM).await;
        for _ in 0..4 {
            tokio::time::advance(SECOND * 15).await;
            peer.send(":\n").await;
            tokio::task::yield_now().await;
        }
        let begin = Instant::now();
        peer.closed().await;
        let silent = begin.elapsed();
        assert!(silent >= SECOND * 19 && silent <= SECOND * 21, "{silent:?}");
        server.stop().await;
    };
    tokio::join!(all(source), serve);
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_reads_late_finds_what_came_in_time() {
    let (connector, mut server) = server();
    let mut source = builder(connector).idle_timeout(SECOND).build().unwrap();
    let (first, mut peer) =
        tokio::join!(source.next(), server.answer(format!("{STREAM}data:a\n\n")));
    first.unwrap().unwrap();
    peer.send("data:b\n\n").await;
    tokio::time::advance(SECOND * 100).await;
    assert_eq!(source.next().await.unwrap().unwrap().data, "b");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_an_error_and_closes_the_connection() {
    let limit = 100 << 10;
    let fits = format!("{STREAM}data:{}\n\n", "x".repeat(limit));
    for (begin, piece) in [
        ("data:", "x"),
        (":", "x"),
        ("id:", "x"),
        ("event:", "x"),
        ("", "x"),
        ("data:x\n", "data:x\n"),
        ("data\n", "data\n"),
    ] {
        let (connector, mut server) = server();
        let mut source = builder(connector).max_event_bytes(limit).build().unwrap();
        let (first, mut peer) = tokio::join!(source.next(), server.answer(&fits));
        assert_eq!(first.unwrap().unwrap().data.len(), limit, "what just fits");
        let flood = async {
            peer.send(begin).await;
            peer.flood(piece.repeat(1000).as_bytes()).await
        };
        let (error, taken) = tokio::join!(error(source), flood);
        assert!(matches!(error, Error::Stream(_)), "{begin}{piece}: {error:?}");
        // Line ends and names of fields do not count as data; what the pipe and hyper hold comes on top.
        assert!(taken < limit * 8, "{begin}{piece}: {taken}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_cut_off() {
    for (begin, piece) in [
        ("HTTP/1.1 200 OK\r\nx: ", "x"),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        ("HTTP/1.1 200 ", "x"),
        ("", "x"),
    ] {
        let (connector, mut server) = server();
        let serve = async {
            let mut peer = server.answer(begin).await;
            let taken = peer.flood(piece.repeat(1000).as_bytes()).await;
            assert!(taken < 200 << 10, "{begin}{piece}: {taken}");
            server.stop().await;
        };
        tokio::join!(all(source(connector)), serve);
        let gap = gaps(&server.calls())[0];
        assert!(gap < SECOND * 4, "not at the deadline: {gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_asked_for_is_not_read() {
    let (connector, mut server) = server_with_pipe(1024);
    let mut source = source(connector);
    let (first, mut peer) =
        tokio::join!(source.next(), server.answer(format!("{STREAM}data:a\n\n")));
    first.unwrap().unwrap();

    let event = format!("data:{}\n\n", "x".repeat(1000));
    let (sender, mut sent) = tokio::sync::watch::channel(0_usize);
    let writer = tokio::spawn(async move {
        for _ in 0..1000 {
            peer.send(&event).await;
            sender.send_modify(|sent| *sent += 1);
        }
        peer.send("data:last\n\n").await;
    });
    // The paused clock advances only when no task can run: the writer is blocked then.
    tokio::time::sleep(SECOND).await;
    let unread = *sent.borrow_and_update();
    assert!(unread < 100, "{unread} KiB were read that nobody asked for");

    for _ in 0..1000 {
        assert_eq!(source.next().await.unwrap().unwrap().data.len(), 1000);
    }
    assert_eq!(source.next().await.unwrap().unwrap().data, "last");
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_source_closes_its_connection() {
    // It is dropped while it waits for the head, while it waits for an event, and while events wait.
    for response in ["", STREAM, &format!("{STREAM}data:a\n\ndata:b\n\n")] {
        let (connector, mut server) = server();
        let mut source = source(connector);
        let mut peer = tokio::select! {
            biased;
            peer = server.answer(response) => peer,
            _ = source.next() => unreachable!("the server is asked first"),
        };
        let next = tokio::time::timeout(SECOND, source.next()).await;
        assert_eq!(next.is_ok(), response.contains("data"), "{response:?}");
        drop(source);
        peer.closed().await;
    }
}

#[test]
fn only_urls_of_a_server_are_taken() {
    for (uri, expected) in [
        ("http://events.test", None),
        ("https://events.test:8443/a?b", None),
        ("http://[::1]:80/", None),
        ("/path", Some("`http` or `https` is expected of the URL of an event stream")),
        ("ftp://events.test/", Some("`http` or `https` is expected of the URL of an event stream")),
        (
            "http://user:secret@events.test/",
            Some("no user is expected of the URL of an event stream"),
        ),
        ("http://:80/", Some("a host is expected of the URL of an event stream")),
    ] {
        let Ok(uri) = uri.parse::<Uri>() else { panic!("{uri}") };
        let (connector, _) = server();
        let error = EventSource::builder(uri.clone()).connector(connector).build().err();
        assert_eq!(error.map(|error| error.to_string()).as_deref(), expected, "{uri}");
    }
}
