//! What operators get, judged by programs that are not ours: `tests/observability`.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Record, health_address, judge, kafka, server};

#[tokio::test]
async fn a_prometheus_scrapes_for_a_minute_and_finds_what_is_documented() {
    let kafka = kafka().await;
    // For a minute, no test could have a real Kafka to itself.
    if kafka.is_real() {
        return;
    }
    let topic = kafka.topic(1).await;
    let server =
        server(&kafka).bootstrap(&topic).arguments(&["--health", "127.0.0.1:0"]).run().await;
    let at = health_address(&server).await.to_string();
    let path = format!("/all/{topic}");
    let connection = server.http2().await;
    let mut streams = [server.get(&path).open().await, connection.open(&path).await];

    let expressions = [
        "tailwater_streams{binding=\"mapping\", topic=\"TOPIC\"} == 2",
        "tailwater_streams_state{topic=\"TOPIC\", state=\"live\"} == 2",
        "tailwater_streams_ended_total{topic=\"TOPIC\", reason=\"client\"} > 20",
        "sum(tailwater_streams_opened_total) - sum(tailwater_streams_ended_total) == 2",
        "tailwater_stream_lag_records_count{topic=\"TOPIC\"} == 2",
        "tailwater_stream_lag_seconds_bucket{topic=\"TOPIC\", le=\"+Inf\"} == 2",
        "topic:tailwater_stream_lag_seconds:p99{topic=\"TOPIC\"} < 10",
        "increase(tailwater_records_read_total{topic=\"TOPIC\"}[30s]) > 20",
        "increase(tailwater_events_sent_total{topic=\"TOPIC\"}[30s]) > 40",
        "increase(tailwater_kafka_delay_seconds_count{topic=\"TOPIC\"}[30s]) > 0",
        "tailwater_kafka_reached == 1",
        "tailwater_connections_accepted_total{binding=\"tcp_in\"} > 20",
        "tailwater_connections{binding=\"tcp_in\"} == 2",
        "process_resident_memory_bytes > 1e6",
    ]
    .map(|expression| expression.replace("TOPIC", &topic));
    let arguments = ["scrape", &at, "60"].into_iter().chain(expressions.iter().map(String::as_str));
    let Some(mut judge) = judge("prometheus", arguments).await else { return };
    // Records and clients come and go meanwhile, and leave before the end.
    let until = Instant::now() + Duration::from_secs(30);
    while judge.is_running() {
        kafka.produce(&topic, Record::value("1"));
        for stream in &mut streams {
            assert!(stream.next().await.starts_with("data:1\n"));
        }
        if Instant::now() < until {
            server.get(&path).open().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = judge.stderr.all().await;
    assert!(judge.ended().await.success(), "{said}");
}
