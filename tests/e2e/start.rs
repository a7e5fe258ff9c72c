//! Requests that say where their stream begins.

use http::StatusCode;

use crate::support::{Kafka, Record, Version, field, id, kafka, server};

/// 2026-01-01T00:00:00Z, in milliseconds.
const NEW_YEAR: i64 = 1_767_225_600_000;

/// A topic of two partitions: records 0 s and 10 s after new year in the one, 5 s after it in the other.
async fn topic(kafka: &Kafka) -> String {
    let topic = kafka.topic(2).await;
    for (value, partition, seconds) in [("a", 0, 0), ("b", 1, 5), ("c", 0, 10)] {
        let record = Record::value(value).partition(partition);
        kafka.produce(&topic, record.timestamp(NEW_YEAR + seconds * 1000));
    }
    topic
}

/// So many events, without the order of the partitions.
async fn events(stream: &mut crate::support::Stream, count: usize) -> Vec<String> {
    let blocks = stream.take(count).await;
    let mut data: Vec<_> =
        blocks.iter().filter_map(|block| field(block, "data")).map(str::to_owned).collect();
    data.sort();
    data
}

#[tokio::test]
async fn a_request_begins_where_it_asks_to() {
    let kafka = kafka().await;
    let topic = topic(&kafka).await;
    let server = server(&kafka).live(&topic).run().await;
    let path = format!("/start/{topic}");
    let end = id(&[(0, 2), (1, 1)]);
    for version in Version::BOTH {
        let open =
            async |query: &str| server.get(&format!("{path}?{query}")).over(version).open().await;
        assert_eq!(events(&mut open("from=earliest").await, 3).await, ["a", "b", "c"]);
        assert_eq!(open("from=live").await.next().await, format!("id:{end}\n"));
        let from = id(&[(0, 1), (1, 1)]);
        assert_eq!(events(&mut open(&format!("from={from}")).await, 1).await, ["c"]);
        // A browser comes again with the same URL and its id.
        let again = server.get(&format!("{path}?from=earliest")).over(version);
        assert_eq!(events(&mut again.last_event_id(&from).open().await, 1).await, ["c"]);
        let again = format!("from=earliest&lastEventId={from}");
        assert_eq!(events(&mut open(&again).await, 1).await, ["c"]);
    }
}

#[tokio::test]
async fn a_start_that_is_none_is_told_and_nothing_elsewhere() {
    let kafka = kafka().await;
    let topic = topic(&kafka).await;
    let server = server(&kafka).run().await;
    for (query, told) in [
        ("from=latest", "expected `from` to be `earliest`, `live` or an event id\n"),
        (
            "since=yesterday",
            "expected `since` to be a time as `2026-01-31T12:00:00Z` (RFC 3339), or milliseconds since 1970\n",
        ),
        ("from=live&since=0", "expected `from` or `since`, and once\n"),
    ] {
        for version in Version::BOTH {
            let path = format!("/start/{topic}?{query}");
            let answer = server.get(&path).over(version).send().await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            let text = answer.text().await;
            assert!(text.ends_with(told), "{text}");
        }
        // As any other parameter, on a route that does not allow them.
        let mut stream = server.get(&format!("/all/{topic}?{query}")).open().await;
        assert_eq!(events(&mut stream, 3).await, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn since_a_time_begins_with_what_is_no_older() {
    let kafka = kafka().await;
    let topic = topic(&kafka).await;
    let server = server(&kafka).run().await;
    for (since, offsets, expected) in [
        ("0".to_owned(), [0, 0], &["a", "b", "c"][..]),
        (format!("{}", NEW_YEAR + 5000), [1, 0], &["b", "c"]),
        ("2026-01-01T00:00:05.001Z".to_owned(), [1, 1], &["c"]),
        ("2026-01-01T02:00:10+02:00".to_owned(), [1, 1], &["c"]),
        ("2100-01-01T00:00:00Z".to_owned(), [2, 1], &[]),
    ] {
        // The mock cluster knows no times: there is no record yet, whatever is asked for.
        let (offsets, expected) =
            if kafka.is_real() { (offsets, expected) } else { ([2, 1], &[][..]) };
        let mut stream = server.get(&format!("/start/{topic}?since={since}")).open().await;
        let at = id(&[(0, offsets[0]), (1, offsets[1])]);
        assert_eq!(stream.next().await, format!("id:{at}\n"), "{since}");
        assert_eq!(events(&mut stream, expected.len()).await, expected, "{since}");
    }
}
