//! Event streams of another server behind a guard: as long as their tokens, which stay here.

use std::time::{Duration, SystemTime};

use crate::support::{Token, Version, field, in_seconds, rsa_key, soon};
use crate::upstream_server::Above;

const CREDENTIALS: &str = r#"{ cookies: { token: "{credentials}" }, headers: { authorization: "Bearer {credentials}" }, query: { access_token: "{credentials}" } }"#;

/// The guard `who`, which takes tokens that [`Token`] makes.
fn guard(challenge: u64) -> String {
    let key = &rsa_key().public;
    format!(
        "guards: {{ who: {{ type: jwt, options: {{ issuer: https://auth.example.com, \
         audience: https://api.example.com, challenge: {challenge}, keys: [{key}] }} }} }}"
    )
}

fn with_roles(roles: &str) -> Token {
    Token::of("ada").roles(roles)
}

#[tokio::test]
async fn credentials_stay_here_and_only_those_with_the_role_get_through() {
    let token = with_roles("proxy:stream other").sign();
    let mut above = Above::start(Version::Http1).await;
    let server = above.proxy().guard(&guard(10), CREDENTIALS).run().await;

    let other = with_roles("other").sign();
    let forged = with_roles("proxy:stream").forge();
    for (token, status) in [(None, 401), (Some(&forged), 401), (Some(&other), 403)] {
        let mut get = server.get("/refused");
        if let Some(token) = token {
            get = get.header("authorization", format!("Bearer {token}"));
        }
        assert_eq!(get.send().await.status, status);
    }

    let bearer = format!("Bearer {token}");
    let cookie = format!("a=b; token={token}; c=d");
    let query = format!("/x?access_token={token}&y=1");
    let encoded = format!("/x?y=1&access%5Ftoken={token}");
    for (target, headers) in [
        ("/x?y=1", &[("authorization", &bearer)][..]),
        ("/x?y=1", &[("cookie", &cookie)]),
        (&query, &[]),
        (&encoded, &[]),
        // All at once: the first place decides, and none of them goes up.
        (&query, &[("cookie", &cookie), ("authorization", &bearer)]),
    ] {
        let get =
            headers.iter().fold(server.get(target), |get, (name, value)| get.header(name, value));
        let client = tokio::spawn(get.open());
        // Nothing of those who were refused came before.
        let asked = above.asked().await;
        assert_eq!(asked.head.uri, "/x?y=1", "{target}");
        assert_eq!((asked.header("authorization"), asked.header("cookie")), (None, None));
        let text = format!("{:?}", asked.head);
        assert!(!text.contains(&token), "{text}");
        let sending = asked.stream();
        sending.write("data:for members\n\n").await;
        let mut stream = soon("an answer", client).await.expect("a stream");
        assert_eq!(stream.next().await, "data:for members\n");
    }
    for log in [server.stderr().text(), server.stdout().text()] {
        assert!(!log.contains(&token), "{log}");
    }
}

#[tokio::test]
async fn a_good_token_is_handed_on_in_the_header_that_is_named_and_no_other_is() {
    let token = with_roles("proxy:stream").sign();
    for name in ["authorization", "x-token"] {
        let mut above = Above::start(Version::Http1).await;
        let handed = format!(
            r#"authorization: {{ who: {{ credentials: {{ headers: {{ {name}: "Token {{credentials}}" }} }} }} }}"#
        );
        let proxy = above.proxy().guard(&guard(10), CREDENTIALS).http_client(&handed);
        let server = proxy.run().await;
        let forged = with_roles("proxy:stream").forge();
        let in_query = |path: &str, token: &str| format!("{path}?access_token={token}");
        let expected = format!("Token {token}");
        for (get, expected) in [
            (server.get("/x").header("authorization", format!("Bearer {token}")), Some(&*expected)),
            (server.get("/x").header("cookie", format!("token={token}")), Some(&expected)),
            (server.get(&in_query("/x", &token)), Some(&expected)),
            // What a client writes there itself is not what the guard looked at.
            (server.get(&in_query("/x", &token)).header("x-token", "forged"), Some(&expected)),
            // A path for everyone: no token, one that is not good, one that is.
            (server.get("/open").header("x-token", "forged"), None),
            (server.get(&in_query("/open", &forged)), None),
            (server.get("/open").header("authorization", "Token mine"), None),
            (server.get(&in_query("/open", &token)), Some(&expected)),
        ] {
            let client = tokio::spawn(get.open());
            let asked = above.asked().await;
            assert_eq!(asked.header(name), expected, "{:?}", asked.head.uri);
            let others = ["authorization", "x-token"].into_iter().filter(|other| *other != name);
            assert!(others.clone().all(|other| asked.header(other).is_none()));
            assert_eq!(asked.head.uri.query(), None);
            drop(asked.stream());
            soon("an answer", client).await.expect("a stream");
        }
        assert!(!server.stderr().text().contains(&token), "{}", server.stderr().text());
    }
}

/// Two streams, one of which answers its challenge.
async fn streams_end_with_their_tokens(version: Version) {
    let mut above = Above::start(version).await;
    let server = above.proxy().guard(&guard(6), CREDENTIALS).run().await;
    let expiry = in_seconds(13);
    let bearer = |token| format!("Bearer {token}");
    let mut open = Vec::new();
    // Over HTTP/1.1, where each stream is a session of its own.
    for _ in 0..2 {
        let token = with_roles("proxy:stream").until(expiry).sign();
        let client = tokio::spawn(server.get("/x").header("authorization", bearer(token)).open());
        let sending = above.asked().await.stream();
        open.push((soon("an answer", client).await.expect("a stream"), sending));
    }
    let (mut renewed, its) = open.pop().expect("two");
    let (mut ending, left) = open.pop().expect("two");

    // Events of the server and challenges come side by side.
    left.write("data:1\nid:1\n\n").await;
    assert_eq!(ending.next().await, "data:1\nid:1\n");
    let mut challenges = Vec::new();
    for stream in [&mut ending, &mut renewed] {
        let challenge = stream.next().await;
        assert!(challenge.starts_with("event:challenge\ndata:{"), "{challenge}");
        assert_eq!(field(&challenge, "id"), None, "{challenge}");
        let options = field(&challenge, "data").expect("data");
        let options: serde_json::Value = serde_json::from_str(options).expect("JSON");
        challenges.push(options);
    }
    // What a page gives to `fetch`, and its fresh token.
    let options = challenges.pop().expect("two");
    let mut answer = server.get("/x").method(options["method"].as_str().expect("a method"));
    for (name, value) in options["headers"].as_object().expect("headers") {
        answer = answer.header(name, value.as_str().expect("a text"));
    }
    let fresh = with_roles("proxy:stream").sign();
    assert_eq!(answer.header("authorization", bearer(fresh)).send().await.status, 204);

    // The one ends, and its connection with it; the other goes on.
    assert_eq!(ending.end().await, (vec![], true, vec![]));
    let late = SystemTime::now().duration_since(expiry).expect("not before its time");
    assert!(late < Duration::from_secs(5), "{late:?}");
    left.left().await;
    its.write("data:2\nid:2\n\n").await;
    assert_eq!(renewed.next().await, "data:2\nid:2\n");
}

#[tokio::test]
async fn a_stream_of_a_server_over_http1_lives_as_long_as_its_token() {
    streams_end_with_their_tokens(Version::Http1).await;
}

#[tokio::test]
async fn a_stream_of_a_server_over_http2_lives_as_long_as_its_token() {
    streams_end_with_their_tokens(Version::Http2).await;
}
