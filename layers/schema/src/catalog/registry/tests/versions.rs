//! Versions of subjects, and schemas by their ids.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_schema_by_its_id_is_asked_for_once() {
    let (registry, asked) = confluent(|_, _| schema("\"string\""));
    assert!(matches!(look_up(&registry, &id(9)), Lookup::Pending(_)));
    let nine = id(9);
    let (a, b) = tokio::join!(result(&registry, &nine), result(&registry, &nine));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert!(matches!(look_up(&registry, &id(9)), Lookup::Known(_)));
    assert_eq!(asked.paths(), ["/schemas/ids/9"]);
}

#[tokio::test(start_paused = true)]
async fn the_latest_version_is_asked_for_again_after_max_age() {
    let (registry, asked) = confluent(|path, before| match path {
        "/subjects/t/versions/latest" => Json(200, format!(r#"{{"id":{}}}"#, 9 + before)),
        "/subjects/t/versions/1" => Json(200, r#"{"id":9}"#.to_owned()),
        path => schema(path),
    });
    let first = SchemaRef::subject("t", "1");
    for (pause, latest_id) in [(0, 9), (299, 9), (2, 10), (298, 10), (1000, 11)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let expected = format!("/schemas/ids/{latest_id}");
        assert_eq!(text(&registry, &latest("t")).await, expected, "after {pause} s more");
        assert_eq!(text(&registry, &first).await, "/schemas/ids/9");
    }
    // A version that has a number is asked for once.
    assert_eq!(asked.times("/subjects/t/versions/1").len(), 1);
    assert_eq!(asked.times("/subjects/t/versions/latest").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_max_age_makes_look_ups_wait_for_ever() {
    for (age, requests) in [(Duration::ZERO, 10), (Duration::MAX, 1)] {
        let script = |path: &str, _| match path {
            "/subjects/t/versions/latest" => Json(200, r#"{"id":9}"#.to_owned()),
            _ => schema("x"),
        };
        let (registry, asked) =
            registry_with(Confluent::new(), |options| options.max_age(age), script);
        for _ in 0..10 {
            assert_eq!(text(&registry, &latest("t")).await, "x");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(asked.times("/subjects/t/versions/latest").len(), requests, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_version_stays_in_use_while_the_registry_is_away() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) = confluent(|path, before| match (path, before) {
        ("/schemas/ids/9" | "/schemas/ids/10", _) => schema(path),
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/subjects/t/versions/latest", 1..=5) => Reply::Broken,
        _ => Json(200, r#"{"id":10}"#.to_owned()),
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    // The first that finds it old waits for one request. After that nothing waits.
    assert!(matches!(look_up(&registry, &latest("t")), Lookup::Pending(_)));
    assert_eq!(text(&registry, &latest("t")).await, "/schemas/ids/9");
    while asked.times("/subjects/t/versions/latest").len() < 7 {
        assert!(matches!(look_up(&registry, &latest("t")), Lookup::Known(_)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(text(&registry, &latest("t")).await, "/schemas/ids/10");
    let times = asked.times("/subjects/t/versions/latest");
    let pauses: Vec<f32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, most) in pauses.iter().zip([300.0_f32, 1.0, 2.0, 4.0, 8.0, 16.0]) {
        assert!((most * 0.499..most + 0.1).contains(pause), "{pauses:?}");
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_registry_does_not_have_any_more_stays_in_use() {
    let (registry, _) = confluent(|path, before| match (path, before) {
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/subjects/t/versions/latest", _) => no_schema(),
        _ => schema("x"),
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(text(&registry, &latest("t")).await, "x");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_used_at_once_while_the_registry_is_known_to_be_away() {
    let (registry, _) = confluent(|path, before| match (path, before) {
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/schemas/ids/9", _) => schema("x"),
        _ => Reply::Never,
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(294)).await;
    let Lookup::Pending(_waiter) = look_up(&registry, &id(1)) else { panic!("unknown") };
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(matches!(look_up(&registry, &latest("t")), Lookup::Known(_)));
}
