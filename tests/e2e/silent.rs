//! Connections to Kafka that die without a word, as behind a firewall, on a real Kafka only.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::{Kafka, Proxy, Record, Server, Stream, real_kafka, server_of};

/// Within this time everything goes on.
const AT_MOST: Duration = Duration::from_secs(15);

/// The same after new connections were silent, too: those that were made last are given up first.
const AT_MOST_AFTER: Duration = Duration::from_secs(30);

struct Topics {
    past: String,
    /// Nobody has asked for it.
    unread: String,
    live: String,
}

/// A server whose connections to Kafka are all in use, and a stream that is live.
async fn start(kafka: &Kafka, proxy: &Proxy) -> (Server, Topics, Stream) {
    let [past, unread, live] = [kafka.topic(1).await, kafka.topic(1).await, kafka.topic(1).await];
    for topic in [&past, &unread] {
        kafka.produce(topic, Record::value("past"));
    }
    let server = server_of(proxy.address()).live(&live).run().await;
    let mut stream = server.get(&format!("/all/{live}")).open().await;
    stream.next().await;
    kafka.produce(&live, Record::value("before"));
    assert!(stream.next().await.starts_with("data:before\n"));
    let mut other = server.get(&format!("/all/{past}")).open().await;
    assert!(other.next().await.starts_with("data:past\n"));
    (server, Topics { past, unread, live }, stream)
}

/// The live stream goes on, and whoever comes now is served.
async fn is_served(
    kafka: &Kafka,
    server: &Server,
    topics: &Topics,
    live: &mut Stream,
    at_most: Duration,
) {
    kafka.produce(&topics.live, Record::value("after"));
    let live = async { assert!(live.next().await.starts_with("data:after\n")) };
    let read = async |path: String| {
        let mut stream = server.get(&path).open().await;
        while !stream.next().await.starts_with("data:past\n") {}
    };
    let ends = async {
        let mut stream = server.get(&format!("/live/{}", topics.past)).open().await;
        while !stream.next().await.contains("event:live") {}
    };
    let all = Box::pin(async {
        tokio::join!(
            live,
            read(format!("/all/{}", topics.past)),
            read(format!("/all/{}", topics.unread)),
            read(format!("/start/{}?since=0", topics.past)),
            ends,
        )
    });
    timeout(at_most, all).await.expect("all is served in time");
}

#[tokio::test]
async fn connections_that_die_silently_hold_nothing_up_for_long() {
    let Some(kafka) = real_kafka().await else { return };
    let proxy = Proxy::start().await;
    let (server, topics, mut live) = start(&kafka, &proxy).await;
    proxy.silence();
    is_served(&kafka, &server, &topics, &mut live, AT_MOST).await;
    server.stderr().says("no answer").await;
}

#[tokio::test]
async fn all_goes_on_when_new_connections_are_answered_again() {
    let Some(kafka) = real_kafka().await else { return };
    let proxy = Proxy::start().await;
    let (server, topics, mut live) = start(&kafka, &proxy).await;
    proxy.silence_all();
    server.stderr().says("Kafka is away").await;
    proxy.silence();
    is_served(&kafka, &server, &topics, &mut live, AT_MOST_AFTER).await;
    server.stderr().says("Kafka is reached again").await;
}
