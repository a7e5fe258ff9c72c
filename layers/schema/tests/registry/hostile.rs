//! Registries that are slow, broken, away, or answer too much.

use std::time::Duration;

use tailwater_schema::MAX_SCHEMA_BYTES;
use tailwater_schema::catalog::registry::{Apicurio, Confluent, Registry};
use tailwater_schema::catalog::{SchemaId, SchemaRef};
use tokio::time::Instant;

use crate::stub::{Answer, Stub};
use crate::{confluent, id, options, result, text};

#[tokio::test]
async fn an_answer_is_cut_off_at_the_limit() {
    let stub = Stub::start(|target, _| match target.rsplit('/').next().unwrap() {
        "1" => Answer::Reply(200, "", vec![b'x'; MAX_SCHEMA_BYTES]),
        "2" => Answer::Reply(200, "", vec![b'x'; MAX_SCHEMA_BYTES + 1]),
        "3" => Answer::Endless,
        _ => Answer::json("[]"),
    })
    .await;
    let registry = Registry::new(options(&stub.url(), Apicurio::new())).unwrap();
    let global = |id| SchemaRef::Id(SchemaId::GlobalId(id));
    assert_eq!(text(&registry, &global(1)).await.len(), MAX_SCHEMA_BYTES);
    for id in [2, 3] {
        let error = registry.fetch(&global(id)).await.unwrap_err();
        assert_eq!(error.to_string(), "answer has more than 16777216 bytes", "{id}");
        assert!(result(&registry, &global(id)).await.is_none(), "{id}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_an_outage() {
    let stub = Stub::start(|target, before| match (target, before) {
        ("/schemas/ids/1", 0 | 1) => Answer::Close,
        ("/schemas/ids/2", 0) => Answer::Short,
        ("/schemas/ids/3", 0 | 1) => Answer::Garbage,
        _ => Answer::schema("x"),
    })
    .await;
    for number in 1..=3 {
        let registry = confluent(&stub.url());
        let error = registry.fetch(&id(number)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(text(&registry, &id(number)).await, "x");
    }
}

#[tokio::test]
async fn a_connection_that_the_registry_closes_is_replaced_at_once() {
    let stub = Stub::start(|_, before| match before {
        0 => Answer::Close,
        _ => Answer::schema("x"),
    })
    .await;
    let registry = confluent(&stub.url());
    for number in 0..5 {
        assert!(registry.fetch(&id(number)).await.is_ok(), "{number}");
    }
}

#[tokio::test]
async fn a_slow_registry_has_five_seconds() {
    let stub = Stub::start(|target, before| match (target, before) {
        ("/schemas/ids/1", _) => {
            Answer::Slow(Duration::from_secs(4), br#"{"schema":"x"}"#.to_vec())
        }
        ("/schemas/ids/2", 0) => Answer::Silence,
        ("/schemas/ids/3", 0) => Answer::Stall,
        _ => Answer::schema("x"),
    })
    .await;
    let registry = confluent(&stub.url());
    let timed = async |number: u32| {
        let start = Instant::now();
        let found = registry.fetch(&id(number)).await;
        (found.map(|found| found.schema.text().to_owned()), start.elapsed().as_secs_f32())
    };
    let ((slow, four), (silent, five), (stalled, also_five), (quick, none)) =
        tokio::join!(timed(1), timed(2), timed(3), timed(4));
    assert!(slow.is_ok() && (3.9..4.9).contains(&four), "{slow:?} {four}");
    for (error, seconds) in [(silent, five), (stalled, also_five)] {
        assert_eq!(error.unwrap_err().to_string(), "no answer within 5 s");
        assert!((4.9..6.0).contains(&seconds), "{seconds}");
    }
    assert!(quick.is_ok() && none < 1.0, "{quick:?} {none}");
}

#[tokio::test]
async fn what_was_asked_while_a_registry_was_away_comes_when_it_is_back() {
    let serve = |target: &str, _| Answer::schema(target);
    let stub = Stub::start(serve).await;
    let address = stub.address;
    let registry = confluent(&stub.url());
    text(&registry, &id(0)).await;
    drop(stub);
    let waiting = (1..=50).map(|number| {
        let registry = registry.clone();
        tokio::spawn(async move { text(&registry, &id(number)).await })
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    assert!(registry.status().outage.is_some());
    // What is known stays.
    assert_eq!(text(&registry, &id(0)).await, "/schemas/ids/0");
    let stub = Stub::at(address, None, serve).await;
    for (number, task) in waiting.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("/schemas/ids/{}", number + 1));
    }
    assert!(registry.status().outage.is_none());
    assert!(stub.targets().len() <= 100, "{}", stub.targets().len());
}

#[tokio::test]
async fn a_registry_that_ends_again_and_again_under_load_loses_nothing() {
    let serve = |target: &str, before| match before % 3 {
        0 => Answer::Reply(503, "", Vec::new()),
        1 => Answer::Close,
        _ => Answer::schema(target),
    };
    let stub = Stub::start(serve).await;
    let address = stub.address;
    let registry = confluent(&stub.url());
    let waiting = (0..200).map(|number| {
        let registry = registry.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10 * u64::from(number))).await;
            assert_eq!(text(&registry, &id(number)).await, format!("/schemas/ids/{number}"));
        })
    });
    let waiting: Vec<_> = waiting.collect();
    let mut stub = Some(stub);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        drop(stub.take());
        tokio::time::sleep(Duration::from_millis(100)).await;
        stub = Some(Stub::at(address, None, serve).await);
    }
    for task in waiting {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_host_without_a_name_is_an_outage() {
    let registry =
        Registry::new(options("http://registry.invalid:8081", Confluent::new())).unwrap();
    let error = registry.fetch(&id(9)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
