//! Which requests share a session, which renew it, and its id.

use std::future::poll_fn;
use std::time::Duration;

use http::{Request, StatusCode, Version};
use tailwater_jwt::{ConnectionSessions, Credentials, Due, Guard, JwtLayer, Lease};
use tokio::time::Instant;

use crate::support::{Signer, ask, bearer, claims, ed, options, session};

const SECOND: Duration = Duration::from_secs(1);
const PLAIN: &str =
    r#"{"method":"POST","headers":{"content-type":"application/x-challenge-response"}}"#;

fn layer(signer: &Signer) -> JwtLayer {
    JwtLayer::new(Guard::new(options(signer).challenge(10 * SECOND)), Credentials::bearer())
}

fn on(connection: &ConnectionSessions, mut request: Request<()>) -> Request<()> {
    *request.version_mut() = Version::HTTP_2;
    request.extensions_mut().insert(connection.clone());
    request
}

fn answer(token: &str, session: Option<&str>) -> Request<()> {
    let mut request = bearer(token);
    *request.method_mut() = http::Method::POST;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/x-challenge-response".parse().expect("a value"));
    if let Some(name) = session {
        headers.insert("x-challenge-session", name.parse().expect("a value"));
    }
    request
}

async fn challenge(lease: &mut Lease) -> String {
    match poll_fn(|cx| lease.poll_due(cx)).await {
        Due::Challenge(challenge) => {
            let text = challenge.json();
            if let Some(name) = name(&text) {
                assert!(!format!("{challenge:?}").contains(&name), "a name is a permission");
            }
            text
        }
        other => panic!("{other:?}"),
    }
}

async fn end(lease: &mut Lease) {
    while poll_fn(|cx| lease.poll_due(cx)).await != Due::End {}
}

fn name(challenge: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(challenge).expect("JSON");
    value["headers"]["x-challenge-session"].as_str().map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn over_http2_one_answer_renews_all_streams_of_the_subject_on_the_connection() {
    let signer = ed("ed");
    let layer = layer(&signer);
    let connection = ConnectionSessions::default();
    let other = ConnectionSessions::default();
    let start = Instant::now();
    let token = signer.token(&claims("ada", 60));
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(session(&layer, on(&connection, bearer(&token))).await.lease(|_| true));
    }
    let eve = signer.token(&claims("eve", 60));
    let mut eve = session(&layer, on(&connection, bearer(&eve))).await.lease(|_| true);
    let mut elsewhere = session(&layer, on(&other, bearer(&token))).await.lease(|_| true);
    for lease in &mut mine {
        assert_eq!(challenge(lease).await, PLAIN);
    }

    let fresh = signer.token(&claims("ada", 120));
    let response = ask(&layer, on(&connection, answer(&fresh, None))).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    end(&mut eve).await;
    end(&mut elsewhere).await;
    assert_eq!(start.elapsed().as_secs(), 60);
    for lease in &mut mine {
        assert!(lease.permits());
        assert_eq!(challenge(lease).await, PLAIN);
        assert_eq!(start.elapsed().as_secs(), 110);
    }
    end(&mut mine[0]).await;
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn over_http11_the_answer_renews_the_session_that_it_names_and_no_other() {
    let signer = ed("ed");
    let layer = layer(&signer);
    let token = signer.token(&claims("ada", 60));
    // The requests on a connection of a proxy may come from different clients.
    let connection = ConnectionSessions::default();
    let one = || {
        let mut request = bearer(&token);
        request.extensions_mut().insert(connection.clone());
        request
    };
    let mut mine = session(&layer, one()).await.lease(|_| true);
    let mut thief = session(&layer, one()).await.lease(|_| true);
    let text = challenge(&mut mine).await;
    let name = name(&text).unwrap();
    assert_eq!(name.len(), 32);
    let expected = format!(
        r#"{{"method":"POST","headers":{{"content-type":"application/x-challenge-response","x-challenge-session":"{name}"}}}}"#
    );
    assert_eq!(text, expected);
    assert_ne!(challenge(&mut thief).await, text);

    let fresh = signer.token(&claims("ada", 120));
    let eve = signer.token(&claims("eve", 120));
    let wrong = "0".repeat(32);
    for (token, name) in [
        (&*fresh, None),
        (&*fresh, Some(&*wrong)),
        (&*fresh, Some("")),
        (&*eve, Some(&*name)),
        ("bad", Some(&*name)),
    ] {
        let response = ask(&layer, answer(token, name)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    // A GET is not a challenge response.
    session(&layer, bearer(&fresh)).await;
    tokio::time::advance(9 * SECOND).await;
    assert!(mine.permits());
    ask(&layer, answer(&fresh, Some(&name))).await;
    tokio::time::advance(SECOND).await;
    assert!(mine.permits());
    assert!(!thief.permits());
    end(&mut thief).await;
    assert_eq!(challenge(&mut mine).await, expected, "its name stays");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_names_a_session_renews_nothing_of_its_connection() {
    let signer = ed("ed");
    let layer = layer(&signer);
    let connection = ConnectionSessions::default();
    let token = signer.token(&claims("ada", 60));
    let mut alone = session(&layer, bearer(&token)).await.lease(|_| true);
    let shared = session(&layer, on(&connection, bearer(&token))).await.lease(|_| true);
    let name = name(&challenge(&mut alone).await).unwrap();
    let fresh = signer.token(&claims("ada", 120));
    ask(&layer, on(&connection, answer(&fresh, Some(&name)))).await;
    tokio::time::advance(10 * SECOND).await;
    assert!(alone.permits());
    assert!(!shared.permits());
}

#[tokio::test(start_paused = true)]
async fn over_http2_without_sessions_of_the_connection_a_session_has_a_name() {
    let signer = ed("ed");
    let layer = layer(&signer);
    let mut request = bearer(&signer.token(&claims("ada", 60)));
    *request.version_mut() = Version::HTTP_2;
    let mut lease = session(&layer, request).await.lease(|_| true);
    assert!(name(&challenge(&mut lease).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn guards_do_not_share_sessions() {
    let signer = ed("ed");
    let first = layer(&signer);
    let second = layer(&signer);
    let connection = ConnectionSessions::default();
    let token = signer.token(&claims("ada", 60));
    let lease = session(&first, on(&connection, bearer(&token))).await.lease(|_| true);
    let fresh = signer.token(&claims("ada", 120));
    let other = session(&second, on(&connection, bearer(&fresh))).await.lease(|_| true);
    tokio::time::advance(60 * SECOND).await;
    assert!(!lease.permits());
    assert!(other.permits());
}

#[tokio::test(start_paused = true)]
async fn a_lease_begins_with_the_token_of_its_own_request() {
    let signer = ed("ed");
    let layer = layer(&signer);
    let connection = ConnectionSessions::default();
    let long = signer.token(&claims("ada", 120));
    let short = signer.token(&claims("ada", 60));
    let first = session(&layer, on(&connection, bearer(&long))).await;
    let second = session(&layer, on(&connection, bearer(&short))).await;
    let leases = [first.lease(|_| true), second.lease(|_| true)];
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(leases.each_ref().map(Lease::permits), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn challenges_and_what_their_answers_came_to_are_counted() {
    let signer = ed("ed");
    let guard = Guard::new(options(&signer).challenge(10 * SECOND));
    let layer = JwtLayer::new(guard.clone(), Credentials::bearer());
    let mut lease =
        session(&layer, bearer(&signer.token(&claims("ada", 60)))).await.lease(|_| true);
    let id = name(&challenge(&mut lease).await);
    let counted = || {
        let counts = guard.counts();
        (counts.challenges, counts.renewals, counts.failed_renewals)
    };
    assert_eq!(counted(), (1, 0, 0));
    // Of another subject, and without a good token.
    ask(&layer, answer(&signer.token(&claims("eve", 120)), id.as_deref())).await;
    ask(&layer, answer("bad", id.as_deref())).await;
    assert_eq!(counted(), (1, 0, 2));
    ask(&layer, answer(&signer.token(&claims("ada", 120)), id.as_deref())).await;
    assert_eq!(counted(), (1, 1, 2));
    assert_eq!(guard.counts().keys_age, None, "the keys are a list");
}
