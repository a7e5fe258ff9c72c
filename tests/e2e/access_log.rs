//! The access log, and the lines of the log about streams.

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Record, Scrape, Server, Token, Version, guarded, health_address, in_seconds, kafka, raw, server,
};

/// The keys that a line may have.
const KEYS: [&str; 26] = [
    "time",
    "event",
    "id",
    "binding",
    "route",
    "client",
    "peer",
    "method",
    "path",
    "protocol",
    "tls",
    "status",
    "why",
    "subject",
    "guard",
    "topic",
    "start",
    "reason",
    "seconds",
    "events",
    "bytes",
    "gaps",
    "lag_records",
    "user_agent",
    "trace_id",
    "lines",
];

fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        let unknown = line.as_object().expect("an object").iter().find(|(key, value)| {
            !KEYS.contains(&key.as_str())
                || value.is_null()
                || value.is_object()
                || value.is_array()
        });
        assert_eq!(unknown, None, "{line:?}");
    }
    lines
}

/// The first line of this event that passes.
async fn line(server: &Server, event: &str, passes: impl Fn(&Value) -> bool) -> Value {
    let find = |line: &str| {
        let line = lines(line).pop()?;
        (line["event"] == event && passes(&line)).then_some(line)
    };
    server.stdout().find(find).await
}

fn without(mut line: Value, keys: &[&str]) -> Value {
    for key in keys {
        let left = line.as_object_mut().expect("an object").remove(*key);
        assert!(left.is_some(), "{key} of {line}");
    }
    line
}

#[tokio::test]
async fn a_stream_has_a_line_when_it_begins_and_one_when_it_has_ended() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    let server = server(&kafka).run().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (version, protocol) in Version::BOTH.into_iter().zip(["http/1.1", "h2"]) {
        let path = format!("/all/{topic}");
        let get = server.get(&format!("{path}?secret=x")).over(version);
        let get = get.header("user-agent", "a \"test\"");
        let get = get.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        let mut stream = get.open().await;
        stream.next().await;
        let of_this = |line: &Value| line["protocol"] == protocol;
        let opened = line(&server, "opened", of_this).await;
        let port = opened["peer"].as_str().and_then(|peer| peer.strip_prefix("127.0.0.1:"));
        assert!(port.is_some_and(|port| port.parse::<u16>().is_ok()), "{opened:?}");
        stream.cut();
        let ended = line(&server, "ended", of_this).await;
        assert_eq!((&ended["id"], &ended["peer"]), (&opened["id"], &opened["peer"]));
        assert!(opened["id"].as_str().is_some_and(|id| id.starts_with("s-")));
        let common = serde_json::json!({
            "binding": "mapping", "route": "/all/{topic}", "client": "127.0.0.1", "method": "GET",
            "path": path, "protocol": protocol, "status": 200, "topic": topic, "start": "beginning",
            "user_agent": "a \"test\"", "trace_id": trace,
        });
        let mut expected = common.clone();
        expected["event"] = "opened".into();
        assert_eq!(without(opened, &["time", "id", "peer"]), expected);
        let mut expected = common;
        expected["event"] = "ended".into();
        expected["reason"] = "client".into();
        expected["events"] = 1.into();
        expected["gaps"] = 0.into();
        assert!(ended["bytes"].as_u64().is_some_and(|bytes| bytes > 10), "{ended:?}");
        assert!(ended["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0), "{ended:?}");
        expected["lag_records"] = 0.into();
        assert_eq!(without(ended, &["time", "id", "peer", "bytes", "seconds"]), expected);
    }
}

#[tokio::test]
async fn a_refused_request_says_why() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let alice = || Token::of("alice").claim("account", "a");
    let token = |path: &str| format!("{path}/{topic}");
    for (path, status, why, bearer) in [
        ("/nowhere".to_owned(), 404, "no_route", None),
        (token("/any"), 401, "no_token", None),
        (token("/any"), 401, "expired", Some(alice().until(in_seconds(0)).sign())),
        (token("/any"), 401, "audience", Some(alice().claim("aud", "other").sign())),
        (token("/any"), 401, "issuer", Some(alice().claim("iss", "other").sign())),
        (token("/any"), 401, "malformed", Some("a.b".to_owned())),
        (token("/read"), 403, "role read", Some(alice().sign())),
        (token("/tenant"), 403, "claim", Some(alice().sign())),
        ("/any/a%20b".to_owned(), 404, "topic", Some(alice().sign())),
    ] {
        for version in Version::BOTH {
            let get = server.get(&path).over(version);
            let get = bearer.iter().fold(get, |get, bearer| get.bearer(bearer));
            assert_eq!(get.send().await.status, status, "{path} {why}");
            let protocol = if version == Version::Http2 { "h2" } else { "http/1.1" };
            let line =
                line(&server, "ended", |line| line["why"] == why && line["protocol"] == protocol);
            let line = line.await;
            assert_eq!((&line["status"], &line["path"]), (&status.into(), &path.as_str().into()));
            assert_eq!(line["tls"], "1.3");
            assert!(line["id"].is_null() && line["subject"].is_null(), "{line}");
        }
    }
    let method = server.get(&token("/open")).method("PUT").send().await;
    assert_eq!(method.status, 405);
    line(&server, "ended", |line| line["why"] == "method").await;
}

#[tokio::test]
async fn starts_and_origins_that_are_refused_say_so() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let get = server.get(&format!("/start/{topic}?since=yesterday"));
    assert_eq!(get.send().await.status, 400);
    let start = line(&server, "ended", |line| line["status"] == 400).await;
    assert_eq!((&start["why"], &start["route"]), (&"start".into(), &"/start/{topic}".into()));
    let get = server.get(&format!("/all/{topic}")).header("origin", "https://example.org");
    assert_eq!(get.send().await.status, 403);
    let origin = line(&server, "ended", |line| line["status"] == 403).await;
    assert_eq!((&origin["why"], &origin["binding"]), (&"origin".into(), &"http_in".into()));
    let get = server.get(&format!("/start/{topic}?from=live"));
    let _stream = get.open().await;
    let opened = line(&server, "opened", |line| line["start"] == "from").await;
    assert_eq!(opened["topic"], topic);
}

#[tokio::test]
async fn subjects_are_logged_as_the_configuration_says() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut hashes = Vec::new();
    for logged in ["plain", "hash", "off"] {
        let server = guarded(&kafka).logged(logged).run().await;
        for account in ["anna", "anna", "b\u{1b}[2J\n"] {
            let token = Token::of("alice").claim("account", account).sign();
            let path = format!("/any/{topic}");
            let stream = server.get(&path).bearer(&token).open().await;
            stream.cut();
        }
        let mut ended = HashSet::new();
        let is_last = |line: &str| {
            let line = lines(line).pop()?;
            if line["event"] == "ended" {
                ended.insert(line["id"].to_string());
            }
            (ended.len() == 3).then_some(())
        };
        server.stdout().find(is_last).await;
        let log = lines(&server.stdout().text());
        let subjects: Vec<Option<&str>> = log.iter().map(|line| line["subject"].as_str()).collect();
        assert!(log.iter().all(|line| line["guard"] == "who"), "{log:?}");
        match logged {
            "plain" => assert!(
                subjects.iter().all(|subject| { matches!(subject, Some("anna" | "b\u{1b}[2J\n")) })
            ),
            "hash" => {
                hashes =
                    subjects.iter().map(|subject| subject.expect("a hash").to_owned()).collect()
            }
            _ => assert!(subjects.iter().all(Option::is_none), "{subjects:?}"),
        }
    }
    let is_hash =
        |hash: &String| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(hashes.iter().all(is_hash), "{hashes:?}");
    let mut different = hashes.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!((hashes.len(), different.len()), (6, 2), "{hashes:?}");
}

/// Bytes that read as no request, and texts that want to be more than one.
#[tokio::test]
async fn a_client_forges_no_line_and_fills_none() {
    let kafka = kafka().await;
    let server = server(&kafka).run().await;
    let long = "x".repeat(40_000);
    for (bytes, status) in [
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n".to_vec(), 400),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").into_bytes(), 431),
    ] {
        raw(server.address(), &bytes, |_| false).await;
        let line = line(&server, "ended", |line| line["status"] == status).await;
        let expected = serde_json::json!({
            "event": "ended", "status": status, "client": "127.0.0.1", "binding": "http_in",
        });
        assert_eq!(without(line, &["time", "peer"]), expected);
    }
    raw(server.address(), b"GET /a HTTP/1.1\r\nconnection: close\r\n\r\n", |_| false).await;
    let host = line(&server, "ended", |line| line["why"] == "host").await;
    assert_eq!((&host["status"], &host["path"]), (&400.into(), &"/a".into()));

    let agent = b"\x9b\xffevil\t\xe2\x80\xae\"}";
    let request = [
        &b"GET /%0a%1b[2J"[..],
        &[b'x'; 5000],
        b" HTTP/1.1\r\nhost: a\r\nuser-agent: ",
        agent,
        b"\r\nconnection: close\r\n\r\n",
    ]
    .concat();
    raw(server.address(), &request, |_| false).await;
    let evil = line(&server, "ended", |line| line["user_agent"].is_string()).await;
    assert_eq!(evil["path"].as_str().map(str::len), Some(1024), "{evil:?}");
    let log = server.stdout().text();
    let is_hidden =
        |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
    assert!(!log.contains(is_hidden), "{}", log.escape_debug());
    lines(&log);
}

#[tokio::test]
async fn the_end_of_a_drain_is_told_with_its_numbers() {
    for drain in ["6", "0"] {
        let kafka = kafka().await;
        let topic = kafka.topic(1).await;
        let mut server = server(&kafka).arguments(&["--drain", drain]).run().await;
        let mut streams = Vec::new();
        for number in 0..6 {
            let get = server.get(&format!("/all/{topic}")).over(Version::BOTH[number % 2]);
            let mut stream = get.open().await;
            stream.retry().await;
            streams.push(stream);
        }
        server.process().signal(Signal::TERM);
        assert_eq!(server.process().ended().await.code(), Some(0));
        let log = server.stderr().all().await;
        let drained = log.lines().find(|line| line.contains("\"drained\"")).expect("a line");
        let drained: Value = serde_json::from_str(drained).expect("JSON");
        assert!(drained["seconds"].is_f64(), "{drained}");
        let count = |name: &str| drained[name].as_u64().expect("a number");
        let access = lines(&server.stdout().all().await);
        let reasons: Vec<&Value> =
            access.iter().map(|line| &line["reason"]).filter(|reason| reason.is_string()).collect();
        if drain == "0" {
            // Without time, a stream is either cut or ends first.
            assert_eq!(count("ended") + count("cut"), 6, "{drained}");
            assert!(reasons.iter().all(|reason| *reason == "cut" || *reason == "drain"));
            assert_eq!(reasons.len(), 6, "{reasons:?}");
        } else {
            assert_eq!((count("ended"), count("cut")), (6, 0));
            assert_eq!(reasons, ["drain"; 6]);
        }
    }
}

#[tokio::test]
async fn streams_that_a_second_signal_drops_have_their_lines() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = server(&kafka).arguments(&["--drain", "3600"]).run().await;
    let mut streams = Vec::new();
    for number in 0..16 {
        let get = server.get(&format!("/all/{topic}")).over(Version::BOTH[number % 2]);
        let mut stream = get.open().await;
        stream.retry().await;
        streams.push(stream);
    }
    server.process().signal(Signal::TERM);
    let signalled = tokio::time::Instant::now();
    server.stderr().says("received a signal to stop").await;
    // A second one counts after a second.
    tokio::time::sleep_until(signalled + std::time::Duration::from_millis(1500)).await;
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
    let access = lines(&server.stdout().all().await);
    let ended = access.iter().filter(|line| line["event"] == "ended").count();
    let cut = access.iter().filter(|line| line["reason"] == "cut").count();
    assert_eq!(ended, 16, "{access:?}");
    assert!(cut > 8, "of an hour, two seconds are over: {cut}");
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_told_as_stalled() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let config = server(&kafka).config();
    let config = config.replace("port: 0 }", "port: 0, write-deadline: 1 }");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::of_text(folder, &config, &[]).await;
    let get = server.get(&format!("/all/{topic}")).receive_buffer(4096);
    let mut stream = get.open().await;
    stream.retry().await;
    let value = "x".repeat(100_000);
    kafka.produce_values(&topic, (0..100).map(|_| value.clone()));
    let told = server.stderr().find(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        (line["message"] == "stream ended").then_some(line)
    });
    let told = told.await;
    assert_eq!((&told["reason"], &told["topic"]), (&"stalled".into(), &topic.clone().into()));
    let ended = line(&server, "ended", |line| line["reason"] == "stalled").await;
    assert_eq!(ended["id"], told["id"]);
    drop(stream);
}

#[tokio::test]
async fn streams_are_counted_by_where_they_began_and_why_they_ended() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    // A topic that the file does not name, and that Kafka has not confirmed within a second, is counted as `_other_`.
    let builder = server(&kafka).bootstrap(&topic).arguments(&["--health", "127.0.0.1:0"]);
    let server = builder.run().await;
    let at = health_address(&server).await;
    let get = server.get(&format!("/start/{topic}"));
    let mut stays = get.clone().open().await;
    stays.comment().await;
    let mut from = server.get(&format!("/start/{topic}?from=live")).open().await;
    from.comment().await;
    let mut resumes = get.last_event_id("AQIAAg==").open().await;
    resumes.comment().await;
    // Nobody has it, so that no path makes a series.
    let mut nowhere = server.get("/all/nowhere-at-all").open().await;
    nowhere.comment().await;
    let of = |name: &str, topic: &str, more: &str| {
        format!("tailwater_streams{name}{{binding=\"mapping\",topic=\"{topic}\"{more}}}")
    };
    Scrape::until(at, &of("", &topic, ""), 3.0).await;
    Scrape::until(at, &of("", "_other_", ""), 1.0).await;
    for start in ["beginning", "from", "id"] {
        let name = of("_opened_total", &topic, &format!(",start=\"{start}\""));
        Scrape::until(at, &name, 1.0).await;
    }
    from.cut();
    resumes.cut();
    Scrape::until(at, &of("_ended_total", &topic, ",reason=\"client\""), 2.0).await;
    Scrape::until(at, &of("", &topic, ""), 1.0).await;
    drop((stays, nowhere));
}
