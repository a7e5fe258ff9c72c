//! Responses to requests, and the subscriptions that reach the source.

mod support;

use std::sync::Arc;
use std::task::Poll;

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use support::{Feed, Source, source};
use tailwater_sse::{BoxError, Error, Rejection, SseBody, SseLayer, Subscription};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower_test::mock::{Handle, Spawn, spawn_layer};

type Mock = Spawn<tailwater_sse::Sse<tower_test::mock::Mock<Subscription, Source>>>;

fn service(layer: SseLayer) -> (Mock, Handle<Subscription, Source>) {
    let (mut service, mut handle) = spawn_layer(layer);
    handle.allow(1);
    assert_ready_ok!(service.poll_ready::<Request<&str>>());
    (service, handle)
}

fn request(method: Method) -> Request<&'static str> {
    Request::builder().method(method).uri("/orders?x=1").body("ignored").expect("a request")
}

/// The response to `request` if the source returns a stream, and the subscription that reached the source.
async fn answer(request: Request<&'static str>) -> (Response<SseBody<Source>>, Subscription, Feed) {
    let (mut service, mut handle) = service(SseLayer::new());
    let mut response = task::spawn(service.call(request));
    assert_pending!(response.poll());
    let (subscription, asked) = handle.next_request().await.expect("the source is asked");
    let (feed, source) = source();
    asked.send_response(source);
    assert!(response.is_woken());
    (assert_ready_ok!(response.poll()), subscription, feed)
}

fn headers<B>(response: &Response<B>) -> Vec<(&str, &str)> {
    response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
        .collect()
}

const STREAM: [(&str, &str); 4] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),
    ("x-content-type-options", "nosniff"),
];

#[tokio::test]
async fn get_opens_a_stream() {
    let (response, subscription, feed) = answer(request(Method::GET)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(headers(&response), STREAM);
    assert!(!response.body().is_end_stream());
    assert!(!feed.is_dropped());
    assert_eq!(subscription.parts().uri, "/orders?x=1");
    assert_eq!(subscription.last_event_id(), None);
    assert!(!subscription.timestamps());
}

#[tokio::test]
async fn head_answers_the_headers_and_drops_the_stream() {
    let (response, subscription, feed) = answer(request(Method::HEAD)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(headers(&response), STREAM);
    assert!(response.body().is_end_stream());
    assert!(feed.is_dropped());
    assert_eq!(subscription.parts().method, Method::HEAD);
}

#[tokio::test]
async fn another_method_is_not_allowed_and_the_source_not_asked() {
    for method in [Method::POST, Method::PUT, Method::OPTIONS, Method::from_bytes(b"get").unwrap()]
    {
        let (mut service, mut handle) = service(SseLayer::new());
        let response = assert_ready_ok!(task::spawn(service.call(request(method.clone()))).poll());
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(headers(&response), [("allow", "GET, HEAD")], "{method}");
        assert!(response.body().is_end_stream(), "{method}");
        let reason = reason(&response);
        assert_eq!(reason.downcast_ref(), Some(&Error::Method(method.clone())));
        assert_eq!(
            reason.to_string(),
            format!("method {method} is not allowed for an event stream")
        );
        assert_pending!(handle.poll_request());
    }
}

fn reason<B>(response: &Response<B>) -> &(dyn std::error::Error + 'static) {
    let rejection = response.extensions().get::<Arc<Rejection>>().expect("a reason");
    std::error::Error::source(&**rejection).expect("a cause")
}

#[tokio::test]
async fn a_rejection_is_a_response_without_its_reason() {
    for method in [Method::GET, Method::HEAD] {
        let (mut service, mut handle) = service(SseLayer::new());
        let mut response = task::spawn(service.call(request(method)));
        assert_pending!(response.poll());
        let (_, asked) = handle.next_request().await.unwrap();
        asked.send_error(Rejection::new(StatusCode::FORBIDDEN, "no such claim"));
        let response = assert_ready_ok!(response.poll());
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(headers(&response), []);
        assert!(response.body().is_end_stream());
        assert_eq!(reason(&response).to_string(), "no such claim");
    }
}

#[tokio::test]
async fn a_rejection_that_is_exposed_has_its_reason_as_text() {
    let (mut service, mut handle) = service(SseLayer::new());
    let mut response = task::spawn(service.call(request(Method::GET)));
    assert_pending!(response.poll());
    let (_, asked) = handle.next_request().await.unwrap();
    asked.send_error(Rejection::new(StatusCode::BAD_REQUEST, "expected a number").expose_reason());
    let response = assert_ready_ok!(response.poll());
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        headers(&response),
        [("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")]
    );
    assert_eq!(response.body().size_hint().exact(), Some(18));
    let mut body = task::spawn(response.into_body());
    let frame = body.enter(|cx, body| body.poll_frame(cx));
    let Poll::Ready(Some(Ok(frame))) = frame else { panic!("{frame:?}") };
    assert_eq!(frame.into_data().unwrap(), "expected a number\n");
    assert!(body.enter(|_, body| body.is_end_stream()));
}

#[tokio::test]
async fn an_error_that_is_no_rejection_is_unavailable() {
    let rejection = Rejection::from(BoxError::from("timed out"));
    assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejection.to_string(), "subscription rejected with 503 Service Unavailable");
}

#[tokio::test]
async fn it_is_ready_when_the_source_is() {
    let (mut service, mut handle) = spawn_layer::<Subscription, Source, _>(SseLayer::new());
    handle.allow(0);
    assert_pending!(service.poll_ready::<Request<()>>());
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready::<Request<()>>());
}

#[tokio::test]
async fn a_source_that_fails_to_become_ready_is_a_rejection() {
    let (mut service, mut handle) = spawn_layer::<Subscription, Source, _>(SseLayer::new());
    handle.send_error(Rejection::new(StatusCode::INSUFFICIENT_STORAGE, "full"));
    assert_ready_ok!(service.poll_ready::<Request<&str>>());
    let response = assert_ready_ok!(task::spawn(service.call(request(Method::GET))).poll());
    assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(reason(&response).to_string(), "full");
}

#[tokio::test]
async fn a_clone_asks_the_source_itself_whether_it_is_ready() {
    let (mut service, mut handle) = spawn_layer::<Subscription, Source, _>(SseLayer::new());
    handle.allow(0);
    handle.send_error(Rejection::new(StatusCode::INSUFFICIENT_STORAGE, "full"));
    assert_ready_ok!(service.poll_ready::<Request<()>>());
    let mut clone = service.clone();
    assert_pending!(clone.poll_ready::<Request<()>>());
}

#[tokio::test]
async fn a_dropped_response_future_drops_the_question() {
    let (mut service, mut handle) = service(SseLayer::new());
    let mut response = task::spawn(service.call(request(Method::GET)));
    assert_pending!(response.poll());
    let (_, asked) = handle.next_request().await.unwrap();
    drop(response);
    let (feed, source) = source();
    asked.send_response(source);
    assert!(feed.is_dropped());
}

#[tokio::test]
async fn the_source_is_told_the_last_event_id() {
    let mut request = request(Method::GET);
    request.headers_mut().insert("last-event-id", "AQQABAIC/revision=42".parse().unwrap());
    let (_, subscription, _) = answer(request).await;
    assert_eq!(subscription.last_event_id().map(|id| &id[..]), Some(&b"AQQABAIC/revision=42"[..]));

    let request = Request::get("/?lastEventId=AQIAAg%3D%3D").body("").unwrap();
    let (_, subscription, _) = answer(request).await;
    assert_eq!(subscription.last_event_id().map(|id| &id[..]), Some(&b"AQIAAg=="[..]));
}

#[tokio::test]
async fn timestamps_are_agreed_on() {
    let mut request = request(Method::GET);
    request.headers_mut().insert("accept", "text/event-stream;ext=timestamp".parse().unwrap());
    let (response, subscription, _) = answer(request).await;
    assert!(subscription.timestamps());
    assert_eq!(response.headers()["content-type"], "text/event-stream;ext=timestamp");
}

#[tokio::test]
async fn the_lease_is_asked_for_with_the_request_that_the_source_gets() {
    #[derive(Clone)]
    struct Session;

    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let layer = SseLayer::new().lease(move |parts| {
        log.lock()
            .unwrap()
            .push((parts.uri.path().to_owned(), parts.extensions.get::<Session>().is_some()));
        None
    });
    let (mut service, mut handle) = service(layer);
    let mut request = request(Method::GET);
    request.extensions_mut().insert(Session);
    let mut response = task::spawn(service.call(request));
    assert_eq!(*asked.lock().unwrap(), [("/orders".to_owned(), true)]);
    let Poll::Pending = response.poll() else { panic!("answered before the source") };
    let (subscription, _) = handle.next_request().await.unwrap();
    assert!(subscription.parts().extensions.get::<Session>().is_some());
}
