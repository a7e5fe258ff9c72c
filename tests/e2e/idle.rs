//! What an idle stream is told, in a server composed of the layers with a short pause.

use std::net::SocketAddr;
use std::time::Duration;

use tailwater_http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, serve};
use tailwater_kafka::{
    Cluster, ClusterOptions, FilterTemplate, KafkaSourceLayer, Mapping, Template,
};
use tailwater_sse::SseLayer;
use tower::Layer as _;

use crate::support::{Get, Kafka, Record, Version, field, id, kafka};

/// Serves the records of a topic that have the key `mine`, and writes soon when idle.
fn serve_mine(kafka: &Kafka, topic: &str) -> SocketAddr {
    let cluster = Cluster::new(ClusterOptions::new([kafka.servers()])).expect("a cluster");
    let mine = FilterTemplate::any().key(Template::literal("mine"));
    let mapping = Mapping::new(Template::literal(topic)).filter(mine);
    let source = KafkaSourceLayer::new(mapping).layer(cluster);
    let service = SseLayer::new().keep_alive(Duration::from_millis(50)).layer(source);
    let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).expect("a listener");
    let address = listener.local_address().expect("an address");
    let service = HttpLayer::new().layer(service);
    tokio::spawn(serve([listener], service, ServeOptions::new(), Shutdown::new()));
    address
}

#[tokio::test]
async fn a_stream_that_nothing_matches_is_told_its_place_and_resumes_there() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let address = serve_mine(&kafka, &topic);
    for version in Version::BOTH {
        let mut stream = Get::new(address, "/").over(version).open().await;
        let mut at = String::new();
        let mut last = 0;
        for _ in 0..50 {
            (_, last) = kafka.produce(&topic, Record::value("x").key("other"));
        }
        let end = id(&[(0, last + 1)]);
        while at != end {
            let block = stream.next().await;
            at = field(&block, "id").expect("an id").to_owned();
            if field(&block, "data").is_none() {
                assert_eq!(block, format!("id:{at}\n"), "{version:?}");
            }
        }
        stream.cut();
        kafka.produce(&topic, Record::value("while away").key("mine"));
        let get = Get::new(address, "/").over(version).last_event_id(&at);
        assert!(get.open().await.next().await.starts_with("data:while away\n"), "{version:?}");
    }
}

#[tokio::test]
async fn an_idle_stream_that_stands_still_is_sent_comments() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let address = serve_mine(&kafka, &topic);
    kafka.produce(&topic, Record::value("a").key("mine"));
    let mut stream = Get::new(address, "/").open().await;
    assert_eq!(stream.next().await, "data:a\nid:AQIAAg==\n");
    for _ in 0..5 {
        assert_eq!(stream.comment().await, "");
    }
    assert_eq!(stream.seen(), 0, "no block tells again what an event has told");
}
