use std::convert::Infallible;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, VARY,
};
use tower::{ServiceExt as _, service_fn};

use super::*;

fn texts(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|item| (*item).to_owned()).collect())
}

/// Sends a request to a service that answers 401, as if the request had no token.
async fn ask(access: &AccessControl, request: Request<()>) -> Response<String> {
    ask_of(access, Behind::default(), request).await
}

async fn ask_of(access: &AccessControl, behind: Behind, request: Request<()>) -> Response<String> {
    let inner = service_fn(async |request: Request<()>| {
        assert!(request.extensions().get::<PlainOptions>().is_none());
        let response = Response::builder()
            .status(401)
            .extension(request.method().clone())
            .header("x-stream", "7")
            .header("cache-control", "no-cache");
        Ok::<_, Infallible>(response.body("inner".to_owned()).unwrap())
    });
    layer(access, behind).layer(inner).oneshot(request).await.unwrap()
}

fn request(method: &str, headers: &[(HeaderName, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri("/events")
        .header(HOST, "gw.example:7114")
        .body(())
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

fn preflight(origin: &str) -> Request<()> {
    let headers = [
        (ORIGIN, origin),
        (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
        (ACCESS_CONTROL_REQUEST_HEADERS, "content-type,x-challenge-session"),
    ];
    request("OPTIONS", &headers)
}

/// The value of a header, or an empty text.
fn of<'r>(response: &'r Response<String>, name: &HeaderName) -> &'r str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn assert_refused(response: &Response<String>, what: &str) {
    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::FORBIDDEN, ""),
        "{what}"
    );
    assert_eq!(response.extensions().get(), Some(&ForeignOrigin), "{what}");
    assert_eq!(of(response, &ACCESS_CONTROL_ALLOW_ORIGIN), "", "{what}");
}

const APP: &str = "https://app.example";

#[tokio::test]
async fn foreign_origin_is_refused_by_the_same_origin_policy() {
    for (host, scheme, origin, own) in [
        ("gw.example:7114", None, "http://gw.example:7114", true),
        ("gw.example:7114", None, "HTTP://GW.example:7114", true),
        ("GW.Example:7114", None, "http://gw.example:7114", true),
        ("gw.example", None, "http://gw.example", true),
        ("gw.example:80", None, "http://gw.example", true),
        ("gw.example", None, "http://gw.example:80", true),
        ("gw.example", Some(Scheme::Http), "http://gw.example", true),
        ("gw.example:443", Some(Scheme::Https), "https://gw.example", true),
        ("[::1]:80", None, "http://[::1]", true),
        ("gw.example", None, "https://gw.example", false),
        ("gw.example", Some(Scheme::Https), "http://gw.example", false),
        ("gw.example:443", None, "http://gw.example", false),
        ("gw.example:80", Some(Scheme::Https), "https://gw.example", false),
        ("gw.example", None, "http://gw.example:7114", false),
        ("gw.example", None, "http://gw.example.evil", false),
        ("gw.example", None, "http://evil-gw.example", false),
        ("gw.example", None, "gw.example", false),
        ("gw.example", None, "null", false),
        ("gw.example", None, "", false),
        ("gw.example", None, "http://gw.example http://evil", false),
    ] {
        let row = format!("{host} {scheme:?} {origin}");
        let mut request = request("GET", &[(ORIGIN, origin)]);
        request.headers_mut().insert(HOST, host.parse().unwrap());
        request.extensions_mut().extend(scheme.into_iter().fold(
            http::Extensions::new(),
            |mut all, header| {
                all.insert(header);
                all
            },
        ));
        let response = ask(&AccessControl::SameOrigin, request).await;
        if own {
            assert_eq!(response.body(), "inner", "{row}");
            assert_eq!(of(&response, &VARY), "", "{row}");
        } else {
            assert_refused(&response, &row);
        }
    }
}

#[tokio::test]
async fn authority_of_http2_is_the_own_one() {
    let mut request = request("GET", &[(ORIGIN, "http://gw.example")]);
    *request.uri_mut() = "http://gw.example/events".parse().unwrap();
    request.headers_mut().remove(HOST);
    assert_eq!(ask(&AccessControl::SameOrigin, request).await.body(), "inner");
}

#[tokio::test]
async fn doubt_about_who_asks_is_a_refusal() {
    let own = "http://gw.example:7114";
    assert_refused(
        &ask(&AccessControl::SameOrigin, request("GET", &[(ORIGIN, own), (ORIGIN, own)])).await,
        "two origins",
    );
    let two_hosts = request("GET", &[(ORIGIN, own), (HOST, "gw.example:7114")]);
    assert_refused(&ask(&AccessControl::SameOrigin, two_hosts).await, "two hosts");
    let mut no_host = request("GET", &[(ORIGIN, own)]);
    no_host.headers_mut().remove(HOST);
    assert_refused(&ask(&AccessControl::SameOrigin, no_host).await, "no host");
    let mut latin = request("GET", &[]);
    latin.headers_mut().insert(ORIGIN, HeaderValue::from_bytes(b"http://\xe9").unwrap());
    assert_refused(&ask(&AccessControl::SameOrigin, latin).await, "not ASCII");
}

#[tokio::test]
async fn same_origin_policy_grants_no_preflight() {
    assert_refused(&ask(&AccessControl::SameOrigin, preflight(APP)).await, "foreign");
    let own = ask(&AccessControl::SameOrigin, preflight("http://gw.example:7114")).await;
    assert_eq!((own.body().as_str(), of(&own, &ACCESS_CONTROL_ALLOW_METHODS)), ("inner", ""));
}

#[tokio::test]
async fn request_without_an_origin_comes_through() {
    let named = CrossOrigin { origins: texts(&[APP]), ..CrossOrigin::default() };
    for access in [AccessControl::SameOrigin, AccessControl::CrossOrigin(named)] {
        for method in ["GET", "POST", "OPTIONS"] {
            let response = ask(&access, request(method, &[])).await;
            assert_eq!(response.body(), "inner", "{method} {access:?}");
        }
        let asked = request("OPTIONS", &[(ACCESS_CONTROL_REQUEST_METHOD, "POST")]);
        assert_eq!(ask(&access, asked).await.body(), "inner", "{access:?}");
    }
}

#[tokio::test]
async fn preflight_is_answered_without_credentials() {
    let any = CrossOrigin::default();
    let credentials = CrossOrigin { credentials: true, ..CrossOrigin::default() };
    let named = CrossOrigin {
        origins: texts(&[APP]),
        methods: texts(&["GET", "POST"]),
        headers: texts(&["Authorization", "Content-Type"]),
        credentials: true,
        max_age: Some(Duration::from_secs(600)),
        expose: texts(&["etag"]),
        ..CrossOrigin::default()
    };
    let asterisks = CrossOrigin {
        origins: texts(&["*"]),
        methods: texts(&["*"]),
        headers: texts(&["*"]),
        credentials: true,
        expose: texts(&["*"]),
        ..CrossOrigin::default()
    };
    let asked = "content-type,x-challenge-session";
    for (access, origin, methods, headers, with, max_age, vary) in [
        (any, "*", "POST", asked, "", "", ""),
        (credentials, APP, "POST", asked, "true", "", "origin"),
        (named, APP, "GET,POST", "authorization,content-type", "true", "600", "origin"),
        (asterisks, APP, "POST", asked, "true", "", "origin"),
    ] {
        let access = AccessControl::CrossOrigin(access);
        let response = ask(&access, preflight(APP)).await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::NO_CONTENT, ""),
            "{access:?}"
        );
        assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_ORIGIN), origin, "{access:?}");
        assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_METHODS), methods, "{access:?}");
        assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_HEADERS), headers, "{access:?}");
        assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_CREDENTIALS), with, "{access:?}");
        assert_eq!(of(&response, &ACCESS_CONTROL_MAX_AGE), max_age, "{access:?}");
        assert_eq!(of(&response, &VARY), vary, "{access:?}");
    }
}

#[tokio::test]
async fn answer_to_a_page_says_what_it_may_read() {
    let any = CrossOrigin::default();
    let credentials = CrossOrigin { credentials: true, ..CrossOrigin::default() };
    let named = CrossOrigin {
        origins: texts(&[APP]),
        expose: texts(&["ETag", "X-Stream"]),
        ..CrossOrigin::default()
    };
    let none = CrossOrigin { expose: texts(&[]), ..CrossOrigin::default() };
    let asks = |method| request(method, &[(ORIGIN, APP)]);
    for (access, origin, expose, vary) in [
        (any, "*", "*", ""),
        (credentials, APP, "x-stream", "origin"),
        (named, APP, "etag,x-stream", "origin"),
        (none, "*", "", ""),
    ] {
        let access = AccessControl::CrossOrigin(access);
        // The page can read each response of the inner service, also a 401.
        // An OPTIONS without a requested method is no preflight.
        for request in [asks("POST"), asks("OPTIONS")] {
            let row = format!("{} {access:?}", request.method());
            let method = request.method().clone();
            let response = ask(&access, request).await;
            assert_eq!(
                (response.status(), response.body().as_str()),
                (StatusCode::UNAUTHORIZED, "inner"),
                "{row}"
            );
            assert_eq!(response.extensions().get(), Some(&method), "{row}");
            assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_ORIGIN), origin, "{row}");
            assert_eq!(of(&response, &ACCESS_CONTROL_EXPOSE_HEADERS), expose, "{row}");
            assert_eq!(of(&response, &VARY), vary, "{row}");
            assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_METHODS), "", "{row}");
        }
    }
}

#[tokio::test]
async fn named_origins_and_the_own_one_are_allowed() {
    let origins = texts(&["https://app.example:443", "http://Other.example:8080/", "null.example"]);
    let access = AccessControl::CrossOrigin(CrossOrigin { origins, ..CrossOrigin::default() });
    for (origin, allowed) in [
        ("https://app.example", Some("https://app.example")),
        ("https://app.example:443", Some("https://app.example:443")),
        ("http://other.example:8080", Some("http://other.example:8080")),
        ("http://gw.example:7114", Some("")), // its pages need no header
        ("http://app.example", None),
        ("https://app.example:8443", None),
        ("https://app.example.evil", None),
        ("https://app.example/", None),
        ("http://other.example", None),
        ("null", None),
    ] {
        for request in [request("GET", &[(ORIGIN, origin)]), preflight(origin)] {
            let row = format!("{} {origin}", request.method());
            let response = ask(&access, request).await;
            match allowed {
                Some(header) => {
                    assert_ne!(response.status(), StatusCode::FORBIDDEN, "{row}");
                    assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_ORIGIN), header, "{row}");
                }
                None => assert_refused(&response, &row),
            }
        }
    }
}

#[tokio::test]
async fn a_star_stands_for_one_label() {
    let origins =
        texts(&["https://*.example.org", "http://*.Example.net:8080/", "https://*.at.example:443"]);
    let access = AccessControl::CrossOrigin(CrossOrigin { origins, ..CrossOrigin::default() });
    for (origin, allowed) in [
        ("https://app.example.org", true),
        ("https://app.example.org:443", true),
        ("HTTPS://App-2_b.Example.ORG", true),
        ("http://app.example.net:8080", true),
        ("https://app.at.example", true),
        ("https://example.org", false),
        ("https://.example.org", false),
        ("https://a.b.example.org", false),
        ("http://app.example.org", false),
        ("https://app.example.org:8443", false),
        ("https://app.example.org.evil", false),
        ("https://evilexample.org", false),
        ("https://evil.com/.example.org", false),
        ("https://evil.com?.example.org", false),
        ("https://a@evil.example.org", false),
        ("https://a:1.example.org", false),
        ("https://*.example.org", false),
        ("http://app.example.net", false),
        ("null", false),
    ] {
        for request in [request("GET", &[(ORIGIN, origin)]), preflight(origin)] {
            let row = format!("{} {origin}", request.method());
            let response = ask(&access, request).await;
            if allowed {
                assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_ORIGIN), origin, "{row}");
                assert_eq!(of(&response, &VARY), "origin", "{row}");
            } else {
                assert_refused(&response, &row);
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_may_not_say_whose_it_is_gets_nothing_with_credentials() {
    let with = |origins, credentials| {
        AccessControl::CrossOrigin(CrossOrigin { origins, credentials, ..CrossOrigin::default() })
    };
    for (access, allowed) in [
        (with(None, true), None),
        (with(texts(&["*"]), true), None),
        (with(None, false), Some("*")),
        (with(texts(&["null"]), true), Some("null")),
    ] {
        for request in [request("GET", &[(ORIGIN, "null")]), preflight("null")] {
            let response = ask(&access, request).await;
            match allowed {
                Some(header) => assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_ORIGIN), header),
                None => assert_refused(&response, &format!("{access:?}")),
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_grants_what_event_streams_need() {
    let list = |names: &[&str]| {
        let headers = texts(names);
        AccessControl::CrossOrigin(CrossOrigin { headers, ..CrossOrigin::default() })
    };
    let streams = Behind { guarded: false, streams: true };
    let all = Behind { guarded: true, streams: true };
    for (access, behind, asked, granted) in [
        (list(&[]), streams, &["last-event-id"][..], "last-event-id,cache-control"),
        (list(&["X-A"]), streams, &["x-a"], "x-a,last-event-id,cache-control"),
        (list(&["Last-Event-ID"]), streams, &["x-a"], "last-event-id,cache-control"),
        (list(&["x-a"]), all, &["x-a"], "x-a,x-challenge-session,last-event-id,cache-control"),
        (list(&["x-a"]), Behind::default(), &["last-event-id"], "x-a"),
        // Any header that is requested.
        (
            list(&["*"]),
            streams,
            &["Cache-Control, Last-Event-ID ,x-a"],
            "Cache-Control, Last-Event-ID ,x-a",
        ),
        (
            list(&["*"]),
            streams,
            &["cache-control", "", "Last-Event-ID"],
            "cache-control,Last-Event-ID",
        ),
        (list(&["*"]), streams, &[], ""),
    ] {
        let headers = [(ORIGIN, APP), (ACCESS_CONTROL_REQUEST_METHOD, "GET")];
        let asked = asked.iter().map(|asked| (ACCESS_CONTROL_REQUEST_HEADERS, *asked));
        let headers: Vec<(HeaderName, &str)> = headers.into_iter().chain(asked).collect();
        let response = ask_of(&access, behind, request("OPTIONS", &headers)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(of(&response, &ACCESS_CONTROL_ALLOW_HEADERS), granted, "{access:?} {behind:?}");
    }
}
