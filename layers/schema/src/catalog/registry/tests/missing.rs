//! What the registry does not have, and what may be the answer of a proxy.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_missing_schema_is_asked_for_three_times_and_remembered() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) =
        confluent(|_, before| if before < 5 { no_schema() } else { schema("x") });
    assert!(result(&registry, &id(77)).await.is_none());
    assert_eq!(asked.times("/schemas/ids/77").len(), 3);
    let seconds = asked.start.elapsed().as_secs_f32();
    assert!((3.9..5.0).contains(&seconds), "{seconds}");
    // It is remembered, and asked for once a minute.
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(matches!(look_up(&registry, &id(77)), Lookup::Missing));
    for attempts in 4..=5 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(result(&registry, &id(77)).await.is_none());
        assert_eq!(asked.times("/schemas/ids/77").len(), attempts);
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(text(&registry, &id(77)).await, "x");
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(
        lines[0],
        r#"WARN tailwater_schema::catalog::registry::health: schema is missing registry="http://registry" error=registry has no such schema (status 404 Not Found, error code 40403) schema=id 77"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_costs_no_record() {
    let (registry, _) = confluent(|_, before| if before < 2 { no_schema() } else { schema("x") });
    assert_eq!(text(&registry, &id(9)).await, "x");
}

#[tokio::test(start_paused = true)]
async fn many_missing_schemas_do_not_hold_up_records_one_after_the_other() {
    let (registry, asked) = confluent(|_, _| no_schema());
    for number in 0..1000 {
        assert!(result(&registry, &id(number)).await.is_none());
    }
    assert!(asked.start.elapsed() < Duration::from_secs(60), "{:?}", asked.start.elapsed());
    // Some of them are no sign of it: a schema is asked for three times again.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(result(&registry, &id(5000)).await.is_none());
    assert_eq!(asked.times("/schemas/ids/5000").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_kind_of_registry_is_missing_without_a_request() {
    let (registry, asked) = confluent(|_, _| schema("x"));
    for id in [SchemaId::GlobalId(9), SchemaId::ContentId(9), SchemaId::Checksum(9)] {
        assert!(result(&registry, &SchemaRef::Id(id)).await.is_none(), "{id}");
    }
    assert!(result(&registry, &SchemaRef::subject("..", "latest")).await.is_none());
    assert!(asked.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_no_registry_can_have_is_missing() {
    let no_api = || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned());
    let (registry, _) = confluent(move |_, _| no_api());
    let limit = Duration::from_secs(60);
    let greatest = id(u32::MAX);
    assert!(timeout(limit, result(&registry, &greatest)).await.expect("a result").is_none());
    let (registry, _) = registry_of(Apicurio::new(), move |_, _| no_api());
    for id in [SchemaId::GlobalId(u64::MAX), SchemaId::ContentId(u64::MAX)] {
        let greatest = SchemaRef::Id(id);
        assert!(timeout(limit, result(&registry, &greatest)).await.expect("a result").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_guids_does_not_hold_up_records() {
    let no_api = || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned());
    let (registry, _) = confluent(move |path, before| match path {
        "/schemas/ids/9" if before >= 5 => schema("x"),
        _ => no_api(),
    });
    assert!(result(&registry, &SchemaRef::Id(SchemaId::Guid([7; 16]))).await.is_none());
    // Where the whole API is not there, the URL is wrong.
    let error = registry.fetch(&id(9)).await.expect_err("no API").to_string();
    assert!(error.ends_with("is its URL right?"), "{error}");
    assert_eq!(text(&registry, &id(9)).await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_karapace_without_guids_does_not_hold_up_records() {
    let guid = SchemaRef::Id(SchemaId::Guid([7; 16]));
    let limit = Duration::from_secs(600);
    for (body, is_karapace) in [
        (r#"{"detail":"Not Found"}"#, true),
        ("404: Not Found", true),
        (r#"{"detail":"Not Found"}"#, false),
        ("<html>", false),
    ] {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/types" if is_karapace => Json(200, r#"["JSON","AVRO"]"#.to_owned()),
            _ => Json(404, body.to_owned()),
        });
        // A proxy before a registry that is away is asked again.
        let found = timeout(limit, result(&registry, &guid)).await;
        assert_eq!(found.ok().map(|found| found.is_none()), is_karapace.then_some(true), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_schema_is_missing() {
    for body in ["{}", "[]", r#"{"schema":"x","schemaType":"XSD"}"#] {
        let (registry, asked) = confluent(move |_, _| Json(200, body.to_owned()));
        assert!(result(&registry, &id(9)).await.is_none(), "{body}");
        assert_eq!(asked.paths().len(), 3);
    }
    for status in [204, 300, 304] {
        let (registry, _) = confluent(move |_, _| Json(status, String::new()));
        assert!(result(&registry, &id(9)).await.is_none(), "{status}");
    }
}

/// What a proxy may answer in place of a registry that is away: it must cost no record, and as the answer of a registry
/// that is there it must not stop a partition.
fn answers_of_a_proxy() -> Vec<fn() -> Reply> {
    vec![
        || Reply::Page,
        || Json(200, "<html>".to_owned()),
        || Json(200, String::new()),
        || Json(404, "default backend - 404".to_owned()),
        || Json(400, "<html>".to_owned()),
        || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned()),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_proxy_costs_no_schema() {
    for reply in answers_of_a_proxy() {
        let (registry, asked) = confluent(move |path, before| match (path, before) {
            ("/schemas/ids/9", 10..) => schema("x"),
            _ => reply(),
        });
        assert_eq!(text(&registry, &id(9)).await, "x");
        assert_eq!(asked.times("/schemas/ids/9").len(), 11);
    }
    // The body of Apicurio's answer is the schema: a page must not be taken for one.
    let (registry, _) = registry_of(Apicurio::new(), |path, before| match path {
        path if path.ends_with("/ids/globalIds/9") && before >= 10 => Json(200, "x".to_owned()),
        path if path.ends_with("/references") => Json(200, "[]".to_owned()),
        _ => Reply::Page,
    });
    assert_eq!(text(&registry, &SchemaRef::Id(SchemaId::GlobalId(9))).await, "x");
}

#[tokio::test(start_paused = true)]
async fn an_odd_answer_of_a_registry_that_is_there_is_final() {
    let limit = Duration::from_secs(60);
    for reply in answers_of_a_proxy() {
        let (registry, asked) = confluent(move |path, _| match path {
            "/schemas/types" => Json(200, r#"["AVRO"]"#.to_owned()),
            _ => reply(),
        });
        let seven = id(7);
        let found = timeout(limit, result(&registry, &seven)).await;
        assert!(found.expect("a result").is_none());
        assert_eq!(asked.times("/schemas/ids/7").len(), 3);
        // What a registry has answered once tells that it is there, too.
        for answered in [no_schema, || schema("x")] {
            let (registry, _) = confluent(move |path, _| match path {
                "/schemas/ids/9" => answered(),
                _ => reply(),
            });
            assert!(timeout(limit, result(&registry, &seven)).await.is_err());
            let _ = result(&registry, &id(9)).await;
            let found = timeout(limit, result(&registry, &seven)).await;
            assert!(found.expect("a result").is_none());
        }
        let (registry, _) = registry_of(Apicurio::new(), move |path, _| match path {
            "/apis/registry/v2/system/info" => Json(200, r#"{"version":"2.6.13"}"#.to_owned()),
            _ => reply(),
        });
        let seven = SchemaRef::Id(SchemaId::GlobalId(7));
        let Reply::Page = reply() else { continue };
        let found = timeout(limit, result(&registry, &seven)).await;
        assert!(found.expect("a result").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reference_with_an_odd_answer_does_not_hold_up_records() {
    for reply in answers_of_a_proxy() {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/types" => Json(200, r#"["AVRO"]"#.to_owned()),
            "/schemas/ids/1" => referring("x", &["a/b".to_owned()]),
            _ => reply(),
        });
        let one = id(1);
        let found = timeout(Duration::from_secs(60), result(&registry, &one)).await;
        assert!(found.expect("a result").is_none());
        // The subject of a configuration is waited for.
        let subject = latest("t");
        assert!(timeout(Duration::from_secs(60), result(&registry, &subject)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn many_missing_schemas_make_few_lines() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, _) = confluent(|_, _| no_schema());
    let waiters = (0..100).map(|number| {
        let registry = registry.clone();
        tokio::spawn(async move { assert!(result(&registry, &id(number)).await.is_none()) })
    });
    for waiter in waiters.collect::<Vec<_>>() {
        waiter.await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(result(&registry, &id(100)).await.is_none());
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].ends_with("schema=id 100 others=99"), "{lines:#?}");
}
