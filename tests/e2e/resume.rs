//! Streams that are cut and taken up again.

use crate::support::{Kafka, Record, Server, Version, field, id, kafka, server};

async fn server_with(kafka: &Kafka, topic: &str, values: &[&str]) -> Server {
    for value in values {
        kafka.produce(topic, Record::value(*value));
    }
    server(kafka).run().await
}

#[tokio::test]
async fn a_live_stream_that_is_cut_before_its_first_event_loses_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("before"));
    let server = server(&kafka).live(&topic).run().await;
    for version in Version::BOTH {
        let path = format!("/all/{topic}");
        let mut stream = server.get(&path).over(version).open().await;
        let block = stream.next().await;
        let at = field(&block, "id").expect("an id").to_owned();
        assert_eq!(block, format!("id:{at}\n"), "nothing but the id");
        stream.cut();
        kafka.produce(&topic, Record::value("while away"));
        let mut resumed = server.get(&path).over(version).last_event_id(&at).open().await;
        assert!(resumed.next().await.starts_with("data:while away\n"), "{version:?}");
    }
}

#[tokio::test]
async fn live_streams_start_at_the_end_each() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).run().await;
    let path = format!("/all/{topic}");
    let mut first = server.get(&path).open().await;
    assert_eq!(first.next().await, "id:AQIAAA==\n");
    kafka.produce(&topic, Record::value("1"));
    assert_eq!(first.next().await, "data:1\nid:AQIAAg==\n");
    // Zilla replays what came since the first client.
    let mut second = server.get(&path).open().await;
    assert_eq!(second.next().await, "id:AQIAAg==\n");
    kafka.produce(&topic, Record::value("2"));
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.next().await, "data:2\nid:AQIABA==\n");
    }
    // An id wins over the default offset.
    let mut third = server.get(&path).last_event_id("AQIAAA==").open().await;
    assert_eq!(third.take(2).await, ["data:1\nid:AQIAAg==\n", "data:2\nid:AQIABA==\n"]);
}

#[tokio::test]
async fn historical_streams_start_at_the_beginning_without_a_word_of_their_place() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server_with(&kafka, &topic, &["1", "2"]).await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    assert_eq!(stream.take(2).await, ["data:1\nid:AQIAAg==\n", "data:2\nid:AQIABA==\n"]);
}

#[tokio::test]
async fn every_cut_resumes_at_the_next_record() {
    let kafka = kafka().await;
    let topic = kafka.topic(3).await;
    let values: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    for (number, value) in (0..).zip(&values) {
        kafka.produce(&topic, Record::value(value).partition(number % 3));
    }
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let mut seen = Vec::new();
    let mut last: Option<String> = None;
    for cut in 0..values.len() {
        let get = server.get(&path).over(Version::BOTH[cut % 2]);
        let get = last.iter().fold(get, |get, id| get.last_event_id(id));
        let mut stream = get.open().await;
        let block = stream.next().await;
        seen.push(field(&block, "data").expect("data").to_owned());
        last = field(&block, "id").map(str::to_owned);
        stream.cut();
    }
    let mut sorted = seen.clone();
    sorted.sort_by_key(|number| number.parse::<u32>().expect("a number"));
    assert_eq!(sorted, values, "each once");
    // Within a partition in order.
    for partition in 0..3 {
        let of: Vec<u32> = seen.iter().map(|seen| seen.parse().expect("a number")).collect();
        let of: Vec<u32> = of.into_iter().filter(|of| of % 3 == partition).collect();
        assert!(of.is_sorted(), "{of:?}");
    }
}

#[tokio::test]
async fn ids_of_zilla_with_places_that_are_no_offsets_are_understood() {
    let kafka = kafka().await;
    let topic = kafka.topic(2).await;
    for partition in [0, 1, 1] {
        kafka.produce(&topic, Record::value(&format!("p{partition}")).partition(partition));
    }
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");

    // -2: from the beginning; -1: the end of an empty partition. The order of the pairs is free.
    for (wanted, data, at) in [
        (id(&[(0, -2), (1, 2)]), "p0", id(&[(0, 1), (1, 2)])),
        (id(&[(1, 1), (0, 1)]), "p1", id(&[(0, 1), (1, 2)])),
        (id(&[(0, 1)]), "p1", id(&[(0, 1), (1, 1)])),
        (id(&[(0, 1), (1, -1)]), "p1", id(&[(0, 1), (1, 1)])),
    ] {
        let mut stream = server.get(&path).last_event_id(&wanted).open().await;
        assert_eq!(stream.next().await, format!("data:{data}\nid:{at}\n"), "{wanted}");
    }
}

#[tokio::test]
async fn a_route_may_do_without_blocks_that_tell_a_place() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).run().await;
    let mut loud = server.get(&format!("/all/{topic}")).open().await;
    let mut quiet = server.get(&format!("/quiet/{topic}")).open().await;
    // It stands at the end once what comes reaches it: how often that takes is not known.
    assert_eq!(loud.next().await, "id:AQIAAA==\n");
    let first = {
        let mut next = std::pin::pin!(quiet.next());
        loop {
            kafka.produce(&topic, Record::value("a"));
            tokio::select! {
                block = &mut next => break block,
                _ = loud.next() => {}
            }
        }
    };
    assert!(first.starts_with("data:a\nid:"), "{first}");
}

#[tokio::test]
async fn ids_of_many_partitions_resume() {
    let kafka = kafka().await;
    // Zilla gives up beyond some forty; beyond 1 KiB only the last event of a write need have an id.
    for (partitions, version) in
        [(100, Version::Http1), (600, Version::Http1), (600, Version::Http2)]
    {
        let topic = kafka.topic(partitions).await;
        let path = format!("/all/{topic}");
        for number in 0..10 {
            let value = number.to_string();
            kafka.produce(&topic, Record::value(&value).partition(partitions - 1));
        }
        let server = server(&kafka).run().await;
        let get = || server.get(&path).over(version);
        let blocks = get().open().await.take(10).await;
        let values: Vec<u32> = blocks.iter().map(|block| number(block)).collect();
        assert_eq!(values, (0..10).collect::<Vec<_>>(), "{partitions} {version:?}");
        let with_id: Vec<_> = blocks.iter().filter(|block| field(block, "id").is_some()).collect();
        assert!(with_id.len() == 10 || partitions > 100, "{partitions} {version:?}");
        kafka.produce(&topic, Record::value("10").partition(partitions - 1));
        for block in with_id {
            let id = field(block, "id").expect("an id");
            let next = get().last_event_id(id).open().await.next().await;
            assert_eq!(number(&next), number(block) + 1, "{partitions} {version:?}");
        }
        assert!(field(&blocks[9], "id").is_some(), "the last of a write has one");
    }
}

/// As a browser does: U+FFFD for what is no UTF-8, and in a query all but letters and digits escaped.
#[tokio::test]
async fn the_longest_ids_are_taken_back_by_header_and_query() {
    const LONGEST: usize = 4096;
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    // Each is as long as it can be: what is longer is left out, and so are escapes that make it longer.
    let etags = [
        vec![0xff; (LONGEST - "AQIAAg==/".len()) / 3],
        "日".repeat((LONGEST - "AQIAAg==/".len()) / 3).into_bytes(),
        b"\"".repeat((LONGEST - r#"["a2V5","AQIAAg==/"]"#.len()) / 2),
        vec![1; (LONGEST - r#"["a2V5","AQIAAg==/"]"#.len()) / 6],
        vec![1; LONGEST],
        b"x".repeat(8 * LONGEST),
    ];
    for etag in &etags {
        let headers = [("etag", Some(&etag[..]))];
        kafka.produce(&topic, Record::value("v").key("key").headers(&headers));
    }
    kafka.produce(&topic, Record::value("last"));
    let mut long = 0;
    for path in ["all", "keyed"].map(|route| format!("/{route}/{topic}")) {
        let mut stream = server.get(&path).open().await;
        for offset in 1..=etags.len() {
            let block = stream.next_bytes().await;
            let block = String::from_utf8_lossy(&block);
            let returned = field(&block, "id").expect("an id");
            assert!(returned.len() <= LONGEST, "{path} {offset}: {}", returned.len());
            long += usize::from(returned.len() > LONGEST - 8);
            let escaped = returned.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            for version in Version::BOTH {
                let by_query = server.get(&format!("{path}?lastEventId={escaped}")).over(version);
                let by_header = server.get(&path).last_event_id(returned).over(version);
                for get in [by_query, by_header] {
                    let mut resumed = get.open().await;
                    for _ in offset..etags.len() {
                        assert!(resumed.next_bytes().await.starts_with(b"data:v\n"));
                    }
                    assert!(resumed.next().await.starts_with("data:last\n"), "{path} {offset}");
                }
            }
        }
    }
    assert_eq!(long, 4, "of each form two");
}

#[tokio::test]
async fn an_id_that_does_not_decode_is_a_gap_and_the_stream_goes_on() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server_with(&kafka, &topic, &["a"]).await;
    for bad in ["nonsense", "%%%", "[]", "[null]", "AAIAAg==", "AQIAAg==x", "\u{e4}"] {
        let path = format!("/all/{topic}");
        let mut stream = server.get(&path).last_event_id(bad).open().await;
        let (data, at) = stream.gap().await;
        assert_eq!(data["reason"], "id", "{bad}");
        assert_eq!(at, "AQIAAA==", "{bad}");
        assert_eq!(stream.next().await, "data:a\nid:AQIAAg==\n", "{bad}");
    }
}

#[tokio::test]
async fn a_place_past_the_end_is_a_truncation() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server_with(&kafka, &topic, &["a", "b"]).await;
    let get = server.get(&format!("/all/{topic}")).last_event_id(id(&[(0, 100)]));
    let mut stream = get.open().await;
    let expected =
        serde_json::json!({"partition": 0, "from": 100, "to": 0, "reason": "truncation"});
    assert_eq!(stream.gap().await, (expected, id(&[(0, 0)])));
    assert_eq!(stream.take(2).await, ["data:a\nid:AQIAAg==\n", "data:b\nid:AQIABA==\n"]);
}

/// No topic loses partitions: the id is of one that was there before.
#[tokio::test]
async fn an_id_that_names_a_partition_which_is_not_there_is_one_gap_and_begins_anew() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server_with(&kafka, &topic, &["a", "b"]).await;
    for wanted in [&[(0, 1), (7, 3)][..], &[(0, 1), (1, 0)], &[(0, 2), (1, 5), (2, -1)]] {
        let get = server.get(&format!("/all/{topic}")).last_event_id(id(wanted));
        let mut stream = get.open().await;
        let expected = serde_json::json!({"partition": null, "from": null, "to": null, "reason": "truncation"});
        assert_eq!(stream.gap().await, (expected, id(&[(0, 0)])), "{wanted:?}");
        let events = ["data:a\nid:AQIAAg==\n", "data:b\nid:AQIABA==\n"];
        assert_eq!(stream.take(2).await, events, "{wanted:?}");
    }
}

/// 75 MB of gaps, each with the id of all positions, answered an id past the end of 4000 partitions.
#[tokio::test]
async fn an_id_past_the_end_of_thousands_of_partitions_is_one_gap() {
    let kafka = kafka().await;
    // A real Kafka makes a file of each.
    let many = if kafka.is_real() { 64 } else { 6200 };
    let topic = kafka.topic(many).await;
    let server = server_with(&kafka, &topic, &["a"]).await;
    let past: Vec<_> = (0..many.into()).map(|partition| (partition, 9)).collect();
    let mut stream = server.get(&format!("/all/{topic}")).last_event_id(id(&past)).open().await;
    let (data, at) = stream.gap().await;
    let expected =
        serde_json::json!({"partition": null, "from": null, "to": null, "reason": "truncation"});
    assert_eq!(data, expected);
    assert_eq!(at.len(), id(&past).len());
    assert!(stream.next().await.starts_with("data:a\nid:"));
    if !kafka.is_real() {
        server.stderr().says("event ids are long").await;
    }
}

#[tokio::test]
async fn one_id_is_good_on_any_instance() {
    let kafka = kafka().await;
    let topic = kafka.topic(4).await;
    let path = format!("/all/{topic}");
    // One reads the records as they come, the other all of them at once as history: the partitions
    // come in different orders.
    let early = server(&kafka).bootstrap(&topic).run().await;
    let mut stream = early.get(&path).open().await;
    let mut blocks = Vec::new();
    for number in 0..40 {
        let value = number.to_string();
        let partition = (number * 7 + number / 5) % 4;
        kafka.produce(&topic, Record::value(&value).partition(partition));
        blocks.push(stream.next().await);
    }
    let late = server(&kafka).run().await;
    for at in [0, 3, 17, 38] {
        let id = field(&blocks[at], "id").expect("an id");
        let mut resumed = late.get(&path).last_event_id(id).open().await;
        let rest = resumed.take(blocks.len() - at - 1).await;
        let mut numbers: Vec<u32> = rest.iter().map(|block| number(block)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (at as u32 + 1..40).collect::<Vec<_>>(), "after {at}");
        // And back again, from a place that the first has never been at.
        let middle = &rest[rest.len() / 2];
        let mut back =
            early.get(&path).last_event_id(field(middle, "id").expect("an id")).open().await;
        let seen = rest.len() / 2 + 1;
        let mut again: Vec<u32> = rest[..seen].iter().map(|block| number(block)).collect();
        again.extend(back.take(rest.len() - seen).await.iter().map(|block| number(block)));
        again.sort_unstable();
        assert_eq!(again, numbers, "back after {at}");
    }
}

fn number(block: &str) -> u32 {
    field(block, "data").and_then(|value| value.parse().ok()).expect("a number")
}
