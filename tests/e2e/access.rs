//! Pages of other origins.

use crate::support::{Version, kafka, server};

#[tokio::test]
async fn same_origin_refuses_foreign_origins_and_grants_no_preflight() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let own = format!("http://{}", server.address());
    for version in Version::BOTH {
        let get = || server.get(&path).over(version);
        for (origin, status) in
            [(&*own, 200), ("https://other.example", 403), ("null", 403), ("http://localhost", 403)]
        {
            let answer = get().method("HEAD").header("origin", origin).send().await;
            assert_eq!(answer.status, status, "{version:?} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{version:?} {origin}");
        }
        let preflight = get().method("OPTIONS").header("origin", "https://other.example");
        let answer = preflight.header("access-control-request-method", "GET").send().await;
        assert_eq!(answer.status, 403, "{version:?}");
        assert_eq!(get().method("HEAD").send().await.status, 200, "{version:?} no origin");
    }
}

#[tokio::test]
async fn cross_origin_opens_streams_to_any_page() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).access_control("{ policy: cross-origin }").run().await;
    let path = format!("/all/{topic}");
    for version in Version::BOTH {
        let get = || server.get(&path).over(version).header("origin", "https://other.example");
        let answer = get().send().await;
        assert_eq!(answer.status, 200, "{version:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{version:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{version:?}");

        let preflight = get().method("OPTIONS").header("access-control-request-method", "GET");
        let preflight = preflight.header("access-control-request-headers", "last-event-id");
        let answer = preflight.send().await;
        assert_eq!(answer.status, 204, "{version:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{version:?}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("last-event-id"), "{version:?}");
        assert_eq!(answer.text().await, "", "{version:?}");
    }
    // A page can read why it got nothing.
    let missing = server.get("/nothing").header("origin", "https://other.example").send().await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn cross_origin_with_a_list_opens_streams_to_those_pages() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let options = r#"{
        policy: cross-origin,
        allow: { origins: ["https://page.example"], credentials: true },
        max-age: 60,
    }"#;
    let server = server(&kafka).access_control(options).run().await;
    for (origin, status, allowed) in [
        ("https://page.example", 200, Some("https://page.example")),
        ("https://other.example", 403, None),
        ("http://page.example", 403, None),
        ("https://page.example.other", 403, None),
    ] {
        let answer = server.get(&format!("/all/{topic}")).header("origin", origin).send().await;
        assert_eq!(answer.status, status, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, allowed.map(|_| "true"), "{origin}");
    }
}

#[tokio::test]
async fn one_label_is_a_star_and_streams_get_their_headers() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let options = r#"{
        policy: cross-origin,
        allow: { origins: ["https://*.example.org"], headers: [authorization] },
    }"#;
    let server = server(&kafka).access_control(options).run().await;
    let path = format!("/all/{topic}");
    for version in Version::BOTH {
        for (origin, allowed) in [
            ("https://app.example.org", true),
            ("https://example.org", false),
            ("https://a.b.example.org", false),
            ("http://app.example.org", false),
            ("https://app.example.org:8443", false),
            ("null", false),
        ] {
            let get = || server.get(&path).over(version).header("origin", origin);
            let answer = get().method("HEAD").send().await;
            assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{version:?} {origin}");
            let header = allowed.then_some(origin);
            assert_eq!(answer.header("access-control-allow-origin"), header, "{version:?}");
            assert_eq!(answer.header("vary"), allowed.then_some("origin"), "{version:?}");

            let preflight = get().method("OPTIONS").header("access-control-request-method", "GET");
            let preflight =
                preflight.header("access-control-request-headers", "authorization,last-event-id");
            let answer = preflight.send().await;
            assert_eq!(answer.status, if allowed { 204 } else { 403 }, "{version:?} {origin}");
            let granted = answer.header("access-control-allow-headers");
            let expected = allowed.then_some("authorization,last-event-id,cache-control");
            assert_eq!(granted, expected, "{version:?} {origin}");
        }
    }
}

#[tokio::test]
async fn credentials_are_not_for_pages_without_an_origin() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let options = "{ policy: cross-origin, allow: { credentials: true } }";
    let server = server(&kafka).access_control(options).run().await;
    for (origin, allowed) in [("https://any.example", Some("https://any.example")), ("null", None)]
    {
        let answer = server.get(&format!("/all/{topic}")).header("origin", origin).send().await;
        assert_eq!(answer.status, if allowed.is_some() { 200 } else { 403 }, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
    }
    server.stderr().says("pages of any origin may read what a user's cookies give access to").await;
}
