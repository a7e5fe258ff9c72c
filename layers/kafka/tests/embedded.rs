//! A cluster in front of the mock broker.
#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tailwater_kafka::embedded::{EmbeddedKafka, Message};
use tailwater_kafka::{
    Changes, Cluster, ClusterOptions, Conversion, Filter, Query, RecordRef, Stream,
};
use tailwater_sse::Events as _;
use tokio::sync::watch;
use tower::ServiceExt as _;

fn cluster(kafka: &EmbeddedKafka) -> Cluster {
    Cluster::new(ClusterOptions::new([kafka.servers()]).property("fetch.wait.max.ms", "10"))
        .unwrap()
}

async fn open(cluster: &Cluster, query: Query) -> Pin<Box<Stream>> {
    Box::pin(cluster.clone().oneshot(query).await.unwrap())
}

async fn next(stream: &mut Pin<Box<Stream>>, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        let events = poll_fn(|cx| stream.as_mut().poll_events(cx, 64 * 1024));
        let events = tokio::time::timeout(Duration::from_secs(20), events).await;
        let events = events.unwrap_or_else(|_| panic!("nothing after {text:?}")).unwrap().unwrap();
        text += std::str::from_utf8(&events.into_bytes()).unwrap();
    }
    text
}

/// In history and in the live log librdkafka leaves the partition, and reads it again from the same record.
#[tokio::test]
async fn records_that_can_not_be_converted_yet_wait_and_lose_nothing() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("orders", 1).unwrap();
    let produce = |value: &str| {
        kafka.produce(&Message::new("orders").value(value.as_bytes())).unwrap();
    };
    produce("1");
    produce("2");
    let registry = watch::Sender::new(false);
    let of_converter = registry.clone();
    let convert = move |record: &RecordRef<'_>, changes: &mut Changes| {
        if !*of_converter.borrow() {
            let mut registry = of_converter.subscribe();
            return Conversion::NotYet(Box::pin(async move {
                let _ = registry.wait_for(|is_back| *is_back).await;
            }));
        }
        changes.value_mut().extend_from_slice(record.value().unwrap_or_default());
        changes.value_mut().push(b'!');
        Conversion::Accepted
    };
    let options = ClusterOptions::new([kafka.servers()]).property("fetch.wait.max.ms", "10");
    let cluster = Cluster::new(options.converter("orders", convert)).unwrap();
    let mut stream = open(&cluster, Query::new("orders")).await;
    for expected in ["data:1!\nid:AQIAAg==\n\ndata:2!\nid:AQIABA==\n\n", "data:3!\nid:AQIABg==\n\n"]
    {
        let events = poll_fn(|cx| stream.as_mut().poll_events(cx, 64 * 1024));
        let events = tokio::time::timeout(Duration::from_millis(500), events).await;
        assert!(events.is_err(), "{events:?}");
        registry.send_replace(true);
        assert_eq!(next(&mut stream, expected.len()).await, expected);
        registry.send_replace(false);
        produce("3");
    }
}

#[tokio::test]
async fn history_and_live_records_come_with_ids_that_resume() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("orders", 1).unwrap();
    kafka.produce(&Message::new("orders").key(b"a").value(b"1")).unwrap();
    kafka.produce(&Message::new("orders").key(b"b").value(b"2")).unwrap();
    let cluster = cluster(&kafka);

    let mut stream = open(&cluster, Query::new("orders")).await;
    let first = "data:1\nid:AQIAAg==\n\ndata:2\nid:AQIABA==\n\n";
    assert_eq!(next(&mut stream, first.len()).await, first);

    kafka.produce(&Message::new("orders").key(b"a")).unwrap();
    let deleted = "event:delete\ndata:YQ==\nid:AQIABg==\n\n";
    assert_eq!(next(&mut stream, deleted.len()).await, deleted);

    let mut resumed =
        open(&cluster, Query::new("orders").last_event_id(Some("AQIAAg==".into()))).await;
    let rest = "data:2\nid:AQIABA==\n\nevent:delete\ndata:YQ==\nid:AQIABg==\n\n";
    assert_eq!(next(&mut resumed, rest.len()).await, rest);

    let mut filtered = open(&cluster, Query::new("orders").filter(Filter::any().key("b"))).await;
    let only = "data:2\nid:AQIABA==\n\n";
    assert_eq!(next(&mut filtered, only.len()).await, only);
}

#[tokio::test]
async fn a_topic_that_is_missing_says_so_and_starts_when_it_appears() {
    let kafka = EmbeddedKafka::start().unwrap();
    let cluster = cluster(&kafka);
    let mut stream = open(&cluster, Query::new("later")).await;
    assert_eq!(next(&mut stream, 1).await, ":topic later does not exist yet or is not permitted\n");
    kafka.create_topic("later", 1).unwrap();
    kafka.produce(&Message::new("later").value(b"1")).unwrap();
    let event = "data:1\nid:AQIAAg==\n\n";
    assert_eq!(next(&mut stream, event.len()).await, event);
}

#[tokio::test]
async fn a_broker_that_is_away_and_back_loses_nothing() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("orders", 1).unwrap();
    let cluster = cluster(&kafka);
    let mut stream = open(&cluster, Query::new("orders")).await;
    kafka.produce(&Message::new("orders").value(b"1")).unwrap();
    assert_eq!(next(&mut stream, 1).await, "data:1\nid:AQIAAg==\n\n");
    kafka.set_reachable(false).unwrap();
    kafka.set_reachable(true).unwrap();
    kafka.produce(&Message::new("orders").value(b"2")).unwrap();
    assert_eq!(next(&mut stream, 1).await, "data:2\nid:AQIABA==\n\n");
}

#[tokio::test]
async fn a_position_past_the_end_is_a_gap() {
    let kafka = EmbeddedKafka::start().unwrap();
    kafka.create_topic("orders", 1).unwrap();
    kafka.produce(&Message::new("orders").value(b"1")).unwrap();
    let cluster = cluster(&kafka);
    let mut stream =
        open(&cluster, Query::new("orders").last_event_id(Some("AQIAxgE=".into()))).await;
    let expected = "event:gap\ndata:{\"from\":99,\"partition\":0,\"reason\":\"truncation\",\"to\":0}\nid:AQIAAA==\n\n\
                    data:1\nid:AQIAAg==\n\n";
    assert_eq!(next(&mut stream, expected.len()).await, expected);
}
