//! Records that are converted or rejected before they enter the log.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::broker::model::Spoilt;
use crate::{Changes, Conversion, RecordRef, StreamState};

/// Takes `x` and a hyphen off a key, puts a value into angle brackets, adds a header that has the value, and
/// rejects a value that begins with `bad`.
fn convert(record: &RecordRef<'_>, changes: &mut Changes) -> Conversion {
    if let Some(key) = record.key().and_then(|key| key.strip_prefix(b"x-")) {
        changes.key_mut().extend_from_slice(key);
    }
    let Some(value) = record.value() else { return Conversion::Accepted };
    if value.starts_with(b"bad") {
        return Conversion::Rejected { reason: "bad", detail: "the value is bad".into() };
    }
    changes.value_mut().extend([b"<", value, b">"].concat());
    changes.add_header("copy", Some(value.to_vec()));
    Conversion::Accepted
}

fn converting() -> Instance {
    instance().options(|options| options.converter(TOPIC, convert))
}

fn write(model: &Model, records: &[(&str, Option<&str>)]) {
    for (key, value) in records {
        let message = Message {
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            ..Message::default()
        };
        model.produce(TOPIC, 0, message);
    }
}

/// How many records were rejected for being bad.
fn rejected(cluster: &Cluster) -> u64 {
    let health = cluster.health();
    health.topics.iter().filter_map(|topic| topic.rejected.get("bad")).sum()
}

#[tokio::test]
async fn filters_ids_and_events_have_the_record_as_it_was_converted() {
    let model = kafka(1);
    write(&model, &[("x-a", Some("1")), ("b", Some("2")), ("x-a", None)]);
    let cluster = converting().options(|options| options.index_header("copy")).of(&model);
    for past in [true, false] {
        let mut all = open(&cluster, query()).await;
        let mut of_key = open(&cluster, key("a")).await;
        let copies = |value: &str| query().filter(Filter::any().header("copy", value.to_owned()));
        let mut of_header = open(&cluster, copies("2")).await;
        let mut original = open(&cluster, key("x-a")).await;
        if !past {
            let count = if model.high(TOPIC, 0) == 3 { 3 } else { 6 };
            all.events(count).await;
            write(&model, &[("x-a", Some("1")), ("b", Some("2")), ("x-a", None)]);
        }
        assert_eq!(all.events(3).await, ["<1>", "<2>", "delete YQ=="]);
        of_key.until(&["delete YQ=="]).await;
        assert_eq!(of_header.data().await, "<2>");
        assert!(original.is_idle());
    }
    let form = StreamOptions::new().event_id_format(crate::EventIdFormat::KeyAndEtag);
    let mut client = open(&cluster, query().options(form)).await;
    client.data().await;
    assert_eq!(client.last_event_id().unwrap(), r#"["YQ==","AQIAAg=="]"#);
}

#[tokio::test]
async fn a_rejected_record_is_passed_over_in_the_past_and_in_the_log() {
    let model = kafka(1);
    let records = [("a", Some("1")), ("b", Some("bad")), ("c", Some("bad")), ("a", Some("2"))];
    write(&model, &records);
    let cluster = converting().of(&model);
    let mut all = open(&cluster, query()).await;
    let mut of_key = open(&cluster, key("a")).await;
    let mut of_bad = open(&cluster, key("b")).await;
    for high in [4, 8] {
        assert_eq!(all.events(2).await, ["<1>", "<2>"]);
        assert_eq!(of_key.events(2).await, ["<1>", "<2>"]);
        assert_eq!(all.last_event_id().unwrap(), id_of(&[high]));
        eventually(|| all.is_idle() && of_key.is_idle() && of_bad.is_idle()).await;
        assert_eq!(rejected(&cluster), high as u64 / 2);
        write(&model, if high == 4 { &records } else { &[] });
    }
    // One that comes back reads them again.
    let mut again = open(&cluster, after(&[1])).await;
    assert_eq!(again.events(3).await, ["<2>", "<1>", "<2>"]);
    assert_eq!(rejected(&cluster), 4, "each is counted once");
    let counted: u64 =
        cluster.counts().topics.iter().filter_map(|topic| topic.rejected.get("bad")).sum();
    assert_eq!(counted, 4);
    assert!(!String::from_utf8_lossy(&again.wire).contains("bad"));
}

#[tokio::test]
async fn an_idle_stream_says_the_position_behind_a_rejected_record() {
    let model = kafka(1);
    write(&model, &[("a", Some("1"))]);
    let cluster = converting().of(&model);
    let mut past = open(&cluster, query()).await;
    let mut of_key = open(&cluster, key("a")).await;
    // Further ahead than the log was when it was opened.
    let mut ahead = open(&cluster, after(&[1])).await;
    past.events(1).await;
    of_key.events(1).await;
    eventually(|| ahead.is_idle() && ahead.stream.is_following()).await;
    for client in [&mut past, &mut of_key] {
        eventually(|| client.is_idle() && client.stream.probe().state() == StreamState::Live).await;
    }
    for next in 2..4 {
        write(&model, &[("a", Some("bad"))]);
        eventually(|| cluster.head(TOPIC).is_some_and(|head| head.next(0) == next)).await;
        for client in [&mut past, &mut of_key, &mut ahead] {
            assert!(client.is_idle());
            assert_eq!(client.idle(), Some(format!("id:{}\n\n", id_of(&[next]))));
            assert_eq!(client.idle(), None, "it was said");
        }
    }
    write(&model, &[("a", Some("2"))]);
    for client in [&mut past, &mut of_key, &mut ahead] {
        assert_eq!(client.data().await, "<2>");
        assert_eq!(client.last_event_id().unwrap(), id_of(&[4]));
        assert_eq!(client.idle(), None);
    }
}

#[tokio::test]
async fn a_stream_is_live_behind_a_rejected_record() {
    let model = kafka(1);
    write(&model, &[("a", Some("1")), ("a", Some("bad"))]);
    let cluster = converting().of(&model);
    for _ in 0..2 {
        let telling = query().options(StreamOptions::new().live_event(true));
        let mut client = open(&cluster, telling).await;
        assert_eq!(client.events(2).await, ["<1>", "live {}"]);
        assert_eq!(client.last_event_id().unwrap(), id_of(&[2]));
    }
}

#[tokio::test]
async fn a_topic_of_rejected_records_holds_up_nobody() {
    let model = kafka(1);
    write(&model, &vec![("a", Some("bad")); 5000]);
    write(&model, &[("a", Some("1"))]);
    let cluster = converting().batch(1000).of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.data().await, "<1>");
    assert_eq!(client.last_event_id().unwrap(), id_of(&[5001]));
    write(&model, &vec![("a", Some("bad")); 5000]);
    write(&model, &[("a", Some("2"))]);
    assert_eq!(client.data().await, "<2>");
    assert_eq!(rejected(&cluster), 10_000);
    assert!(cluster.bytes(TOPIC) < 1024 * 1024);
}

/// The data of the gap of rejected records.
fn invalid(from: i64, to: i64) -> String {
    format!(r#"gap {{"from":{from},"partition":0,"reason":"invalid","to":{to}}}"#)
}

#[tokio::test]
async fn a_stream_that_asks_is_told_of_rejected_records_by_one_gap_for_neighbours() {
    let model = kafka(1);
    let records = [("a", Some("1")), ("b", Some("bad")), ("c", Some("bad")), ("a", Some("2"))];
    write(&model, &records);
    model.skip(TOPIC, 0, 1);
    write(&model, &[("b", Some("bad"))]);
    // History is held until all streams have joined, so that one read brings the rejected neighbours.
    model.hold_history(true);
    let cluster = converting().batch(100).of(&model);
    let told = StreamOptions::new().invalid_gaps(true);
    let mut all = open(&cluster, query().options(told)).await;
    let mut of_key = open(&cluster, key("a").options(told)).await;
    let mut of_header = {
        let filter = Filter::any().header("other", "none");
        open(&cluster, query().filter(filter).options(told)).await
    };
    let mut skips = open(&cluster, query()).await;
    eventually(|| {
        for client in [&mut all, &mut of_key, &mut of_header, &mut skips] {
            assert!(client.is_idle());
        }
        cluster.carried() == 4
    })
    .await;
    model.hold_history(false);
    for client in [&mut all, &mut of_key] {
        assert_eq!(client.events(4).await, ["<1>", &*invalid(1, 3), "<2>", &*invalid(5, 6)]);
        assert_eq!(client.last_event_id().unwrap(), id_of(&[6]));
    }
    assert_eq!(of_header.events(2).await, [invalid(1, 3), invalid(5, 6)]);
    assert_eq!(skips.events(2).await, ["<1>", "<2>"]);
    // One whose id is within the gap, from an instance that read them one by one.
    let mut within = open(&cluster, after(&[2]).options(told)).await;
    assert_eq!(within.data().await, invalid(2, 3));
    // In the live log.
    write(&model, &[("a", Some("bad"))]);
    for client in [&mut all, &mut of_key, &mut of_header] {
        assert_eq!(client.data().await, invalid(6, 7));
    }
    write(&model, &[("a", Some("3"))]);
    assert_eq!(skips.data().await, "<3>");
    assert_eq!(rejected(&cluster), 4);
}

/// Each was an event of its own when they were not read from Kafka together.
#[tokio::test]
async fn rejected_records_that_a_stream_was_not_told_of_are_one_gap_however_they_were_read() {
    let model = kafka(1);
    write(&model, &[("a", Some("1"))]);
    let cluster = converting().of(&model);
    let told = StreamOptions::new().invalid_gaps(true);
    let mut all = open(&cluster, query().options(told)).await;
    let mut of_key = open(&cluster, key("a").options(told)).await;
    let live = told.live_event(true);
    all.events(1).await;
    of_key.events(1).await;
    eventually(|| all.is_idle() && of_key.is_idle()).await;
    for offset in 1..5 {
        write(&model, &[("b", Some("bad"))]);
        eventually(|| cluster.head(TOPIC).is_some_and(|head| head.next(0) > offset)).await;
    }
    let mut of_log = open(&cluster, after(&[1]).options(live)).await;
    for client in [&mut all, &mut of_key, &mut of_log] {
        assert_eq!(client.data().await, invalid(1, 5));
        assert_eq!(client.last_event_id().unwrap(), id_of(&[5]));
    }
    assert_eq!(of_log.data().await, "live {}");
    for client in [&mut all, &mut of_key, &mut of_log] {
        assert!(client.is_idle());
        assert_eq!(client.idle(), None, "the gap has the position");
    }
    // Those that come later are told at once, and before what comes after them.
    write(&model, &[("b", Some("bad")), ("a", Some("2")), ("b", Some("bad"))]);
    for client in [&mut all, &mut of_key, &mut of_log] {
        assert_eq!(client.events(3).await, [&*invalid(5, 6), "<2>", &*invalid(7, 8)]);
        assert_eq!(client.last_event_id().unwrap(), id_of(&[8]));
    }
}

/// A stream passes a bounded number of records of the log at once, and is told of these then.
#[tokio::test]
async fn a_stream_is_told_of_many_rejected_records_by_few_gaps() {
    const RECORDS: usize = 4000;
    let model = kafka(1);
    write(&model, &vec![("b", Some("bad")); RECORDS]);
    // Each read brings two at most.
    let cluster = converting().batch(1).of(&model);
    let told = StreamOptions::new().invalid_gaps(true);
    let mut client = open(&cluster, query().options(told)).await;
    let poll = |client: &mut Client| {
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = client.stream.as_mut().poll_events(cx, client.limit);
        let std::task::Poll::Ready(Some(Ok(write))) = polled else { return false };
        client.take(&write.into_bytes());
        true
    };
    eventually(|| poll(&mut client) || client.stream.is_following()).await;
    eventually(|| model.served_history() == RECORDS && model.assigned_history() == 0).await;
    let mut next = 0;
    let mut gaps = 0;
    while next < RECORDS as i64 {
        let item = client.item().await;
        let Item::Message(message) = item else { panic!("{item:?}") };
        let gap: serde_json::Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(gap["from"], next);
        next = gap["to"].as_i64().unwrap();
        gaps += 1;
    }
    assert!((2..=6).contains(&gaps), "{gaps}");
}

#[tokio::test]
async fn a_late_stream_of_a_compacted_topic_is_told_of_what_was_rejected_last() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    write(&model, &[("a", Some("1")), ("a", Some("bad")), ("b", Some("bad")), ("c", Some("bad"))]);
    write(&model, &[("c", Some("2"))]);
    let cluster = converting().batch(100).of(&model);
    let told = query().options(StreamOptions::new().invalid_gaps(true));
    let mut late = open(&cluster, told).await;
    assert_eq!(late.events(2).await, [invalid(1, 3), "<2>".to_owned()]);
    assert_eq!(open(&cluster, query()).await.data().await, "<2>");
}

#[tokio::test]
async fn a_compacted_topic_is_compacted_by_converted_keys_and_a_rejected_record_supersedes() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    // Two keys that are the same, once converted.
    write(&model, &[("x-a", Some("1")), ("a", Some("2")), ("b", Some("3")), ("c", Some("4"))]);
    write(&model, &[("x-c", Some("bad")), ("d", Some("bad")), ("x-b", None)]);
    let cluster = converting().of(&model);
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.data().await, "<2>");
    assert!(late.is_idle());
    write(&model, &[("x-a", Some("bad")), ("d", Some("5"))]);
    assert_eq!(late.data().await, "<5>");
    // The snapshot may do for a while yet.
    let since = tokio::time::Instant::now();
    loop {
        let mut later = open(&cluster, query()).await;
        if later.data().await == "<5>" {
            break;
        }
        assert!(since.elapsed() < IN_VAIN, "an old snapshot is kept");
    }
    let mut of_key = open(&cluster, key("a")).await;
    assert!(of_key.is_idle());
    write(&model, &[("a", Some("6"))]);
    assert_eq!(of_key.data().await, "<6>");
}

#[tokio::test]
async fn a_record_that_is_too_large_supersedes_its_converted_key() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    write(&model, &[("a", Some("1"))]);
    model.spoil(TOPIC, 0, &["x-a"], Spoilt::TooLarge);
    let mut late = open(&converting().of(&model), query()).await;
    assert!(late.data().await.starts_with("gap "));
    assert!(late.is_idle());
}

#[tokio::test]
async fn a_converter_that_panics_rejects_the_record() {
    let model = kafka(1);
    let panics = |record: &RecordRef<'_>, _: &mut Changes| {
        assert!(record.value() != Some(b"panic"), "the converter was told to panic");
        Conversion::Accepted
    };
    let cluster = instance().options(|options| options.converter(TOPIC, panics)).of(&model);
    write(&model, &[("a", Some("1")), ("a", Some("panic")), ("a", Some("2"))]);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.events(2).await, ["1", "2"]);
    write(&model, &[("a", Some("panic")), ("a", Some("3"))]);
    assert_eq!(client.data().await, "3");
    let health = cluster.health();
    assert_eq!((health.topics[0].rejected["panic"], health.panics), (2, 0));
}

/// What a poll brought was appended at once, and its stream lost it before it had read it.
#[tokio::test]
async fn what_conversion_makes_much_longer_is_read_once() {
    const RECORDS: i64 = 40;
    const LONG: usize = 900_000;
    let model = kafka(1);
    fill(&model, 0, RECORDS as usize);
    let grow = |record: &RecordRef<'_>, changes: &mut Changes| {
        changes.value_mut().extend_from_slice(record.value().unwrap_or_default());
        changes.value_mut().resize(LONG, b' ');
        Conversion::Accepted
    };
    let options = |options: ClusterOptions| {
        options.converter(TOPIC, grow).max_record_bytes(LONG).memory_bytes(8 * LONG)
    };
    let mut start = instance().batch(1000).options(options);
    start.options.timing.stall = IN_VAIN;
    let cluster = start.of(&model);
    let mut client = open(&cluster, query()).await;
    // Without the parser, which takes its time for so much.
    client.seen.is_whole = false;
    let mut bytes = 0;
    while bytes < RECORDS as usize * LONG {
        let write = poll_fn(|cx| client.stream.as_mut().poll_events(cx, client.limit));
        let write = tokio::time::timeout(IN_VAIN, write).await.unwrap();
        bytes += write.unwrap().unwrap().into_bytes().len();
    }
    assert_eq!(model.served_history(), RECORDS as usize);
    eventually(|| client.is_idle() && model.assigned_history() == 0).await;
    fill(&model, 0, 10);
    assert_eq!(client.events(10).await, values(0, RECORDS..RECORDS + 10));
    assert!(cluster.bytes(TOPIC) <= 8 * LONG, "{}", cluster.bytes(TOPIC));
}

#[tokio::test]
async fn a_record_is_converted_once_for_all_live_streams() {
    let model = kafka(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let convert = move |_: &RecordRef<'_>, _: &mut Changes| {
        count.fetch_add(1, Ordering::Relaxed);
        Conversion::Accepted
    };
    let cluster = instance().live().options(|options| options.converter(TOPIC, convert)).of(&model);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(open(&cluster, query()).await);
    }
    for client in &mut clients {
        eventually(|| client.is_idle() && client.stream.is_following()).await;
    }
    fill(&model, 0, 10);
    for client in &mut clients {
        assert_eq!(client.events(10).await, values(0, 0..10));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 10);
}

#[tokio::test]
async fn a_converter_is_looked_up_by_the_name_of_a_topic() {
    let model = kafka(1);
    model.create("others", 1);
    let converter: Arc<dyn crate::ConvertRecord> = Arc::new(convert);
    let lookup = move |topic: &str| (topic == TOPIC).then(|| Arc::clone(&converter));
    let cluster = instance().options(|options| options.converters(lookup)).of(&model);
    for (topic, expected) in [(TOPIC, "<1>"), ("others", "1")] {
        model.produce(topic, 0, text("1"));
        let mut client = open(&cluster, Query::new(topic)).await;
        assert_eq!(client.data().await, expected);
    }
}
