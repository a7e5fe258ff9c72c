//! Event streams of another server, as in Zilla's example `sse.proxy.jwt`.

use std::fs;

use crate::support::{FreePort, Get, Version, run, soon};
use crate::upstream_server::{Above, Proxy};

#[tokio::test]
async fn events_of_the_server_pass_in_whatever_form_it_writes_them() {
    for (up, down) in [
        (Version::Http1, Version::Http1),
        (Version::Http1, Version::Http2),
        (Version::Http2, Version::Http1),
        (Version::Http2, Version::Http2),
    ] {
        let mut above = Above::start(up).await;
        let server = above.proxy().run().await;
        let client = tokio::spawn(server.get("/prices").over(down).open());
        let asked = above.asked().await;
        let expected = match up {
            Version::Http1 => http::Version::HTTP_11,
            Version::Http2 => http::Version::HTTP_2,
        };
        assert_eq!(asked.head.version, expected);
        let sending = asked.stream();
        let mut stream = soon("an answer", client).await.expect("a stream");

        sending.write("\u{feff}: welcome\nretry:150\nevent: quote\r\nda").await;
        sending.write("ta: 1\rdata:2\r").await;
        sending.write("\ndata\nid:7\nunknown: x\n\n").await;
        assert_eq!(stream.next().await, "event:quote\ndata:1\ndata:2\ndata:\nid:7\n");
        // Ours, which is about 2 s, and the server's.
        assert!(stream.retry().await > 1000);
        assert_eq!(stream.retry().await, 150);
        // An id without data says where to go on, and an empty one that there is no place any more.
        sending.write("id:8\n\nevent:nothing\n\ndata:\n\ndata:  ü \nid\n\n").await;
        assert_eq!(
            stream.take(3).await,
            ["id:8\n", "data:\n", "data:  ü \nid:\n"],
            "{up:?} {down:?}"
        );
    }
}

#[tokio::test]
async fn path_query_and_last_event_id_go_up_and_nothing_else_of_a_client() {
    let mut above = Above::start(Version::Http1).await;
    let overrides = r#"overrides: { ":authority": "events.example:81", x-tenant: "7" }"#;
    let server = above.proxy().http_client(overrides).run().await;
    for (target, id, expected, expected_id) in [
        ("/a%20b/c?x=1&y=%26", None, "/a%20b/c?x=1&y=%26", None),
        ("/open?lastEventId=5&x=1", None, "/open?x=1", Some("5")),
        ("/open?lastEventId=5", Some("6"), "/open", Some("6")),
    ] {
        let mut get = server.get(target);
        if let Some(id) = id {
            get = get.last_event_id(id);
        }
        let get = get
            .header("authorization", "Bearer secret")
            .header("cookie", "session=secret")
            .header("x-tenant", "8")
            .header("x-forwarded-for", "192.0.2.1");
        let client = tokio::spawn(get.open());
        let asked = above.asked().await;
        assert_eq!(asked.head.uri, expected);
        assert_eq!(asked.header("last-event-id"), expected_id, "{target}");
        let mut names: Vec<&str> =
            asked.head.headers.keys().map(|header| header.as_str()).collect();
        names.retain(|name| *name != "last-event-id");
        names.sort_unstable();
        assert_eq!(names, ["accept", "cache-control", "host", "x-tenant"]);
        assert_eq!(asked.header("accept"), Some("text/event-stream"));
        assert_eq!(asked.header("host"), Some("events.example:81"));
        assert_eq!(asked.header("x-tenant"), Some("7"));
        drop(asked.stream());
        soon("an answer", client).await.expect("a stream");
    }
}

#[tokio::test]
async fn what_is_no_event_stream_is_502_and_the_log_says_what_it_was() {
    let mut above = Above::start(Version::Http1).await;
    let server = above.proxy().run().await;
    let html = ("content-type", "text/html");
    let events = ("content-type", "text/event-stream");
    for (status, headers, expected, logged) in [
        (500, &[events][..], 502, "the server answered 500 Internal Server Error"),
        (401, &[html, ("www-authenticate", "Basic")], 502, "the server answered 401"),
        (200, &[html], 502, "the server answered with text/html, not with an event stream"),
        (200, &[], 502, "the server answered with no content type"),
        (200, &[events, ("content-encoding", "gzip")], 502, "the server answered with gzip"),
        (302, &[("location", "http://169.254.169.254/")], 502, "the server redirects with 302"),
        // HTML 9.2.3: nothing is to come, now or later.
        (204, &[], 204, ""),
    ] {
        let client = tokio::spawn(server.get("/x?secret=1").send());
        above.asked().await.answer(status, headers);
        let answer = soon("an answer", client).await.expect("an answer");
        assert_eq!(answer.status, expected, "{status} {headers:?}");
        for name in ["www-authenticate", "location", "content-encoding"] {
            assert_eq!(answer.header(name), None, "{status}");
        }
        assert_eq!(answer.text().await, "", "{status}");
        server.stderr().says(logged).await;
    }
    assert!(!server.stderr().text().contains("secret"), "{}", server.stderr().text());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_speaks_no_http_is_502() {
    let nobody = FreePort::new();
    let server = Proxy::to(nobody.address()).run().await;
    for version in Version::BOTH {
        assert_eq!(server.get("/x").over(version).send().await.status, 502, "{version:?}");
    }
    server.stderr().says("connecting to the server failed").await;

    // Spoken to in another version than its own.
    let above = Above::start(Version::Http2).await;
    let server = Proxy::to(above.address()).run().await;
    assert_eq!(server.get("/x").send().await.status, 502);
    server.stderr().says("the exchange with the server failed").await;
}

#[tokio::test]
async fn a_stream_whose_server_is_lost_goes_on_after_the_last_whole_event() {
    for version in Version::BOTH {
        let mut above = Above::start(version).await;
        let server = above.proxy().run().await;
        let client = tokio::spawn(server.get("/x?y=1").last_event_id("0").open());
        let sending = above.asked().await.stream();
        let mut stream = soon("an answer", client).await.expect("a stream");
        sending
            .write("retry:100\n\ndata:1\nid:1\n\ndata:2\nid:2\n\nevent:half\ndata:3\nid:3\n")
            .await;
        assert_eq!(stream.take(2).await, ["data:1\nid:1\n", "data:2\nid:2\n"]);
        sending.cut().await;

        // The event that was cut off comes whole, and nothing of it came before.
        let asked = above.asked().await;
        assert_eq!(asked.header("last-event-id"), Some("2"), "{version:?}");
        assert_eq!(asked.head.uri.path_and_query().expect("a path"), "/x?y=1");
        let sending = asked.stream();
        sending.write("data:3\nid:3\n\n").await;
        assert_eq!(stream.next().await, "data:3\nid:3\n");

        // So it does after a clean end, and after one without an event.
        drop(sending);
        let asked = above.asked().await;
        assert_eq!(asked.header("last-event-id"), Some("3"));
        drop(asked.stream());
        let asked = above.asked().await;
        assert_eq!(asked.header("last-event-id"), Some("3"));
        let sending = asked.stream();
        sending.write("data:4\nid:4\n\n").await;
        assert_eq!(stream.next().await, "data:4\nid:4\n");

        // A gateway whose server is away for now is asked again.
        drop(sending);
        above.asked().await.answer(503, &[]);
        let sending = above.asked().await.stream();
        sending.write("data:5\nid:5\n\n").await;
        assert_eq!(stream.next().await, "data:5\nid:5\n");
        // What has no stream any more ends it: cleanly, so that the client asks itself.
        drop(sending);
        above.asked().await.answer(404, &[]);
        assert_eq!(stream.end().await, (vec![], true, vec![]), "{version:?}");
        server.stderr().says("a source failed, its stream ends").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_connection_to_the_server_with_it() {
    for (up, down) in [
        (Version::Http1, Version::Http1),
        (Version::Http1, Version::Http2),
        (Version::Http2, Version::Http1),
        (Version::Http2, Version::Http2),
    ] {
        let mut above = Above::start(up).await;
        let server = above.proxy().run().await;
        let mut both = Vec::new();
        for _ in 0..2 {
            let client = tokio::spawn(server.get("/x").over(down).open());
            let sending = above.asked().await.stream();
            both.push((soon("an answer", client).await.expect("a stream"), sending));
        }
        let (mut staying, its) = both.pop().expect("two");
        let (leaving, left) = both.pop().expect("two");
        leaving.cut();
        left.left().await;
        // That of the other is one of its own.
        its.write("data:still here\n\n").await;
        assert_eq!(staying.next().await, "data:still here\n", "{up:?} {down:?}");
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_that_is_trusted_is_read_over_tls() {
    for version in Version::BOTH {
        let mut above = Above::with_tls(version).await;
        let trusted = above.certificate().to_owned();
        for options in
            ["{ trust: [above] }", "{ trust: [above], trustcacerts: true, version: TLSv1.2 }"]
        {
            let server = above.proxy().tls(Some(&trusted), options).run().await;
            let client = tokio::spawn(server.get("/x").open());
            let sending = above.asked().await.stream();
            sending.write("data:encrypted\n\n").await;
            let mut stream = soon("an answer", client).await.expect("a stream");
            assert_eq!(stream.next().await, "data:encrypted\n", "{version:?} {options}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_502_and_is_asked_nothing() {
    let mut above = Above::with_tls(Version::Http1).await;
    let other = Above::with_tls(Version::Http1).await;
    for (trusted, options, logged) in [
        // A certificate of the same name, by somebody else.
        (Some(other.certificate()), "{ trust: [above] }", "invalid peer certificate"),
        // The authorities of the system did not sign it.
        (None, "{}", "invalid peer certificate"),
        (None, "{ trustcacerts: true }", "invalid peer certificate"),
        (
            Some(above.certificate()),
            "{ trust: [above], sni: [other.example] }",
            "not valid for name",
        ),
    ] {
        let trusted = trusted.map(ToOwned::to_owned);
        let proxy = above.proxy().tls(trusted.as_deref(), options);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("zilla.yaml");
        fs::write(&file, proxy.config(folder.path())).expect("the configuration is written");
        // As text the log names the causes of an error.
        let process = run(&["start", "-c", file.to_str().expect("a path in UTF-8")], &[]);
        let listening = |line: &str| {
            let (_, address) = line.split_once("listening address=")?;
            address.split(' ').next()?.parse().ok()
        };
        let address = process.stderr.find(listening).await;
        assert_eq!(Get::new(address, "/x").send().await.status, 502, "{options}");
        process.stderr.says(logged).await;
    }
    // Neither does one without TLS pass for one with it.
    let plain = Above::start(Version::Http1).await;
    let trusted = above.certificate().to_owned();
    let server = plain.proxy().tls(Some(&trusted), "{ trust: [above] }").run().await;
    assert_eq!(server.get("/x").send().await.status, 502);

    // The first request that ever came.
    let server = above.proxy().tls(Some(&trusted), "{ trust: [above] }").run().await;
    let client = tokio::spawn(server.get("/first").send());
    let asked = above.asked().await;
    assert_eq!(asked.head.uri, "/first");
    asked.answer(500, &[]);
    assert_eq!(soon("an answer", client).await.expect("an answer").status, 502);
}

#[tokio::test]
async fn a_server_that_refuses_all_streams_is_told_once_and_counted() {
    let mut above = Above::start(Version::Http1).await;
    let server = above.proxy().run().await;
    for _ in 0..30 {
        let client = tokio::spawn(server.get("/prices").send());
        above.asked().await.answer(404, &[]);
        assert_eq!(soon("an answer", client).await.expect("no panic").status, 502);
    }
    server.stderr().says("29 more lines like: no event stream of the server above").await;
    let log = server.stderr().text();
    let told = log.lines().filter(|line| line.contains("no event stream of the server above"));
    assert_eq!(told.count(), 2, "{log}");
}
