//! Records that are converted for one stream alone.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::*;
use crate::{Changes, Conversion, RecordRef};

/// Line ends and NUL, which are bytes as any other to a converter.
const BYTES: [&[u8]; 6] = [b"\r", b"\n", b"\r\n", b"\0", b"a\r\n\n\r\0b", b""];

fn write(model: &Model, key: &str, value: Option<&[u8]>) {
    model.produce(TOPIC, 0, Message { key: Some(key.as_bytes()), value, ..Message::default() });
}

fn converted(
    query: Query,
    convert: impl Fn(&RecordRef<'_>, &mut Changes) -> Conversion + Send + Sync + 'static,
) -> Query {
    query.converter(Arc::new(convert))
}

/// The value in hexadecimal digits. Rejects `bad`.
fn hex(record: &RecordRef<'_>, changes: &mut Changes) -> Conversion {
    let value = record.value().expect("no tombstone is converted");
    if value == b"bad" {
        return Conversion::Rejected { reason: "bad", detail: "the value is bad".into() };
    }
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    changes.value_mut().extend_from_slice(digits.as_bytes());
    // These changes have no effect.
    changes.key_mut().extend_from_slice(b"other");
    changes.add_header("etag", Some(b"other".to_vec()));
    Conversion::Accepted
}

fn hex_of(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line end of the value became LF when the event was encoded before it was converted.
#[tokio::test]
async fn a_converter_of_a_stream_gets_the_bytes_of_the_value() {
    let model = kafka(1);
    let long = b"\r\n\0".repeat(400_000);
    let values: Vec<&[u8]> = BYTES.into_iter().chain([&long[..]]).collect();
    let cluster = instance().of(&model);
    let keyed = StreamOptions::new().event_id_format(crate::EventIdFormat::KeyAndEtag);
    let mut live = open(&cluster, converted(query().options(keyed), hex)).await;
    for value in &values {
        write(&model, "k", Some(value));
    }
    write(&model, "k", None);
    let mut late = open(&cluster, converted(key("k").options(keyed), hex)).await;
    let mut other = open(&cluster, converted(key("other"), hex)).await;
    for client in [&mut live, &mut late] {
        for (offset, value) in (1..).zip(&values) {
            assert_eq!(client.data().await, hex_of(value));
            let id = format!(r#"["aw==","{}"]"#, id_of(&[offset]));
            assert_eq!(client.last_event_id().unwrap(), id);
        }
        assert_eq!(client.data().await, "delete aw==");
    }
    assert!(other.is_idle(), "filters see the record as it is in the log");
    // Other streams of the topic get the records as they are.
    let mut plain = open(&cluster, after(&[4])).await;
    assert_eq!(plain.data().await, "a\n\n\n\0b");
    let resumed = open(&cluster, converted(after(&[2]), hex)).await.events(1).await;
    assert_eq!(resumed, [hex_of(b"\r\n")]);
}

#[tokio::test]
async fn it_comes_after_the_converter_of_the_topic() {
    let model = kafka(1);
    write(&model, "k", Some(b"1"));
    let angles = |record: &RecordRef<'_>, changes: &mut Changes| {
        changes.value_mut().extend([b"<", record.value().unwrap(), b">"].concat());
        Conversion::Accepted
    };
    let cluster = instance().options(|options| options.converter(TOPIC, angles)).of(&model);
    assert_eq!(open(&cluster, converted(query(), hex)).await.data().await, hex_of(b"<1>"));
}

#[tokio::test]
async fn a_record_that_it_rejects_is_passed_over_and_told_if_wanted() {
    let model = kafka(1);
    for value in [&b"1"[..], b"bad", b"bad"] {
        write(&model, "k", Some(value));
    }
    // History is held until all streams have joined, so that one read brings the rejected neighbours.
    model.hold_history(true);
    let cluster = instance().batch(100).of(&model);
    let mut all = open(&cluster, converted(query(), hex)).await;
    // Ahead of the log that is opened.
    let mut ahead = open(&cluster, converted(after(&[2]), hex)).await;
    let telling = query().options(StreamOptions::new().invalid_gaps(true).live_event(true));
    let mut told = open(&cluster, converted(telling, hex)).await;
    eventually(|| {
        for client in [&mut all, &mut ahead, &mut told] {
            assert!(client.is_idle());
        }
        cluster.carried() == 3
    })
    .await;
    model.hold_history(false);
    assert_eq!(all.data().await, hex_of(b"1"));
    let gap = r#"gap {"from":1,"partition":0,"reason":"invalid","to":3}"#;
    assert_eq!(told.events(3).await, [&*hex_of(b"1"), gap, "live {}"]);
    assert_eq!(told.last_event_id().unwrap(), id_of(&[3]));
    for client in [&mut all, &mut ahead] {
        let position = format!("id:{}\n\n", id_of(&[3]));
        eventually(|| client.is_idle() && client.idle().as_ref() == Some(&position)).await;
        assert_eq!(client.idle(), None, "it was said");
    }
    write(&model, "k", Some(b"2"));
    for client in [&mut all, &mut ahead, &mut told] {
        assert_eq!(client.data().await, hex_of(b"2"));
        assert_eq!(client.last_event_id().unwrap(), id_of(&[4]));
    }
    assert!(cluster.health().topics.iter().all(|topic| topic.rejected.is_empty()));
}

#[tokio::test]
async fn a_value_that_becomes_larger_than_is_served_is_a_gap() {
    let model = kafka(1);
    write(&model, "", Some(&[b'v'; 50]));
    write(&model, "", Some(&[b'v'; 51]));
    let cluster = instance().options(|options| options.max_record_bytes(100)).of(&model);
    let mut client = open(&cluster, converted(query(), hex)).await;
    assert_eq!(client.data().await, "76".repeat(50));
    assert_eq!(client.data().await, r#"gap {"from":1,"partition":0,"reason":"too_large","to":2}"#);
}

#[tokio::test]
async fn a_record_that_cannot_be_converted_yet_holds_up_its_stream_alone() {
    let model = kafka(1);
    for value in ["1", "wait", "2"] {
        write(&model, "k", Some(value.as_bytes()));
    }
    let (open_gate, gate) = watch::channel(false);
    let waiting = move |record: &RecordRef<'_>, changes: &mut Changes| {
        if record.value() == Some(b"wait") && !*gate.borrow() {
            let mut gate = gate.clone();
            return Conversion::NotYet(Box::pin(async move { drop(gate.changed().await) }));
        }
        hex(record, changes)
    };
    let telling = query().options(StreamOptions::new().live_event(true));
    let cluster = instance().of(&model);
    let mut client = open(&cluster, converted(telling, waiting)).await;
    assert_eq!(client.data().await, hex_of(b"1"));
    let mut other = open(&cluster, query()).await;
    assert_eq!(other.events(3).await, ["1", "wait", "2"]);
    eventually(|| client.is_idle()).await;
    // Nothing says that the record was delivered.
    assert_eq!(client.idle(), None);
    assert_eq!(client.last_event_id().unwrap(), id_of(&[1]));
    open_gate.send(true).unwrap();
    assert_eq!(client.events(3).await, [&*hex_of(b"wait"), &hex_of(b"2"), "live {}"]);
    assert_eq!(client.last_event_id().unwrap(), id_of(&[3]));
}

/// A converter that says at once that it is worth to try again was called without end in one poll.
#[tokio::test]
async fn a_retry_that_is_ready_each_time_is_paused() {
    let model = kafka(1);
    write(&model, "k", Some(b"1"));
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let never = move |_: &RecordRef<'_>, _: &mut Changes| {
        count.fetch_add(1, Ordering::Relaxed);
        Conversion::NotYet(Box::pin(async {}))
    };
    let cluster = instance().of(&model);
    let mut client = open(&cluster, converted(query(), never)).await;
    eventually(|| client.is_idle() && calls.load(Ordering::Relaxed) > 0).await;
    assert_eq!(calls.load(Ordering::Relaxed), 8);
    let since = tokio::time::Instant::now();
    let write = poll_fn(|cx| client.stream.as_mut().poll_events(cx, 1024));
    let written = tokio::time::timeout(Duration::from_millis(350), write).await;
    assert!(written.is_err(), "nothing is sent");
    let pauses = since.elapsed().as_millis() / 100 + 1;
    let called = calls.load(Ordering::Relaxed);
    assert!((9..=8 + pauses as usize).contains(&called), "{called} calls in {pauses} pauses");
}

/// Each poll of a stream whose records are all left out read a thousand of them, however long they were.
#[tokio::test]
async fn one_poll_reads_about_as_much_as_it_may_write() {
    let model = kafka(1);
    for _ in 0..20 {
        write(&model, "k", Some(&[b'v'; 1000]));
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let reject = move |_: &RecordRef<'_>, _: &mut Changes| {
        count.fetch_add(1, Ordering::Relaxed);
        Conversion::Rejected { reason: "bad", detail: "the value is bad".into() }
    };
    let cluster = instance().of(&model);
    let mut client = open(&cluster, converted(query(), reject)).await;
    client.limit = 1500;
    let mut before = 0;
    eventually(|| {
        assert!(client.is_idle());
        let now = calls.load(Ordering::Relaxed);
        assert!(now - before <= 2, "{} in one poll", now - before);
        before = now;
        now == 20
    })
    .await;
}
