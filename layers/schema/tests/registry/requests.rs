//! What a registry is asked, and how.

use http::{HeaderValue, header};
use tailwater_schema::catalog::registry::{Apicurio, Confluent, Registry, RegistryOptions};
use tailwater_schema::catalog::{SchemaId, SchemaKind, SchemaRef, UseId};

use crate::stub::{Answer, Stub};
use crate::{Log, confluent, id, options, result, text};

#[tokio::test]
async fn a_subject_is_asked_for_its_id_and_the_id_for_its_schema() {
    let stub = Stub::start(|target, _| match target {
        "/subjects/t-value/versions/latest" => {
            Answer::json(r#"{"subject":"t-value","version":3,"id":9,"schema":"other"}"#)
        }
        "/schemas/ids/9" => Answer::schema("\"string\""),
        _ => Answer::error(404, 40403),
    })
    .await;
    let registry = confluent(&stub.url());
    let schema = result(&registry, &SchemaRef::subject("t-value", "latest")).await.unwrap();
    assert_eq!((schema.text(), schema.id()), ("\"string\"", SchemaId::Confluent(9)));
    assert_eq!(schema.kind(), Some(SchemaKind::Avro));
    assert_eq!(stub.targets(), ["/subjects/t-value/versions/latest", "/schemas/ids/9"]);
    let fetched = registry.fetch(&SchemaRef::subject("t-value", "latest")).await.unwrap();
    assert_eq!(fetched.version.as_deref(), Some("3"));
    for seen in stub.seen() {
        let host = stub.address.to_string();
        assert_eq!(seen.header("host"), Some(&*host));
        assert_eq!(
            seen.header("accept"),
            Some("application/vnd.schemaregistry.v1+json, application/json")
        );
        assert!(seen.header("user-agent").unwrap().starts_with("tailwater-schema/"));
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("upgrade"), None);
        // One connection serves them all.
        assert_eq!(seen.connection, 0);
    }
}

#[tokio::test]
async fn the_path_of_the_url_stays_and_segments_are_encoded() {
    let stub = Stub::start(|target, _| match target.contains("versions") {
        true => Answer::json(r#"{"id":9,"globalId":9,"contentId":7}"#),
        false if target.ends_with("/references") => Answer::json("[]"),
        false => Answer::schema("x"),
    })
    .await;
    let subject = SchemaRef::subject("a b/ü", "2");
    for (path, context, targets) in [
        (
            "/apis/ccompat/v7/",
            "default",
            [
                "/apis/ccompat/v7/subjects/a%20b%2F%C3%BC/versions/2",
                "/apis/ccompat/v7/schemas/ids/9",
            ],
        ),
        (
            "",
            "eu",
            ["/contexts/:.eu:/subjects/a%20b%2F%C3%BC/versions/2", "/contexts/:.eu:/schemas/ids/9"],
        ),
    ] {
        let before = stub.targets().len();
        let url = format!("{}{path}", stub.url());
        let options = options(&url, Confluent::new().context(context));
        text(&Registry::new(options).unwrap(), &subject).await;
        assert_eq!(stub.targets()[before..], targets);
    }
    for (path, group, use_id, targets) in [
        (
            "",
            "default",
            UseId::GlobalId,
            [
                "/apis/registry/v2/groups/default/artifacts/a%20b%2F%C3%BC/versions/2/meta",
                "/apis/registry/v2/ids/globalIds/9",
                "/apis/registry/v2/ids/globalIds/9/references",
            ],
        ),
        (
            "/proxy/v3",
            "a b",
            UseId::ContentId,
            [
                "/proxy/v3/groups/a%20b/artifacts/a%20b%2F%C3%BC/versions/2",
                "/proxy/v3/ids/contentIds/7",
                "/proxy/v3/ids/contentIds/7/references",
            ],
        ),
    ] {
        let before = stub.targets().len();
        let url = format!("{}{path}", stub.url());
        let options = options(&url, Apicurio::new().group(group).use_id(use_id));
        text(&Registry::new(options).unwrap(), &subject).await;
        assert_eq!(stub.targets()[before..], targets);
    }
}

#[tokio::test]
async fn version_3_of_apicurio_is_spoken_where_the_path_says_so() {
    let stub = Stub::start(|target, _| match target.strip_prefix("/apis/registry/v3").unwrap() {
        "/groups/default/artifacts/t-value/versions/branch=latest" => Answer::json(
            r#"{"version":"1.0.1","artifactType":"AVRO","globalId":7,"contentId":5,"groupId":"default"}"#,
        ),
        "/ids/contentIds/5" => Answer::Reply(
            200,
            "content-type: application/json\r\nX-Registry-ArtifactType: AVRO\r\n",
            b"\"x.Inner\"".to_vec(),
        ),
        "/ids/contentIds/5/references" => Answer::json(
            r#"[{"groupId":"g","artifactId":"inner","version":"2","name":"x.Inner"}]"#,
        ),
        "/groups/g/artifacts/inner/versions/2" => Answer::json(r#"{"globalId":3,"contentId":2}"#),
        "/ids/contentIds/2" => Answer::json(r#"{"type":"fixed","name":"x.Inner","size":1}"#),
        "/ids/contentIds/2/references" => Answer::json("[]"),
        _ => Answer::Reply(
            404,
            "content-type: application/problem+json\r\n",
            br#"{"title":"No content","status":404,"name":"ContentNotFoundException"}"#.to_vec(),
        ),
    })
    .await;
    let url = format!("{}/apis/registry/v3", stub.url());
    let options = options(&url, Apicurio::new().use_id(UseId::ContentId));
    let registry = Registry::new(options).unwrap();
    let found = registry.fetch(&SchemaRef::subject("t-value", "latest")).await.unwrap();
    assert_eq!(found.version.as_deref(), Some("1.0.1"));
    assert_eq!(
        (found.schema.id(), found.schema.kind()),
        (SchemaId::ContentId(5), Some(SchemaKind::Avro))
    );
    let [inner] = found.schema.references() else { panic!("one reference") };
    assert_eq!((inner.name(), inner.schema().id()), ("x.Inner", SchemaId::ContentId(2)));
    let error = registry.fetch(&SchemaRef::Id(SchemaId::ContentId(77))).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_schema_is_asked_for_by_the_guid_of_a_header() {
    let stub = Stub::start(|_, _| Answer::schema("x")).await;
    let guid = SchemaId::Guid(*b"\x5e\x2f\x2f\x0a\x4a\x5c\x4c\x59\x9b\x0d\x1c\x1f\x5a\x0f\x3f\x21");
    text(&confluent(&stub.url()), &SchemaRef::Id(guid)).await;
    assert_eq!(stub.targets(), ["/schemas/guids/5e2f2f0a-4a5c-4c59-9b0d-1c1f5a0f3f21"]);
}

#[tokio::test]
async fn credentials_are_sent_and_shown_nowhere() {
    let (log, _guard) = Log::start();
    let stub = Stub::start(|target, before| match (target, before) {
        ("/schemas/ids/1", 0) => Answer::error(401, 40101),
        ("/schemas/ids/1", 1) => Answer::redirect("/schemas/ids/2"),
        ("/schemas/ids/3", _) => Answer::error(404, 40403),
        ("/schemas/ids/4", _) => Answer::redirect("http://localhost:1/secret-no-but-elsewhere"),
        ("/schemas/ids/5", 0) => Answer::Close,
        _ => Answer::schema("x"),
    })
    .await;
    let in_url = stub.url().replace("http://", "http://me:s%65cret@");
    let basic = "Basic bWU6c2VjcmV0"; // me:secret
    let bearer = HeaderValue::from_static("Bearer very-secret");
    let plain = options(&in_url, Confluent::new());
    let replaced = plain.clone().header(header::AUTHORIZATION, bearer);
    for (options, expected) in [(plain, basic), (replaced, "Bearer very-secret")] {
        let before = stub.seen().len();
        let debug = format!("{options:?}");
        let registry = Registry::new(options).unwrap();
        for number in [1, 5] {
            assert_eq!(text(&registry, &id(number)).await, "x");
        }
        let mut errors = String::new();
        for number in [3, 4] {
            let error = registry.fetch(&id(number)).await.unwrap_err();
            errors += &format!("{error} {error:?}");
        }
        for seen in &stub.seen()[before..] {
            assert_eq!(seen.header("authorization"), Some(expected), "{}", seen.target);
        }
        let url = registry.url();
        for shown in [errors, debug, format!("{registry:?} {url:?} {:?}", registry.status())] {
            assert!(!shown.contains("cret@") && !shown.contains("bWU6"), "{shown}");
            assert!(!shown.contains("very-secret"), "{shown}");
        }
    }
    let log = log.text();
    assert!(log.contains("schemas cannot be fetched"), "{log}");
    for secret in ["cret@", "me:secret", "bWU6c2VjcmV0", "very-secret", "Bearer", "Basic"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn redirects_are_followed_within_the_server_five_times() {
    let stub = Stub::start(|target, _| {
        let mut parts = target.rsplit('/');
        let number: u32 = parts.next().unwrap().parse().unwrap();
        match number {
            0 => Answer::schema("x"),
            more if target.starts_with("/schemas") => {
                Answer::redirect(format!("/hop/{}", more - 1))
            }
            more => Answer::redirect(format!("{}", more - 1)),
        }
    })
    .await;
    let registry = confluent(&stub.url());
    assert_eq!(text(&registry, &id(5)).await, "x");
    let error = registry.fetch(&id(6)).await.unwrap_err();
    assert_eq!(error.to_string(), "answer redirects more than 5 times");
    assert!(!error.is_transient());
    assert!(result(&registry, &id(6)).await.is_none());
}

#[tokio::test]
async fn a_redirect_to_another_server_is_not_followed() {
    let other = Stub::start(|_, _| Answer::schema("x")).await;
    let target = format!("{}/schemas/ids/9", other.url());
    let stub = Stub::start(move |_, _| Answer::redirect(&target)).await;
    let url = stub.url().replace("http://", "http://me:secret@");
    let registry = confluent(&url);
    let error = registry.fetch(&id(9)).await.unwrap_err();
    assert!(error.to_string().contains("which has another scheme, host or port"), "{error}");
    assert!(result(&registry, &id(9)).await.is_none());
    assert!(other.seen().is_empty());
}

#[test]
fn a_registry_without_a_runtime_has_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stub = runtime.block_on(Stub::start(|_, _| Answer::schema("x")));
    let registry =
        Registry::new(RegistryOptions::new(stub.url().parse().unwrap(), Confluent::new())).unwrap();
    // Whatever polls the waiter needs no runtime: this look-up is outside of one.
    let _ = tailwater_schema::catalog::Catalog::look_up(&registry, &id(9), SchemaKind::Avro);
    assert_eq!(runtime.block_on(text(&registry, &id(9))), "x");
    assert_eq!(runtime.block_on(registry.fetch(&id(8))).unwrap().schema.text(), "x");
}

#[tokio::test]
async fn a_schema_of_two_megabytes_is_one_like_any_other() {
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    let sent = large.clone();
    let stub = Stub::start(move |_, _| Answer::schema(&sent)).await;
    assert_eq!(text(&confluent(&stub.url()), &id(9)).await, large);
}
