//! Streams over HTTP/1.1 that live as long as their tokens: each challenge names what its answer
//! extends, which comes on another connection.

use std::time::SystemTime;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Get, Record, Server, Stream, Token, ends_at, field, guarded, id, in_seconds, kafka,
};

fn alice() -> Token {
    Token::of("alice").roles("read").claim("account", "a")
}

/// The session that a challenge names, which has to be next.
pub(crate) async fn session(stream: &mut Stream) -> String {
    let block = stream.next().await;
    let data = block.strip_prefix("event:challenge\ndata:").expect(&block);
    let data: Value = serde_json::from_str(data).expect("JSON");
    let name = data["headers"]["x-challenge-session"].as_str().expect("a name").to_owned();
    // 128 bits, and nothing else is different from HTTP/2.
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    let expected = format!(
        "event:challenge\ndata:{{\"method\":\"POST\",\"headers\":{{\
         \"content-type\":\"application/x-challenge-response\",\"x-challenge-session\":\"{name}\"}}}}\n"
    );
    assert_eq!(block, expected);
    assert_eq!(data["method"], json!("POST"));
    name
}

fn answer(server: &Server, session: &str, token: &str) -> Get {
    server.get("/").answer().header("x-challenge-session", session).bearer(token)
}

#[tokio::test]
async fn an_answer_extends_the_stream_of_its_session_and_no_other() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[http/1.1]").run().await;
    let first = in_seconds(8);
    let token = alice().until(first).sign();
    let mut streams = Vec::new();
    let mut sessions = Vec::new();
    for path in ["/read", "/read", "/own"] {
        let mut stream = server.get(&format!("{path}/{topic}")).bearer(&token).open().await;
        let session = session(&mut stream).await;
        assert!(!sessions.contains(&session), "one for each stream");
        sessions.push(session);
        streams.push(stream);
    }
    let second = in_seconds(13);
    let answered = answer(&server, &sessions[0], &alice().until(second).sign()).send().await;
    assert_eq!(answered.status, 204);
    assert_eq!(answered.header("access-control-allow-origin"), Some("*"));

    let mut extended = streams.remove(0);
    let ended = join_all(streams.iter_mut().map(|stream| ends_at(stream, first))).await;
    assert!(ended.iter().all(Vec::is_empty), "{ended:?}");
    // A second challenge, of the same session, for the second expiry.
    assert_eq!(session(&mut extended).await, sessions[0]);
    kafka.produce(&topic, Record::value("after"));
    assert_eq!(extended.next().await, format!("data:after\nid:{}\n", id(&[(0, 1)])));
    assert_eq!(ends_at(&mut extended, second).await, [""; 0]);
}

#[tokio::test]
async fn what_a_stranger_knows_or_guesses_extends_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[http/1.1]").run().await;
    let forged = alice().forge();
    let expiry = in_seconds(10);
    let token = alice().until(expiry).sign();
    let good = alice().sign();
    // The session that the answer names, made of the one of the challenge, and its token.
    type Named = fn(&str) -> Option<String>;
    let right: Named = |session| Some(session.to_owned());
    let rows: [(&str, Named, Option<String>); 14] = [
        ("a stranger's token", right, Some(alice().claim("sub", "mallory").sign())),
        ("no token", right, None),
        ("another's signature", right, Some(forged)),
        ("a token that is over", right, Some(alice().until(in_seconds(0)).sign())),
        ("the token that there is", right, Some(token.clone())),
        ("fewer roles", right, Some(alice().roles("write").sign())),
        ("no session", |_| None, Some(good.clone())),
        ("an empty one", |_| Some(String::new()), Some(good.clone())),
        ("an unknown one", |_| Some("0123456789abcdef".repeat(2)), Some(good.clone())),
        (
            "a part of one",
            |value| Some(value.get(1..).expect("longer").to_owned()),
            Some(good.clone()),
        ),
        ("more than one", |value| Some(format!("{value}0")), Some(good.clone())),
        ("two", |value| Some(format!("{value},{value}")), Some(good.clone())),
        (
            "one in upper case",
            |value| Some(format!("A{}", value.to_uppercase().get(1..)?)),
            Some(good.clone()),
        ),
        ("a pattern", |_| Some("*".to_owned()), Some(good.clone())),
    ];
    let mut all = Vec::new();
    for (case, named, token_of_answer) in rows {
        let mut stream = server.get(&format!("/read/{topic}")).bearer(&token).open().await;
        let session = session(&mut stream).await;
        let get = server.get("/").answer();
        let get =
            named(&session).iter().fold(get, |get, named| get.header("x-challenge-session", named));
        let get = token_of_answer.iter().fold(get, |get, token| get.bearer(token));
        assert_eq!(get.send().await.status, 204, "{case}");
        all.push((case, stream));
    }
    assert!(SystemTime::now() < expiry, "too slow a machine: the answers came too late");
    let ended = all.iter_mut().map(async |(case, stream)| (*case, ends_at(stream, expiry).await));
    for (case, blocks) in join_all(ended).await {
        assert_eq!(blocks, [""; 0], "{case}");
    }
}

#[tokio::test]
async fn the_renewal_of_the_owner_does_not_feed_a_thief() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[http/1.1]").run().await;
    let expiry = in_seconds(8);
    let stolen = alice().until(expiry).sign();
    let path = format!("/own/{topic}");
    let mut thief = server.get(&path).bearer(&stolen).open().await;
    let mut owner = server.get(&path).bearer(&stolen).open().await;
    session(&mut thief).await;
    let of_owner = session(&mut owner).await;
    assert_eq!(answer(&server, &of_owner, &alice().sign()).send().await.status, 204);
    assert_eq!(ends_at(&mut thief, expiry).await, [""; 0]);
    kafka.produce(&topic, Record::value("after").key("a"));
    assert_eq!(session(&mut owner).await, of_owner);
    assert_eq!(field(&owner.next().await, "data"), Some("after"));
}

#[tokio::test]
async fn a_stream_that_stands_still_is_handed_nothing_after_its_expiry() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[http/1.1]").run().await;
    let value = "x".repeat(32 << 10);
    kafka.produce_values(&topic, (0..300).map(|_| value.clone()));
    let expiry = in_seconds(8);
    let token = alice().until(expiry).sign();
    // Nobody reads it: the socket is full.
    let get = server.get(&format!("/read/{topic}")).bearer(&token).receive_buffer(16 << 10);
    let mut still = get.open().await;
    let mut read = server.get(&format!("/own/{topic}")).bearer(&token).open().await;
    session(&mut read).await;
    assert_eq!(ends_at(&mut read, expiry).await, [""; 0]);
    kafka.produce(&topic, Record::value("after"));
    let (blocks, clean, _) = still.end().await;
    assert!(clean, "the last chunk");
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    // What sockets and TLS hold.
    assert!(bytes < 2_000_000, "{bytes} of 10 MB");
    assert!(!blocks.iter().any(|block| block.starts_with(b"data:after")));
}
