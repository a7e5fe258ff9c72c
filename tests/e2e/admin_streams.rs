//! The open streams as an operator sees and ends them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::guard_http1::session;
use crate::support::{
    Get, LOOK, Record, Token, Version, admin_address, guarded, in_seconds, kafka, raw, server, soon,
};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

async fn ask(at: SocketAddr, method: &str, path: &str) -> (u16, Value) {
    let answer = Get::new(at, path).method(method).send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let status = answer.status.as_u16();
    (status, serde_json::from_str(&answer.text().await).expect("JSON"))
}

async fn get(at: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(at, "GET", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Asks until so many streams match.
async fn until(at: SocketAddr, path: &str, total: usize) -> Value {
    let asked = async {
        loop {
            let list = get(at, path).await;
            if list["total"] == total {
                return list;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(&format!("{total} at {path}"), asked).await
}

fn ids(list: &Value) -> Vec<String> {
    let streams = list["streams"].as_array().expect("a list");
    streams.iter().map(|stream| stream["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_stream_is_shown_with_what_it_is() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    assert_eq!(get(at, "/streams").await, json!({ "total": 0, "streams": [], "after": null }));

    let mut stream = server.get(&format!("/all/{topic}")).over(Version::Http2).open().await;
    let first = stream.next().await;
    assert!(first.starts_with("id:"), "{first}");
    kafka.produce(&topic, Record::value("1"));
    let event = stream.next().await;
    let id = event.strip_prefix("data:1\nid:").expect("an event").trim_end().to_owned();
    let list = until(at, &format!("/streams?topic={topic}&state=live"), 1).await;
    let shown = &list["streams"][0];
    assert_eq!(shown["binding"], "mapping");
    assert_eq!(shown["route"], "/all/{topic}");
    assert_eq!(shown["topic"], topic);
    assert_eq!(shown["client"], "127.0.0.1");
    assert_eq!(shown["protocol"], "h2");
    assert_eq!(shown["start"], "live");
    assert_eq!(shown["lag"], json!({ "records": 0, "seconds": 0.0 }));
    assert_eq!(shown["sent"]["events"], 1);
    assert!(shown["sent"]["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{shown}");
    assert_eq!((&shown["gaps"], &shown["subject"]), (&json!(0), &json!(null)));
    assert_eq!(shown["position"], id);
    assert_eq!((&shown["expires"], &shown["waiting_bytes"]), (&json!(null), &json!(0)));
    for time in ["opened", "last_write"] {
        assert!(shown[time].as_str().is_some_and(|time| time.ends_with('Z')), "{shown}");
    }
    let name = shown["id"].as_str().expect("an id");
    assert!(name.starts_with("s-"), "{name}");
    assert_eq!(get(at, &format!("/streams/{name}")).await["topic"], topic);
    for wrong in ["s-0", "s-", "nothing", "s-zz", "%2e%2e"] {
        assert_eq!(ask(at, "GET", &format!("/streams/{wrong}")).await.0, 404, "{wrong}");
        assert_eq!(ask(at, "DELETE", &format!("/streams/{wrong}")).await.0, 404, "{wrong}");
    }
    stream.cut();
    until(at, "/streams", 0).await;
    assert_eq!(ask(at, "GET", &format!("/streams/{name}")).await.0, 404);
}

#[tokio::test]
async fn filters_hold_together_and_odd_parameters_are_refused() {
    let kafka = kafka().await;
    let (one, two) = (kafka.topic(1).await, kafka.topic(1).await);
    let server = server(&kafka).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let mut streams = Vec::new();
    for topic in [&one, &one, &two] {
        streams.push(server.get(&format!("/all/{topic}")).open().await);
    }
    until(at, "/streams?state=live", 3).await;
    for (query, total) in [
        (format!("topic={one}"), 2),
        (format!("topic={two}&client=127.0.0.1"), 1),
        (format!("topic={two}&client=%3A%3Affff%3A127.0.0.1"), 1),
        (format!("topic={two}&client=127.0.0.2"), 0),
        ("topic=nothing".to_owned(), 0),
        ("binding=mapping&state=live".to_owned(), 3),
        ("binding=map".to_owned(), 0),
        ("state=seeking".to_owned(), 0),
        ("lag_over=0".to_owned(), 0),
        ("subject=alice".to_owned(), 0),
    ] {
        assert_eq!(get(at, &format!("/streams?{query}")).await["total"], total, "{query}");
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "state=asleep",
        "sort=name",
        "lag_over=-1",
        "client=localhost",
        "after=x",
        "after=s-1.zz",
        "sort=lag&after=s-0",
        "nothing=1",
        "topic=a&topic=b",
        "retry=1",
    ] {
        assert_eq!(ask(at, "GET", &format!("/streams?{query}")).await.0, 400, "{query}");
    }
    for query in [
        "",
        "?retry=1000",
        "?limit=1",
        "?block=10",
        "?topic=nothing&block=10",
        "?subject=a&block=0",
        "?subject=a&block=999999999",
        "?topic=nothing&retry=-1",
        "?topic=nothing&retry=99999999999",
    ] {
        assert_eq!(ask(at, "DELETE", &format!("/streams{query}")).await.0, 400, "{query}");
    }
    let refused = Get::new(at, "/streams").method("POST").send().await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("allow")),
        (405, Some("GET, HEAD, DELETE"))
    );
    assert_eq!(get(at, "/streams").await["total"], 3, "nothing has ended");
    let ended = ask(at, "DELETE", &format!("/streams?topic={one}")).await;
    assert_eq!(ended, (200, json!({ "ended": 2 })));
    until(at, "/streams", 1).await;
    drop(streams);
}

#[tokio::test]
async fn pages_show_each_stream_once_whatever_they_are_sorted_by() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let http2 = server.http2().await;
    let mut streams = Vec::new();
    for _ in 0..25 {
        streams.push(http2.open(&format!("/all/{topic}")).await);
    }
    let all: BTreeSet<_> = ids(&until(at, "/streams?state=live", 25).await).into_iter().collect();
    for sort in ["opened", "lag", "events", "bytes"] {
        let mut seen = Vec::new();
        let mut path = format!("/streams?sort={sort}&limit=7");
        loop {
            let page = get(at, &path).await;
            assert_eq!(page["total"], 25);
            seen.extend(ids(&page));
            // What is sorted by changes meanwhile.
            kafka.produce(&topic, Record::value("x"));
            streams[seen.len() % 25].next().await;
            match page["after"].as_str() {
                Some(after) => path = format!("/streams?sort={sort}&limit=7&after={after}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 25, "{sort}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all, "{sort}");
    }
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_first_by_lag() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let path = format!("/all/{topic}");
    let mut reads = server.get(&path).open().await;
    let _stalls = server.get(&path).receive_buffer(4096).open().await;
    until(at, "/streams?state=live", 2).await;
    let value = "x".repeat(10_000);
    kafka.produce_values(&topic, (0..300).map(|_| value.clone()));
    reads.take(300).await;
    let list = until(at, "/streams?lag_over=0", 1).await;
    let slow = ids(&list).remove(0);
    assert!(list["streams"][0]["lag"]["records"].as_u64().is_some_and(|records| records > 100));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let list = get(at, "/streams?sort=lag&limit=1").await;
    assert_eq!((ids(&list), &list["total"]), (vec![slow], &json!(2)));
    let lag = &list["streams"][0]["lag"];
    assert!(lag["seconds"].as_f64().is_some_and(|seconds| seconds > 1.0), "{lag}");
    assert!(list["after"].is_string(), "there is another page");
    let topics = get(at, "/topics").await;
    let shown = topics["topics"].as_array().expect("a list");
    let shown = shown.iter().find(|shown| shown["name"] == topic).expect("it is held");
    assert_eq!((&shown["streams"], &shown["records_read"]), (&json!(2), &json!(300)));
    assert!(shown["log_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000_000), "{shown}");
}

#[tokio::test]
async fn a_kicked_stream_ends_with_a_time_and_its_client_comes_again() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).retry(3000).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    for version in Version::BOTH {
        for (parameters, expected) in [("?retry=7000", 7000), ("", 3000)] {
            let mut stream = server.get(&format!("/all/{topic}")).over(version).open().await;
            let block = stream.next().await;
            let id = block.strip_prefix("id:").expect("an id").trim_end().to_owned();
            let name = ids(&until(at, "/streams", 1).await).remove(0);
            let kicked = ask(at, "DELETE", &format!("/streams/{name}{parameters}")).await;
            assert_eq!(kicked, (200, json!({ "ended": 1 })));
            let (_, clean, left) = stream.end().await;
            assert!(clean && left.is_empty(), "it ends after a whole event");
            // It had passed all records when it was ended.
            let ended = server.stdout().find(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["id"] == *name && line["event"] == "ended").then_some(line)
            });
            let ended = ended.await;
            assert_eq!((&ended["reason"], &ended["lag_records"]), (&json!("kicked"), &json!(0)));
            let retry = stream.last_retry().expect("a reconnection time");
            assert!((expected * 8 / 10..=expected * 12 / 10).contains(&retry), "{retry}");
            until(at, "/streams", 0).await;
            server.stderr().says("kicked").await;

            // It loses nothing.
            kafka.produce(&topic, Record::value("meanwhile"));
            let again = server.get(&format!("/all/{topic}")).last_event_id(&id);
            let mut again = again.over(version).open().await;
            assert!(again.next().await.starts_with("data:meanwhile\n"));
            again.cut();
            until(at, "/streams", 0).await;
        }
    }
}

#[tokio::test]
async fn a_blocked_subject_is_refused_for_so_long() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let path = format!("/any/{topic}");
    let token = |name: &str| Token::of(name).claim("account", name).sign();
    let open = async |name: &str| server.get(&path).bearer(&token(name)).send().await.stream();
    let mut alice = vec![open("alice").await, open("alice").await];
    let mut bob = open("bob & sons").await;
    let list = until(at, "/streams?subject=alice", 2).await;
    assert_eq!(list["streams"][0]["guard"], "who");
    assert_eq!(get(at, "/streams?subject=bob+%26+sons").await["total"], 1);
    let subjects = get(at, "/subjects?sort=streams").await;
    let expected = json!([
        { "subject": "alice", "streams": 2 },
        { "subject": "bob & sons", "streams": 1 },
    ]);
    assert_eq!(subjects["subjects"], expected);
    assert_eq!(ask(at, "GET", "/subjects?sort=name").await.0, 400);

    let blocked = Instant::now();
    let ended = ask(at, "DELETE", "/streams?subject=alice&block=3").await;
    assert_eq!(ended, (200, json!({ "ended": 2 })));
    for stream in &mut alice {
        assert!(stream.end().await.1);
    }
    for version in Version::BOTH {
        let refused = server.get(&path).over(version).bearer(&token("alice")).send().await;
        if blocked.elapsed() < Duration::from_secs(3) {
            assert_eq!(refused.status, 403);
        }
    }
    assert_eq!(server.get(&path).bearer(&token("bob & sons")).send().await.status, 200);
    let comes = async {
        while server.get(&path).bearer(&token("alice")).send().await.status != 200 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("the end of the block", comes).await;
    assert!(blocked.elapsed() >= Duration::from_secs(3));
    kafka.produce(&topic, Record::value("on"));
    // Others go on.
    while !bob.next().await.starts_with("data:on\n") {}
}

#[tokio::test]
async fn a_stream_shows_when_its_last_token_expires_and_what_a_lesser_one_has_ended() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[http/1.1]").arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    let alice = |roles: &str, seconds: u64| {
        Token::of("alice").roles(roles).claim("account", "a").until(in_seconds(seconds)).sign()
    };
    let path = format!("/read/{topic}");
    let expires = |list: &Value| list["streams"][0]["expires"].as_str().map(str::to_owned);
    let mut stream = server.get(&path).bearer(&alice("read", 100)).open().await;
    let renewed = session(&mut stream).await;
    let first = expires(&until(at, "/streams", 1).await).expect("it expires");
    let renew = async |token: String| {
        let answer = server.get("/").answer().header("x-challenge-session", &renewed);
        assert_eq!(answer.bearer(&token).send().await.status, 204);
    };
    renew(alice("read", 4)).await;
    assert_eq!(expires(&get(at, "/streams").await), Some(first.clone()), "a token of less time");
    renew(alice("read", 1000)).await;
    let shown = async {
        loop {
            let now = expires(&get(at, "/streams").await).expect("it expires");
            if now != first {
                return now;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    assert!(soon("the renewal is shown", shown).await > first, "as RFC 3339 sorts");
    stream.cut();

    for (roles, reason) in [("other", "revoked"), ("read", "expired")] {
        let mut stream = server.get(&path).bearer(&alice("read", 3)).open().await;
        let session = session(&mut stream).await;
        if roles == "other" {
            let answer = server.get("/").answer().header("x-challenge-session", &session);
            assert_eq!(answer.bearer(&alice(roles, 1000)).send().await.status, 204);
        }
        stream.end().await;
        let ended = server.stdout().find(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["event"] == "ended" && line["reason"] == reason).then_some(())
        });
        ended.await;
    }
    let guards = get(at, "/guards").await;
    let guard = &guards["guards"][0];
    assert_eq!(guard["renewals"], json!({ "ok": 1, "failed": 2 }), "{guard}");
    assert!(guard["challenges"].as_u64().is_some_and(|challenges| challenges >= 3), "{guard}");
    assert_eq!(guard["rejections"]["expired"], 0);
}

#[tokio::test]
async fn the_inspector_is_one_page_that_follows_an_event_stream() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).arguments(&ADMIN).run().await;
    let at = admin_address(&server).await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/inspector.css", "text/css; charset=utf-8"),
        ("/inspector.js", "text/javascript; charset=utf-8"),
    ] {
        let file = Get::new(at, path).send().await;
        assert_eq!((file.status.as_u16(), file.header("content-type")), (200, Some(content_type)));
        let policy = file.header("content-security-policy").expect("a policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(Get::new(at, path).method("POST").send().await.status, 405);
        let foreign = Get::new(at, path).authority("example.com").send().await;
        assert_eq!(foreign.status, 403);
    }

    let _stream = server.get(&format!("/all/{topic}")).open().await;
    until(at, "/streams?state=live", 1).await;
    let mut events = Get::new(at, "/events?sort=lag&limit=10").open().await;
    let history = events.next().await;
    assert!(history.starts_with("event:history\ndata:{"), "{history}");
    let mut last = 0.0;
    for _ in 0..3 {
        let block = events.next().await;
        let data = block.strip_prefix("event:tick\ndata:").expect("a tick");
        let tick: Value = serde_json::from_str(data.trim_end()).expect("JSON");
        assert_eq!(tick["list"]["total"], 1);
        assert_eq!(tick["list"]["streams"][0]["topic"], topic);
        assert_eq!(tick["clusters"][0]["kafka"], "reached");
        let time = tick["time"].as_f64().expect("a time");
        assert!(time > last, "{time}");
        last = time;
    }
    for wrong in ["/events?limit=0", "/events?after=s-1", "/events?x=1"] {
        assert_eq!(ask(at, "GET", wrong).await.0, 400, "{wrong}");
    }
    // There are few of them, and one that leaves makes room.
    let mut open = vec![events];
    while let answer = Get::new(at, "/events").send().await
        && answer.status == 200
    {
        open.push(answer.stream());
        assert!(open.len() <= 8, "no bound");
    }
    assert_eq!(open.len(), 8);
    open.pop();
    let room = async {
        while Get::new(at, "/events").send().await.status != 200 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("room", room).await;
    let foreign = b"GET /events HTTP/1.1\r\nhost: localhost\r\norigin: null\r\n\r\n";
    let refused = raw(at, foreign, |read| read.ends_with(b"}")).await;
    assert!(refused.starts_with(b"HTTP/1.1 403 "), "{}", refused.escape_ascii());
}
