//! Streams over HTTP/2 that live as long as their tokens: one answer for all that a subject has on a
//! connection.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use crate::support::{
    CHALLENGE, Http2, Record, Token, Version, ends_at, guarded, id, in_seconds, kafka, soon,
};

/// Somebody who may see everything of their own.
fn alice() -> Token {
    Token::of("alice").roles("read").claim("account", "a").claim("tenant", "acme")
}

const ACME: [(&str, Option<&[u8]>); 1] = [("tenant", Some(b"acme"))];

#[tokio::test]
async fn one_answer_extends_all_streams_until_the_next_expiry() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").run().await;
    let connection = server.http2().await;
    let first = in_seconds(8);
    let token = alice().until(first).sign();
    let mut streams = Vec::new();
    for path in ["/any", "/read", "/own", "/tenant"] {
        let get = connection.get(&format!("{path}/{topic}")).bearer(&token);
        let mut stream = get.open().await;
        assert_eq!(stream.next().await, CHALLENGE, "{path}");
        streams.push(stream);
    }
    // On a connection of its own: nobody answers.
    let mut left = server.http2().await.get(&format!("/any/{topic}")).bearer(&token).open().await;
    assert_eq!(left.next().await, CHALLENGE);

    let second = in_seconds(13);
    // Of any path.
    let answer = connection.get("/").answer().bearer(&alice().until(second).sign()).send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.text().await, "");

    assert_eq!(ends_at(&mut left, first).await, [""; 0]);
    kafka.produce(&topic, Record::value("after").key("a").headers(&ACME));
    for stream in &mut streams {
        // One for each expiry.
        assert_eq!(stream.next().await, CHALLENGE);
        assert_eq!(stream.next().await, format!("data:after\nid:{}\n", id(&[(0, 1)])));
    }
    let ended = join_all(streams.iter_mut().map(|stream| ends_at(stream, second))).await;
    assert!(ended.iter().all(Vec::is_empty), "{ended:?}");

    // The connection is as good as before.
    let mut again = connection.get(&format!("/read/{topic}")).bearer(&alice().sign()).open().await;
    let mut blocks = vec![again.next().await, again.next().await];
    blocks.sort();
    assert_eq!(blocks, ["data:after\nid:AQIAAg==\n", CHALLENGE]);
}

#[tokio::test]
async fn an_answer_of_another_or_for_less_extends_nothing_that_needs_more() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").run().await;
    let forged = alice().forge();
    let expiry = in_seconds(10);
    let token = alice().until(expiry).sign();
    // For what reason, which stream, the answer, and whether it is good for `/any`.
    let rows = [
        ("another subject", "/read", Some(alice().claim("sub", "bob").sign()), false),
        ("no subject", "/read", Some(alice().without("sub").sign()), false),
        ("no token", "/read", None, false),
        ("nonsense", "/read", Some("nonsense".to_owned()), false),
        ("another's signature", "/read", Some(forged), false),
        ("another issuer", "/read", Some(alice().claim("iss", "other").sign()), false),
        ("a token that is over", "/read", Some(alice().until(in_seconds(0)).sign()), false),
        ("the same expiry", "/read", Some(token.clone()), false),
        ("another role", "/read", Some(alice().roles("write").sign()), true),
        ("no role", "/read", Some(alice().without("scope").sign()), true),
        ("another identity", "/own", Some(alice().claim("account", "b").sign()), true),
        ("no identity", "/own", Some(alice().without("account").sign()), true),
        ("another attribute", "/tenant", Some(alice().claim("tenant", "other").sign()), true),
        ("no attribute", "/tenant", Some(alice().without("tenant").sign()), true),
    ];
    let mut all = Vec::new();
    for (case, path, answer, good_for_any) in rows {
        let connection = server.http2().await;
        let open = async |path: &str| {
            let mut stream = connection.get(&format!("{path}/{topic}")).bearer(&token).open().await;
            assert_eq!(stream.next().await, CHALLENGE, "{case}");
            stream
        };
        let stream = open(path).await;
        let any = open("/any").await;
        let get = connection.get("/").answer();
        let get = answer.iter().fold(get, |get, token| get.bearer(token));
        // It says nothing of what came of it.
        assert_eq!(get.send().await.status, 204, "{case}");
        all.push((case, stream, any, good_for_any));
    }
    assert!(SystemTime::now() < expiry, "too slow a machine: the answers came too late");
    let ended = all.iter_mut().map(async |(case, stream, any, good_for_any)| {
        let mut ended = vec![(*case, ends_at(stream, expiry).await)];
        if !*good_for_any {
            ended.push((*case, ends_at(any, expiry).await));
        }
        ended
    });
    for (case, blocks) in join_all(ended).await.concat() {
        assert_eq!(blocks, [""; 0], "{case}");
    }
    kafka.produce(&topic, Record::value("after"));
    for (case, _, mut any, _) in all.into_iter().filter(|(.., good_for_any)| *good_for_any) {
        assert_eq!(any.next().await, CHALLENGE, "{case}");
        assert_eq!(any.next().await, "data:after\nid:AQIAAg==\n", "{case}");
    }
}

#[tokio::test]
async fn an_answer_on_another_connection_extends_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").run().await;
    let expiry = in_seconds(8);
    let get = server.http2().await.get(&format!("/any/{topic}"));
    let mut stream = get.bearer(&alice().until(expiry).sign()).open().await;
    let other = server.http2().await;
    let mut others = other.get(&format!("/any/{topic}")).bearer(&alice().sign()).open().await;
    assert_eq!(others.next().await, CHALLENGE);
    assert_eq!(other.get("/").answer().bearer(&alice().sign()).send().await.status, 204);
    assert_eq!(ends_at(&mut stream, expiry).await, [CHALLENGE]);
}

#[tokio::test]
async fn an_answer_before_the_challenge_extends_as_well() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").challenge(1).run().await;
    let connection = server.http2().await;
    let other = server.http2().await;
    let expiry = in_seconds(8);
    let token = alice().until(expiry).sign();
    let path = format!("/any/{topic}");
    let mut stream = connection.get(&path).bearer(&token).open().await;
    let mut left = other.get(&path).bearer(&token).open().await;
    assert_eq!(connection.get("/").answer().bearer(&alice().sign()).send().await.status, 204);
    assert_eq!(ends_at(&mut left, expiry).await, [CHALLENGE]);
    kafka.produce(&topic, Record::value("after"));
    assert_eq!(
        stream.next().await,
        "data:after\nid:AQIAAg==\n",
        "no challenge until the hour is over"
    );
}

#[tokio::test]
async fn the_challenge_comes_the_configured_time_before_the_expiry() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).challenge(6).run().await;
    let begun = SystemTime::now();
    let expiry = begun + Duration::from_secs(8);
    let token = alice().until(expiry).sign();
    let challenged = Version::BOTH.map(async |version| {
        let get = server.get(&format!("/any/{topic}")).over(version).bearer(&token);
        let mut stream = get.open().await;
        let challenge = stream.next().await;
        let since = begun.elapsed().expect("the clock goes on");
        assert!(challenge.starts_with("event:challenge\n"), "{version:?} {challenge}");
        // Up to the millisecond that the time of a token is rounded by.
        assert!(since >= Duration::from_millis(1999), "{version:?} {since:?}");
        assert!(since < Duration::from_secs(8), "{version:?} {since:?}");
        assert_eq!(ends_at(&mut stream, expiry).await, [""; 0], "{version:?}");
    });
    join_all(challenged).await;
}

#[tokio::test]
async fn a_stream_that_stands_still_is_handed_nothing_after_its_expiry() {
    const WINDOW: u32 = 32 << 10;
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").run().await;
    let value = "x".repeat(32 << 10);
    kafka.produce_values(&topic, (0..100).map(|_| value.clone()));
    let connection = Http2::narrow(server.address(), server.tls(), WINDOW).await;
    let expiry = in_seconds(8);
    let token = alice().until(expiry).sign();
    // Nobody reads it: its window is used up, and not granted again.
    let mut still = connection.get(&format!("/any/{topic}")).bearer(&token).open().await;
    let mut read = connection.get(&format!("/own/{topic}")).bearer(&token).open().await;
    assert_eq!(ends_at(&mut read, expiry).await, [CHALLENGE]);
    // Another subject on the same connection goes on, and sees what comes now.
    let bob = Token::of("bob").claim("account", "b").sign();
    let mut others = connection.get(&format!("/own/{topic}")).bearer(&bob).open().await;
    kafka.produce(&topic, Record::value("after").key("b"));
    assert_eq!(others.next().await, CHALLENGE);
    assert_eq!(others.next().await, format!("data:after\nid:{}\n", id(&[(0, 101)])));
    // Now it is read: what was on its way when the time was over, and the end.
    let (blocks, clean, _) = still.end().await;
    assert!(clean, "END_STREAM");
    let bytes: usize = blocks.iter().map(Vec::len).sum();
    // The window, what HTTP/2 holds for a stream, and one write of events each.
    assert!(bytes < 300_000, "{bytes} of 3 MB");
    assert!(blocks.len() < 10, "{} of 101 blocks", blocks.len());
}

#[tokio::test]
async fn an_answer_after_the_expiry_brings_back_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).versions("[h2]").run().await;
    let value = "x".repeat(32 << 10);
    kafka.produce_values(&topic, (0..100).map(|_| value.clone()));
    let connection = Http2::narrow(server.address(), server.tls(), 32 << 10).await;
    let expiry = in_seconds(3);
    let token = alice().until(expiry).sign();
    let mut still = connection.get(&format!("/any/{topic}")).bearer(&token).open().await;
    let mut read = connection.get(&format!("/own/{topic}")).bearer(&token).open().await;
    assert_eq!(ends_at(&mut read, expiry).await, [CHALLENGE]);
    let late = connection.get("/").answer().bearer(&alice().sign()).send().await;
    assert_eq!(late.status, 204);
    let ended = soon("the end of a stream whose time is over", still.end()).await;
    assert!(ended.1, "END_STREAM");
    assert!(ended.0.len() < 10, "{} of 101 blocks", ended.0.len());
}
