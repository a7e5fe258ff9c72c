//! Many streams at once.

use crate::support::{Record, Version, field, kafka, server};

#[tokio::test]
async fn a_thousand_streams_each_get_everything_once() {
    tailwater_http::raise_open_files().expect("a limit");
    let kafka = kafka().await;
    let topic = kafka.topic(2).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let produce = |numbers: std::ops::Range<i32>| {
        let values: Vec<String> = numbers.clone().map(|number| number.to_string()).collect();
        let records = numbers.zip(&values);
        let records = records.map(|(number, value)| Record::value(value).partition(number % 2));
        kafka.produce_with(&[("linger.ms", "1")], &topic, records);
    };
    produce(0..10);
    let mut streams = Vec::new();
    for number in 0..1000 {
        let version = if number % 100 == 0 { Version::Http2 } else { Version::Http1 };
        streams.push(server.get(&format!("/all/{topic}")).over(version).open().await);
        if number % 100 == 50 {
            produce(number / 100 * 10 + 10..number / 100 * 10 + 20);
        }
    }
    produce(110..120);
    for (number, stream) in streams.iter_mut().enumerate() {
        let blocks = stream.take(120).await;
        let mut values: Vec<i32> = blocks.iter().map(|block| value(block)).collect();
        let even: Vec<i32> = values.iter().copied().filter(|value| value % 2 == 0).collect();
        assert!(even.is_sorted(), "stream {number}, partition 0: {even:?}");
        values.sort_unstable();
        assert_eq!(values, (0..120).collect::<Vec<_>>(), "stream {number}");
    }
}

fn value(block: &str) -> i32 {
    field(block, "data").and_then(|value| value.parse().ok()).expect("a number")
}

#[tokio::test]
async fn fifty_streams_share_an_http2_connection() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let connection = server.http2().await;
    let mut streams = Vec::new();
    for number in 0..50 {
        streams.push(connection.open(&format!("/keys/{topic}/{}", number % 5)).await);
    }
    for number in 0..100 {
        let key = (number % 5).to_string();
        let value = number.to_string();
        kafka.produce(&topic, Record::value(&value).key(&key));
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let values: Vec<i32> = stream.take(20).await.iter().map(|block| value(block)).collect();
        let key = number as i32 % 5;
        assert_eq!(
            values,
            (0..100).filter(|value| value % 5 == key).collect::<Vec<_>>(),
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_no_other() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let connection = server.http2().await;
    let mut stalled = connection.open(&path).await;
    let mut beside = connection.open(&path).await;
    let mut other = server.get(&path).open().await;
    // More than all buffers on the way hold, in pieces: a partition of the mock cluster keeps 5 MB.
    let all: Vec<i32> = (0..400).collect();
    for numbers in all.chunks(40) {
        kafka.produce_values(&topic, numbers.iter().map(|number| format!("{number:050000}")));
        for stream in [&mut beside, &mut other] {
            let blocks = stream.take(numbers.len()).await;
            assert_eq!(blocks.iter().map(|block| value(block)).collect::<Vec<_>>(), numbers);
        }
    }
    let blocks = stalled.take(all.len()).await;
    assert_eq!(blocks.iter().map(|block| value(block)).collect::<Vec<_>>(), all);
}
