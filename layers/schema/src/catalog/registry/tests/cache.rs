//! The cache, its limits, and schemas that are compiled.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cache_has_a_greatest_number_of_schemas() {
    let (registry, _) = confluent(|_, _| schema("x"));
    let most = u32::try_from(Registry::MAX_CACHED_SCHEMAS).unwrap();
    for number in 0..most + 10 {
        text(&registry, &id(number)).await;
    }
    assert_eq!(registry.status().schemas, Registry::MAX_CACHED_SCHEMAS);
    // The one that was used least recently went.
    assert!(matches!(look_up(&registry, &id(0)), Lookup::Pending(_)));
    assert!(matches!(look_up(&registry, &id(most)), Lookup::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn a_cache_has_a_greatest_size() {
    let large = "x".repeat(MAX_SCHEMA_BYTES / 2);
    let (registry, _) = registry_of(Apicurio::new(), move |path, _| match path {
        path if path.ends_with("/references") => Json(200, "[]".to_owned()),
        _ => Json(200, large.clone()),
    });
    for number in 0..20 {
        text(&registry, &SchemaRef::Id(SchemaId::GlobalId(number))).await;
        assert!(registry.status().bytes <= Registry::MAX_CACHED_BYTES);
    }
    assert_eq!(registry.status().schemas, 15);
}

/// The forms that values are read with take more than the texts.
#[test]
fn a_cache_counts_what_is_compiled() {
    let mut cache = Cache::new(Duration::from_secs(1));
    let objects = format!(r#"{{"default":[{}{{}}]}}"#, "{},".repeat(50_000));
    let text = |number| SchemaText::new(SchemaId::Confluent(number), objects.clone());
    let schemas: Vec<_> = (0..4).map(|number| Arc::new(text(number))).collect();
    for schema in &schemas {
        assert!(cache.put_schema(Arc::clone(schema)).1.is_empty());
    }
    assert!(cache.bytes() < 1 << 20);
    // The last one has left when it is compiled.
    for (schema, (left, gone)) in schemas.iter().zip([(4, 0), (4, 0), (2, 2), (2, 0)]) {
        schema.compile(SchemaKind::Json).unwrap();
        cache.schema(schema.id());
        let evicted = cache.weigh(schema);
        assert_eq!((cache.len(), evicted.len()), (left, gone));
        assert!(cache.bytes() <= Registry::MAX_CACHED_BYTES);
    }
    // One that has left, and has come again, is another.
    let again = Arc::new(text(0));
    cache.put_schema(Arc::clone(&again));
    let before = cache.bytes();
    assert!(cache.weigh(&schemas[0]).is_empty());
    assert_eq!(cache.bytes(), before);
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_compiled_anew_counts_for_more() {
    let (registry, _) = registry_of(Apicurio::new(), |path, _| match path.rsplit('/').next() {
        Some("references") => Json(200, "[]".to_owned()),
        _ => Json(200, format!(r#"{{"type":"null","enum":[{}null]}}"#, "null,".repeat(5000))),
    });
    let global = SchemaRef::Id(SchemaId::GlobalId(1));
    let mut bytes = Vec::new();
    for kind in [SchemaKind::Avro, SchemaKind::Json] {
        while let Lookup::Pending(waiter) = registry.look_up(&global, kind) {
            waiter.await;
        }
        bytes.push(registry.status().bytes);
    }
    assert!(bytes[1] > bytes[0] + 5000 * 100, "{bytes:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_has_a_greatest_number_and_the_rest_waits_for_room() {
    let (registry, _) =
        confluent(|_, before| if before == 0 { Reply::Broken } else { schema("x") });
    let most = u32::try_from(MAX_RUNNING).unwrap();
    let waiters: Vec<_> = (0..most).map(|number| look_up(&registry, &id(number))).collect();
    assert_eq!(registry.status().pending, MAX_RUNNING);
    let Lookup::Pending(waiter) = look_up(&registry, &id(most)) else { panic!("unknown") };
    assert_eq!(registry.status().pending, MAX_RUNNING);
    waiter.await;
    assert_eq!(text(&registry, &id(most)).await, "x");
    drop(waiters);
}

/// A schema that takes its time to compile.
fn large_record() -> String {
    let fields = (0..5000).map(|at| format!(r#"{{"name":"f{at}","type":"int"}}"#));
    let fields = fields.collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

/// The thread of the records looks schemas up, and must not compile one: whatever the registry says of its kind, and
/// however it came into the cache.
#[tokio::test(start_paused = true)]
async fn a_schema_is_known_when_it_is_compiled() {
    let (registry, asked) = registry_of(Apicurio::new(), |path, _| {
        let body = match path.strip_prefix("/apis/registry/v2").expect("the base of the API") {
            "/ids/globalIds/1" | "/ids/globalIds/2" => large_record(),
            "/ids/globalIds/1/references" => {
                r#"[{"artifactId":"a","version":"1","name":"R"}]"#.to_owned()
            }
            "/groups/default/artifacts/a/versions/1/meta" => r#"{"globalId":2}"#.to_owned(),
            "/groups/default/artifacts/t/meta" => r#"{"globalId":2}"#.to_owned(),
            _ => "[]".to_owned(),
        };
        Json(200, body)
    });
    let global = |id| SchemaRef::Id(SchemaId::GlobalId(id));
    let schemas = [
        (global(1), SchemaKind::Avro),
        // It has come as a reference.
        (global(2), SchemaKind::Avro),
        (global(2), SchemaKind::Json),
        (latest("t"), SchemaKind::Protobuf),
        (global(1), SchemaKind::Json),
    ];
    for (schema, kind) in schemas {
        let Lookup::Pending(mut waiter) = registry.look_up(&schema, kind) else {
            panic!("{schema} {kind}")
        };
        let found = loop {
            waiter.await;
            match registry.look_up(&schema, kind) {
                Lookup::Known(found) => break found,
                Lookup::Pending(next) => waiter = next,
                Lookup::Missing => panic!("{schema} {kind}"),
            }
        };
        assert!(found.is_ready(kind), "{schema} {kind}");
        assert!(matches!(registry.look_up(&schema, kind), Lookup::Known(_)));
    }
    assert_eq!(asked.times("/apis/registry/v2/ids/globalIds/2").len(), 1);
    assert_eq!(registry.status().pending, 0);
    // A model of another kind than the registry says rejects the values: there is nothing to compile.
    let (registry, _) = confluent(|_, _| schema("\"string\""));
    text(&registry, &id(9)).await;
    assert!(matches!(registry.look_up(&id(9), SchemaKind::Json), Lookup::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn to_compile_a_schema_says_nothing_of_the_registry() {
    let (registry, _) = registry_of(Apicurio::new(), |path, _| match path.rsplit('/').next() {
        Some("1") => Json(200, "\"string\"".to_owned()),
        Some("references") => Json(200, "[]".to_owned()),
        _ => Reply::Broken,
    });
    let global = |id| SchemaRef::Id(SchemaId::GlobalId(id));
    text(&registry, &global(1)).await;
    drop(look_up(&registry, &global(2)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(registry.status().error.is_some());
    let Lookup::Pending(waiter) = registry.look_up(&global(1), SchemaKind::Json) else {
        panic!("not compiled")
    };
    waiter.await;
    assert!(matches!(registry.look_up(&global(1), SchemaKind::Json), Lookup::Known(_)));
    assert!(registry.status().error.is_some());
}

/// The schema that leaves the cache last must not be dropped by the thread that holds the lock.
#[test]
fn what_leaves_the_cache_is_given_back() {
    let mut cache = Cache::new(Duration::from_secs(1));
    let large: Arc<str> = "x".repeat(MAX_SCHEMA_BYTES).into();
    let text = |number| Arc::new(SchemaText::new(SchemaId::Confluent(number), Arc::clone(&large)));
    let mut evicted = Vec::new();
    for number in 0..20 {
        evicted.extend(cache.put_schema(text(number)).1);
    }
    assert_eq!(cache.len() + evicted.len(), 20);
    assert!(!evicted.is_empty() && evicted.iter().all(|schema| Arc::strong_count(schema) == 1));
    // One that is there stays, compiled as it is.
    let (kept, left) = cache.put_schema(text(19));
    assert_eq!((Arc::strong_count(&kept), left.len()), (2, 1));
}

/// A schema that is compiled for long must not hold up others, of whatever registry.
#[tokio::test]
async fn a_schema_that_takes_long_holds_up_no_other() {
    let (registry, _) = confluent(|_, _| schema("\"string\""));
    // Stands for one that is being compiled.
    let _long = registry.shared.compiling.acquire().await.unwrap();
    timeout(Duration::from_secs(60), text(&registry, &id(1))).await.expect("compiled meanwhile");
}

/// What waits to be compiled has its text in memory.
#[tokio::test]
async fn no_more_schemas_are_fetched_than_can_be_compiled() {
    let (registry, asked) = confluent(|_, _| schema("\"string\""));
    // No schema is compiled until these are dropped.
    let compiling = Arc::clone(&registry.shared.compiling);
    let all = compiling.acquire_many(2).await.unwrap();
    let waiters: Vec<_> = (0..20).map(|number| look_up(&registry, &id(number))).collect();
    while asked.paths().len() < MAX_FETCHES {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.paths().len(), MAX_FETCHES);
    drop(all);
    for number in 0..20 {
        text(&registry, &id(number)).await;
    }
    drop(waiters);
}
