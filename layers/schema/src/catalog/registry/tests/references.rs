//! Schemas that refer to others.

use super::*;

#[tokio::test(start_paused = true)]
async fn references_are_fetched_recursively_and_each_once() {
    let (registry, asked) = confluent(|path, _| match path {
        "/schemas/ids/1" => referring("one", &["a".to_owned(), "b".to_owned()]),
        "/subjects/a/versions/1" => Json(200, r#"{"id":2}"#.to_owned()),
        "/subjects/b/versions/1" => Json(200, r#"{"id":3}"#.to_owned()),
        "/subjects/c/versions/1?deleted=true" => Json(200, r#"{"id":4}"#.to_owned()),
        "/schemas/ids/2" | "/schemas/ids/3" => referring(path, &["c".to_owned()]),
        "/schemas/ids/4" => schema("four"),
        _ => no_schema(),
    });
    let one = result(&registry, &id(1)).await.unwrap();
    let [a, b] = one.references() else { panic!("two references") };
    assert_eq!((a.name(), a.schema().text()), ("a", "/schemas/ids/2"));
    assert_eq!((b.name(), b.schema().text()), ("b", "/schemas/ids/3"));
    let [from_a] = a.schema().references() else { panic!("one reference") };
    let [from_b] = b.schema().references() else { panic!("one reference") };
    assert_eq!(from_a.schema().text(), "four");
    assert!(Arc::ptr_eq(from_a.schema(), from_b.schema()));
    let mut paths = asked.paths();
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!((count, paths.len()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_begins_where_the_one_before_has_ended() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/1" => referring("one", &["a".to_owned(), "b".to_owned()]),
        "/subjects/a/versions/1" => Json(200, r#"{"id":2}"#.to_owned()),
        "/subjects/b/versions/1" if before < 3 => Reply::Broken,
        "/subjects/b/versions/1" => Json(200, r#"{"id":3}"#.to_owned()),
        _ => schema(path),
    });
    text(&registry, &id(1)).await;
    assert_eq!(asked.times("/schemas/ids/2").len(), 1);
    assert_eq!(asked.times("/subjects/a/versions/1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_refers_to_itself_is_missing() {
    for around in [1, 3] {
        let (registry, _) = confluent(move |path, _| {
            let number: u32 = path.split('/').filter_map(|part| part.parse().ok()).next().unwrap();
            match path.starts_with("/schemas") {
                true => Json(
                    200,
                    serde_json::json!({ "schema": "x", "references": [
                        { "name": "next", "subject": "s", "version": (number + 1) % around },
                    ]})
                    .to_string(),
                ),
                false => Json(200, format!(r#"{{"id":{number}}}"#)),
            }
        });
        assert!(result(&registry, &id(0)).await.is_none(), "{around}");
        let error = registry.fetch(&id(0)).await.expect_err("a cycle");
        let cause = successors_of(&error).last().unwrap().to_string();
        assert_eq!(cause, "schema with id 0 refers to itself");
    }
}

fn successors_of(error: &FetchError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}

/// Schemas whose ids are numbers, and which refer to those that `next` says.
fn numbered(
    next: impl Fn(u32) -> std::ops::RangeInclusive<u32> + Send + Sync + 'static,
) -> impl Fn(&str, usize) -> Reply + Send + Sync + 'static {
    move |path, _| {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["", "schemas", "ids", number] => {
                let names = next(number.parse().unwrap()).map(|number| number.to_string());
                referring("x", &names.collect::<Vec<_>>())
            }
            ["", "subjects", number, "versions", "1"] => Json(200, format!(r#"{{"id":{number}}}"#)),
            _ => panic!("{path}"),
        }
    }
}

fn chain_of(last: u32) -> impl Fn(&str, usize) -> Reply + Send + Sync + 'static {
    numbered(move |number| number + 1..=(number + 1).min(last))
}

#[tokio::test(start_paused = true)]
async fn references_have_a_greatest_depth() {
    let depth = u32::try_from(MAX_DEPTH).unwrap();
    let (registry, _) = confluent(chain_of(depth));
    assert!(result(&registry, &id(0)).await.is_some());
    let (registry, _) = confluent(chain_of(depth + 1));
    assert_eq!(cause(&registry, &id(0)).await, FetchError::TooDeep.to_string());
    // What is in the cache counts, too.
    let (registry, _) = confluent(chain_of(depth + 1));
    assert!(result(&registry, &id(1)).await.is_some());
    assert_eq!(cause(&registry, &id(0)).await, FetchError::TooDeep.to_string());
    assert!(result(&registry, &id(0)).await.is_none());
}

async fn cause(registry: &Registry, schema: &SchemaRef) -> String {
    let error = registry.fetch(schema).await.expect_err("a limit");
    successors_of(&error).last().unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn references_have_a_greatest_number() {
    let most = u32::try_from(MAX_REFERENCES).unwrap();
    // There are more paths from the first to the last than any machine could follow.
    let (registry, asked) = confluent(numbered(|number| number + 1..=50));
    assert!(result(&registry, &id(0)).await.is_some());
    assert_eq!(asked.paths().len(), 1 + 2 * 50);
    // In one list, and in a tree.
    for width in [2 * most, 10] {
        for (last, fits) in [(most, true), (most + 1, false)] {
            let (registry, _) = confluent(numbered(move |number| {
                width * number + 1..=(width * (number + 1)).min(last)
            }));
            match fits {
                true => assert!(registry.fetch(&id(0)).await.is_ok(), "{width} {last}"),
                false => {
                    let found = cause(&registry, &id(0)).await;
                    assert_eq!(found, FetchError::TooManyReferences.to_string(), "{width} {last}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_url_can_hold_is_missing() {
    for length in [60_000, 70_000, 1 << 20] {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/ids/0" => referring("x", &["n".repeat(length)]),
            path if path.starts_with("/subjects") => Json(200, r#"{"id":1}"#.to_owned()),
            _ => schema("x"),
        });
        let found = registry.fetch(&id(0)).await;
        assert_eq!(found.is_ok(), length == 60_000, "{length}");
        let Err(error) = found else { continue };
        assert!(!error.is_transient());
        assert!(format!("{error:?}").len() < 1000, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_schema_and_its_references_have_a_greatest_size() {
    // Four texts of a quarter fit, with a bit of room for names. A fifth does not.
    let quarter = "x".repeat(MAX_SCHEMA_BYTES / 4 - 100);
    for (count, fits) in [(3_u32, true), (4, false)] {
        let quarter = quarter.clone();
        let (registry, _) = confluent(move |path, _| {
            let end = path.rsplit('/').nth(2).unwrap();
            match path {
                "/schemas/ids/0" => {
                    let names = (1..=count).map(|number| number.to_string());
                    referring(&quarter, &names.collect::<Vec<_>>())
                }
                path if path.starts_with("/schemas") => schema(&quarter),
                _ => Json(200, format!(r#"{{"id":{end}}}"#)),
            }
        });
        match fits {
            true => assert!(registry.fetch(&id(0)).await.is_ok()),
            false => {
                assert_eq!(cause(&registry, &id(0)).await, FetchError::TooMuchText.to_string());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn apicurio_has_references_at_a_place_of_their_own() {
    let (registry, asked) = registry_of(Apicurio::new().group("g"), |path, _| {
        let body = match path.strip_prefix("/apis/registry/v2").expect("the base of the API") {
            "/groups/g/artifacts/t/meta" => r#"{"type":"AVRO","globalId":7,"version":"3"}"#,
            "/ids/globalIds/7" => "seven",
            "/ids/globalIds/7/references" => {
                r#"[{"artifactId":"a b","groupId":"h","version":"1","name":"x.A"}]"#
            }
            "/groups/h/artifacts/a%20b/versions/1/meta" => r#"{"globalId":8}"#,
            "/ids/globalIds/8" => "eight",
            _ => return Json(404, r#"{"error_code":404}"#.to_owned()),
        };
        Json(200, body.to_owned())
    });
    let found = registry.fetch(&latest("t")).await.unwrap();
    assert_eq!(found.version.as_deref(), Some("3"));
    assert_eq!((found.schema.id(), found.schema.text()), (SchemaId::GlobalId(7), "seven"));
    let [a] = found.schema.references() else { panic!("one reference") };
    assert_eq!((a.name(), a.schema().text()), ("x.A", "eight"));
    // A registry without references: nothing is lost.
    assert!(a.schema().references().is_empty());
    let count = asked.paths().len();
    assert_eq!(text(&registry, &SchemaRef::Id(SchemaId::GlobalId(7))).await, "seven");
    assert_eq!(asked.paths().len(), count);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever refers to whatever: a schema is known with exactly what it refers to, each of which is asked for once,
    /// or refers to itself.
    #[test]
    fn any_graph_of_references_is_resolved_or_refused(
        edges in prop::collection::vec(prop::collection::vec(0..10_u32, 0..4), 10),
    ) {
        fn has_cycle(edges: &[Vec<u32>], node: u32, path: &mut Vec<u32>) -> bool {
            if path.contains(&node) {
                return true;
            }
            path.push(node);
            let found = edges[node as usize].iter().any(|next| has_cycle(edges, *next, path));
            path.pop();
            found
        }
        fn matches(schema: &SchemaText, edges: &[Vec<u32>], node: u32) -> bool {
            let next = &edges[node as usize];
            schema.id() == SchemaId::Confluent(node)
                && schema.references().len() == next.len()
                && schema.references().iter().zip(next).all(|(reference, next)| {
                    reference.name() == next.to_string() && matches(reference.schema(), edges, *next)
                })
        }
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let served = edges.clone();
            let (registry, asked) = confluent(move |path, _| {
                let parts: Vec<&str> = path.split('/').collect();
                match parts[..] {
                    ["", "schemas", "ids", number] => {
                        let next = &served[number.parse::<usize>().unwrap()];
                        referring("x", &next.iter().map(u32::to_string).collect::<Vec<_>>())
                    }
                    _ => Json(200, format!(r#"{{"id":{}}}"#, parts[2])),
                }
            });
            match registry.fetch(&id(0)).await {
                Ok(found) => assert!(matches(&found.schema, &edges, 0)),
                Err(error) => {
                    let cause = successors_of(&error).last().unwrap().to_string();
                    assert!(cause.ends_with("refers to itself"), "{cause}");
                    assert!(has_cycle(&edges, 0, &mut Vec::new()));
                }
            }
            let mut paths = asked.paths();
            let count = paths.len();
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), count);
        });
    }
}
