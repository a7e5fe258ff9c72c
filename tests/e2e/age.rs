//! The age that streams may have.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Record, Server, Version, field, kafka, server};

#[tokio::test]
async fn a_stream_ends_at_its_age_behind_an_event_and_resumes() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let config = server(&kafka).retry(1000).config();
    let aged = config.replace("retry: 1000 }", "retry: 1000, max-age: 10 }");
    assert_ne!(aged, config);
    let server = Server::of_text(tempfile::tempdir().expect("a folder"), &aged, &[]).await;
    let get = |version| server.get(&format!("/all/{topic}")).over(version);
    let begun = Instant::now();
    let mut streams = Vec::new();
    for version in Version::BOTH {
        let mut stream = get(version).open().await;
        assert!((800..=1200).contains(&stream.retry().await));
        streams.push((version, stream));
    }
    let values = (0..20).map(|number| format!("{number}\n{number}"));
    kafka.produce_values(&topic, values.clone());
    let expected: Vec<String> =
        values.map(|value| format!("data:{}\n", value.replace('\n', "\ndata:"))).collect();
    let mut ended = Vec::new();
    for (version, mut stream) in streams {
        let (blocks, clean, left) = stream.end().await;
        assert!(begun.elapsed() >= Duration::from_secs(9), "{version:?}");
        assert!(clean, "the last chunk, or END_STREAM");
        assert_eq!(left.escape_ascii().to_string(), "", "it ends at an event's end");
        assert!((800..=1200).contains(&stream.retry().await), "{version:?}");
        ended.push((version, blocks));
    }
    kafka.produce(&topic, Record::value("while away"));
    for (version, blocks) in ended {
        let last = String::from_utf8(blocks.last().expect("events").clone()).expect("UTF-8");
        let id = field(&last, "id").expect("an id");
        let mut resumed = get(version).last_event_id(id).open().await;
        let told = blocks.iter().filter(|block| block.starts_with(b"data:")).count();
        for expected in expected.iter().skip(told) {
            assert!(resumed.next().await.starts_with(expected), "{version:?}");
        }
        assert!(resumed.next().await.starts_with("data:while away\n"), "{version:?}");
    }
}
