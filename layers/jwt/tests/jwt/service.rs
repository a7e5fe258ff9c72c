//! The layer: what it rejects, what it passes on, and when it is ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use tailwater_jwt::{Credentials, JwtAuth, JwtLayer, Rejection, Session};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer as _, Service as _};
use tower_test::mock::{self, Mock, spawn_layer};

use crate::remote::{Answer, Script};
use crate::support::{ask, bearer, claims, ed, guard};

type Inner = Mock<Request<()>, Response<()>>;

fn credentials() -> Credentials {
    Credentials::bearer()
        .query("access_token", "{credentials}")
        .and_then(|places| places.cookie("session", "{credentials}"))
        .expect("they are patterns")
}

#[tokio::test]
async fn a_good_token_gives_the_request_a_session() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials());
    let response = ask(&layer, bearer(&signer.token(&claims("ada", 60)))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let session = response.body().as_ref().unwrap().extensions().get::<Session>().unwrap();
    assert_eq!(session.guard_name(), "who");
    assert_eq!(session.token().subject(), Some("ada"));
    assert!(!format!("{session:?}").contains("ada"));
}

#[tokio::test]
async fn a_request_without_a_good_token_is_rejected_and_learns_nothing() {
    let signer = ed("ed");
    let guard = guard(&signer);
    let layer = JwtLayer::new(guard.clone(), credentials());
    let other = crate::support::ed("ed").token(&claims("ada", 60));
    let rows = [
        (Request::get("/").body(()).unwrap(), "Bearer", Rejection::NoCredentials),
        (bearer("ada"), "Bearer error=\"invalid_token\"", Rejection::Parts),
        (bearer(&other), "Bearer error=\"invalid_token\"", Rejection::Signature),
        (
            bearer(&signer.token(&claims("ada", 0))),
            "Bearer error=\"invalid_token\"",
            Rejection::Expired,
        ),
    ];
    for (request, challenge, rejection) in rows {
        let response = ask(&layer, request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{rejection}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge, "{rejection}");
        assert_eq!(response.headers().len(), 1, "{rejection}");
        assert!(response.body().is_none(), "{rejection}");
        assert_eq!(response.extensions().get(), Some(&rejection));
    }
    let mut counted = guard.counts().rejections.into_iter().filter(|(_, count)| *count > 0);
    for reason in ["no_token", "malformed", "signature", "expired"] {
        assert_eq!(counted.next(), Some((reason, 1)));
    }
    assert_eq!(counted.next(), None);
}

/// The service behind an optional layer may answer a request that has no good token. Only a refusal is counted.
#[tokio::test]
async fn behind_an_optional_layer_only_refusals_are_counted() {
    let guard = guard(&ed("ed"));
    let layer = JwtLayer::new(guard.clone(), credentials()).optional();
    let count = |reason| guard.counts().rejections.into_iter().find(|(of, _)| *of == reason);
    for (status, expected) in
        [(StatusCode::OK, 0), (StatusCode::NOT_FOUND, 0), (StatusCode::UNAUTHORIZED, 1)]
    {
        let inner = tower::service_fn(move |_: Request<()>| async move {
            let mut response = Response::new(());
            *response.status_mut() = status;
            Ok::<_, std::convert::Infallible>(response)
        });
        let answer = layer.layer(inner).call(Request::get("/").body(()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(count("no_token"), Some(("no_token", expected)), "{status}");
    }
}

#[tokio::test]
async fn an_optional_layer_rejects_nothing_and_says_why_there_is_no_session() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials()).optional();
    for (request, rejection) in [
        (Request::get("/").body(()).unwrap(), Rejection::NoCredentials),
        (bearer(&signer.token(&claims("ada", 0))), Rejection::Expired),
    ] {
        let response = ask(&layer, request).await;
        let seen = response.body().as_ref().unwrap();
        assert_eq!(seen.extensions().get(), Some(&rejection));
        assert!(seen.extensions().get::<Session>().is_none());
        assert!(!seen.0.headers().contains_key("authorization"), "a bad token is a secret, too");
    }
}

#[tokio::test]
async fn the_first_place_that_holds_credentials_decides_good_or_bad() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials());
    let good = signer.token(&claims("ada", 60));
    let request = |cookie: &str, header: &str, query: &str| {
        Request::get(format!("/events?access_token={query}"))
            .header("cookie", format!("session={cookie}"))
            .header("authorization", format!("Bearer {header}"))
            .body(())
            .unwrap()
    };
    for (cookie, header, query, status) in [
        (&*good, "bad", "bad", StatusCode::OK),
        ("bad", &*good, &*good, StatusCode::UNAUTHORIZED),
        ("", &*good, "bad", StatusCode::OK),
        ("", "bad", &*good, StatusCode::UNAUTHORIZED),
        ("", "", &*good, StatusCode::OK),
        ("", "", "", StatusCode::UNAUTHORIZED),
    ] {
        let response = ask(&layer, request(cookie, header, query)).await;
        assert_eq!(response.status(), status, "cookie {cookie}, header {header}, query {query}");
    }
}

#[tokio::test]
async fn whoever_comes_next_sees_no_credentials() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials());
    let token = signer.token(&claims("ada", 60));
    let request = || {
        Request::get(format!("/events?a=1&access_token={token}&b=%20&access%5Ftoken={token}"))
            .header("authorization", format!("bearer {token}"))
            .header("authorization", "Basic YTpi")
            .header("cookie", format!("a=1; session={token}; b=2"))
            .header("cookie", format!("session={token}"))
            .header("accept", "text/event-stream")
            .body(())
            .unwrap()
    };
    let response = ask(&layer, request()).await;
    let seen = &response.body().as_ref().unwrap().0;
    assert_eq!(seen.uri(), "/events?a=1&b=%20");
    let values = |name| seen.headers().get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(values("authorization"), ["Basic YTpi"]);
    assert_eq!(values("cookie"), ["a=1; b=2"]);
    assert_eq!(values("accept"), ["text/event-stream"]);
    assert!(
        values("authorization").iter().chain(&values("cookie")).all(|value| value.is_sensitive())
    );
    let [_, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    assert!(!format!("{seen:?}").contains(signature));

    let only = Request::get(format!("https://host/events?access_token={token}")).body(()).unwrap();
    let response = ask(&layer, only).await;
    assert_eq!(response.body().as_ref().unwrap().0.uri(), "https://host/events");

    let response = ask(&layer.keep_credentials(), request()).await;
    let seen = &response.body().as_ref().unwrap().0;
    assert_eq!(seen.uri(), request().uri());
    assert_eq!(seen.headers(), request().headers());
}

#[tokio::test]
async fn a_challenge_response_is_answered_whatever_comes_of_it() {
    let signer = ed("ed");
    for layer in [
        JwtLayer::new(guard(&signer), credentials()),
        JwtLayer::new(guard(&signer), credentials()).optional(),
    ] {
        let good = format!("Bearer {}", signer.token(&claims("ada", 60)));
        for (authorization, kind) in [
            (&*good, "application/x-challenge-response"),
            ("Bearer bad", "application/x-challenge-response"),
            ("", "Application/X-Challenge-Response; charset=utf-8"),
            (&*good, "application/x-challenge-response; city=Zürich"),
        ] {
            let request = Request::post("/any/path")
                .header("content-type", kind)
                .header("authorization", authorization);
            let response = ask(&layer, request.body(()).unwrap()).await;
            assert_eq!(response.status(), StatusCode::NO_CONTENT, "{kind}");
            assert!(response.body().is_none() && response.headers().is_empty(), "{kind}");
        }
        for (method, kind) in [
            (Method::GET, "application/x-challenge-response"),
            (Method::POST, "application/x-challenge-responses"),
            (Method::POST, "text/plain"),
        ] {
            let request = Request::builder().method(method).header("content-type", kind);
            let request = request.header("authorization", &good).body(()).unwrap();
            assert_eq!(ask(&layer, request).await.status(), StatusCode::OK, "{kind}");
        }
    }
}

#[tokio::test]
async fn it_is_ready_when_the_inner_service_is() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials());
    let (mut service, mut handle) = spawn_layer::<Request<()>, Response<()>, _>(layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());

    let mut future = task::spawn(service.call(bearer(&signer.token(&claims("ada", 60)))));
    assert_pending!(future.poll());
    let (request, respond) = handle.next_request().await.unwrap();
    assert!(request.extensions().get::<Session>().is_some());
    respond.send_error("broken");
    assert!(future.is_woken());
    assert_eq!(assert_ready_err!(future.poll()).to_string(), "broken");

    handle.send_error("gone");
    assert_eq!(assert_ready_err!(service.poll_ready()).to_string(), "gone");
}

#[tokio::test]
async fn a_rejected_request_does_not_reach_the_inner_service() {
    let signer = ed("ed");
    let layer = JwtLayer::new(guard(&signer), credentials());
    let (mut service, mut handle) = spawn_layer::<Request<()>, Response<()>, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let mut future = task::spawn(service.call(bearer("bad")));
    assert_eq!(assert_ready_ok!(future.poll()).status(), StatusCode::UNAUTHORIZED);
    let mut next = task::spawn(async move { handle.next_request().await.is_some() });
    assert_pending!(next.poll());
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_keys_with_the_service_that_was_ready_for_it() {
    let signer = ed("ed");
    let script = Script::new([Answer::keys(&[&signer]).after(Duration::from_secs(2))]);
    let layer = JwtLayer::new(script.guard(), credentials());
    // A clone of this service is not ready. A call of the clone would fail.
    let (inner, mut handle): (Inner, _) = mock::pair();
    let mut service: JwtAuth<Inner> = layer.layer(inner);
    handle.allow(1);
    let mut ready = task::spawn(std::future::poll_fn(|cx| service.poll_ready(cx)));
    assert_ready_ok!(ready.poll());
    drop(ready);

    let mut future = task::spawn(service.call(bearer(&signer.token(&claims("ada", 60)))));
    assert_pending!(future.poll());
    // The fetch takes 2 s. The paused clock advances only when no task can run.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(future.is_woken(), "the keys are there");
    assert_pending!(future.poll());
    let (request, respond) = handle.next_request().await.unwrap();
    assert!(request.extensions().get::<Session>().is_some());
    respond.send_response(Response::new(()));
    assert_ready!(future.poll()).unwrap();

    // The key is known now, and no request waits.
    handle.allow(1);
    let mut ready = task::spawn(std::future::poll_fn(|cx| service.poll_ready(cx)));
    assert_ready_ok!(ready.poll());
    drop(ready);
    let mut future = task::spawn(service.call(bearer(&signer.token(&claims("bob", 60)))));
    assert_pending!(future.poll());
    handle.next_request().await.unwrap().1.send_response(Response::new(()));
    assert_ready!(future.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_any_key_the_service_is_unavailable() {
    let signer = ed("ed");
    let script = Script::new([Answer::Fail]);
    let layer = JwtLayer::new(script.guard(), credentials());
    let response = ask(&layer, bearer(&signer.token(&claims("ada", 60)))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().is_empty());
    assert_eq!(response.extensions().get(), Some(&Rejection::KeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_while_it_waits_leaves_nothing_behind() {
    let signer = ed("ed");
    let script = Script::new([Answer::keys(&[&signer]).after(Duration::from_secs(2))]);
    let layer = JwtLayer::new(script.guard(), credentials());
    let held = Arc::new(Mutex::new(()));
    let mut request = bearer(&signer.token(&claims("ada", 60)));
    request.extensions_mut().insert(Arc::clone(&held));
    let mut future = task::spawn(ask(&layer, request));
    assert_pending!(future.poll());
    assert_eq!(Arc::strong_count(&held), 2);
    drop(future);
    assert_eq!(Arc::strong_count(&held), 1);
}
