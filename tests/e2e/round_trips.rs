//! How often a fresh process waits for Kafka before its first event, on a real Kafka only.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Proxy, Record, real_kafka, server_of};

const TRIP: Duration = Duration::from_millis(300);

/// How many round trips there may be, one after the other, of which two are for connections.
const AT_MOST: u32 = 8;

/// The least of so many attempts is what the process needs: the others are slow by the machine's load.
const ATTEMPTS: usize = 4;

#[tokio::test]
async fn a_fresh_process_has_its_first_event_after_eight_round_trips() {
    let Some(kafka) = real_kafka().await else { return };
    let [plain, live, compacted] = [kafka.topic(1).await, kafka.topic(1).await, kafka.name()];
    kafka.create(&compacted, 1, &[("cleanup.policy", "compact")]).await;
    for topic in [&plain, &live, &compacted] {
        kafka.produce(topic, Record::value("past").key("key"));
    }
    let proxy = Proxy::distant(TRIP / 2).await;
    for (path, first) in [
        (format!("/all/{plain}"), "data:past\n"),
        (format!("/all/{live}"), "id:"),
        (format!("/live/{live}"), "id:"),
        (format!("/all/{compacted}"), "data:past\n"),
    ] {
        let mut took = Vec::new();
        // What is more than whole round trips is the process's own time.
        let is_late = |took: &Duration| *took >= (AT_MOST + 1) * TRIP;
        while took.last().is_none_or(is_late) {
            assert!(took.len() < ATTEMPTS, "{path}: {took:?}");
            let server = server_of(proxy.address()).live(&live).run().await;
            let began = Instant::now();
            let mut stream = server.get(&path).open().await;
            assert!(stream.next().await.starts_with(first), "{path}");
            took.push(began.elapsed());
        }
    }
}
