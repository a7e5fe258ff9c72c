//! The bytes of a record's event on the wire.

use super::*;
use crate::EventIdFormat;

async fn only(message: Message<'_>, change: impl FnOnce(Query) -> Query) -> Client {
    let model = kafka(1);
    model.produce(TOPIC, 0, message);
    let mut client = open(&instance().of(&model), change(query())).await;
    client.write().await;
    client
}

#[tokio::test]
async fn records_are_written_in_the_form_of_the_reference() {
    let etag = [("etag", Some(&b"revision=42"[..]))];
    let null = [("etag", None), ("etag", Some(&b"2"[..]))];
    let value = keyed("key", "v");
    let rows: [(Message<'_>, EventIdFormat, &str); 9] = [
        (value, EventIdFormat::Etag, "data:v\nid:AQIAAg==\n\n"),
        (
            Message { headers: &etag, ..value },
            EventIdFormat::Etag,
            "data:v\nid:AQIAAg==/revision=42\n\n",
        ),
        (Message { headers: &null, ..value }, EventIdFormat::Etag, "data:v\nid:AQIAAg==\n\n"),
        (
            Message { headers: &etag, ..value },
            EventIdFormat::KeyAndEtag,
            "data:v\nid:[\"a2V5\",\"AQIAAg==/revision=42\"]\n\n",
        ),
        (text("v"), EventIdFormat::KeyAndEtag, "data:v\nid:[null,\"AQIAAg==\"]\n\n"),
        (text(""), EventIdFormat::Etag, "data:\nid:AQIAAg==\n\n"),
        (
            Message { value: None, ..value },
            EventIdFormat::Etag,
            "event:delete\ndata:a2V5\nid:AQIAAg==\n\n",
        ),
        (Message::default(), EventIdFormat::Etag, "event:delete\ndata:\nid:AQIAAg==\n\n"),
        (
            Message { headers: &[("a", None), ("", Some(b""))], ..value },
            EventIdFormat::Etag,
            "data:v\nid:AQIAAg==\n\n",
        ),
    ];
    for (message, form, expected) in rows {
        let client =
            only(message, |query| query.options(StreamOptions::new().event_id_format(form))).await;
        assert_eq!(String::from_utf8_lossy(&client.wire), expected);
    }
}

#[tokio::test]
async fn events_begin_with_the_time_of_the_record_where_that_is_asked_for() {
    let message = Message { timestamp: Some(1_700_000_000_000), ..text("v") };
    let client = only(message, |query| query.options(StreamOptions::new().timestamps(true))).await;
    assert_eq!(client.wire, b"timestamp:0x18bcfe56800\ndata:v\nid:AQIAAg==\n\n");
    let client = only(message, |query| query).await;
    assert_eq!(client.wire, b"data:v\nid:AQIAAg==\n\n");
    let client =
        only(text("v"), |query| query.options(StreamOptions::new().timestamps(true))).await;
    assert_eq!(client.wire, b"data:v\nid:AQIAAg==\n\n", "a record without a time");
}

#[tokio::test]
async fn views_of_one_log_do_not_mix() {
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut plain = open(&cluster, query()).await;
    let options = StreamOptions::new().timestamps(true).event_id_format(EventIdFormat::KeyAndEtag);
    let mut timed = open(&cluster, query().options(options)).await;
    let mut also = open(&cluster, query()).await;
    for _ in 0..2 {
        model.produce(TOPIC, 0, Message { timestamp: Some(255), ..keyed("key", "v") });
    }
    for client in [&mut plain, &mut timed, &mut also] {
        client.events(2).await;
    }
    assert_eq!(plain.wire, b"data:v\nid:AQIAAg==\n\ndata:v\nid:AQIABA==\n\n");
    assert_eq!(also.wire, plain.wire);
    assert_eq!(
        timed.wire,
        b"timestamp:0xff\ndata:v\nid:[\"a2V5\",\"AQIAAg==\"]\n\n\
          timestamp:0xff\ndata:v\nid:[\"a2V5\",\"AQIABA==\"]\n\n"
    );
}

/// The data that an `EventSource` gets for a value: CR and CRLF end lines as LF does.
fn lines(value: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut rest = value.iter().peekable();
    while let Some(&byte) = rest.next() {
        if byte == b'\r' {
            rest.next_if(|next| **next == b'\n');
            lines.push(b'\n');
        } else {
            lines.push(byte);
        }
    }
    lines
}

#[tokio::test]
async fn any_value_reads_back_and_forges_nothing() {
    let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let large: Vec<u8> =
        (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let rows: [&[u8]; 9] = [
        b"",
        b" leading",
        b"\n",
        b"a\r\nb\rc\nd",
        b"x\n\nevent:delete\ndata:forged\nid:AQIA\n\n",
        b"\0\xff\xfe\xc3\x28",
        b"\xEF\xBB\xBFdata:bom",
        &all,
        &large,
    ];
    for history in [true, false] {
        let model = kafka(1);
        let cluster = instance().of(&model);
        let mut client = open(&cluster, query()).await;
        if !history {
            assert!(client.is_idle());
            model.produce(TOPIC, 0, text("first"));
            assert_eq!(client.data().await, "first");
        }
        for value in rows {
            let headers = [("null", None), ("etag", Some(value))];
            let message = Message {
                key: Some(value),
                value: Some(value),
                headers: &headers,
                timestamp: None,
            };
            model.produce(TOPIC, 0, message);
            model.produce(TOPIC, 0, Message { value: None, ..message });
        }
        for value in rows {
            let Item::Message(message) = client.item().await else { panic!("no message") };
            assert_eq!(message.event, None);
            assert!(message.data == lines(value), "{:?}", &value[..value.len().min(100)]);
            let Item::Message(message) = client.item().await else { panic!("no message") };
            assert_eq!(message.event.as_deref(), Some(&b"delete"[..]));
            assert!(crate::EventId::decode(&message.id.unwrap()).is_some());
        }
        assert!(client.is_idle());
    }
}

#[tokio::test]
async fn a_write_is_no_longer_than_asked_unless_one_event_is() {
    let model = kafka(1);
    for padding in [10, 300, 10, 10, 10, 2000, 10] {
        fill_one(&model, 0, None, padding);
    }
    for query in [query(), key("none").filter(Filter::any().header("none", "")), after(&[2])] {
        let mut client = open(&instance().batch(100).of(&model), query).await;
        client.limit = 400;
        if !client.wire.is_empty() {
            continue;
        }
        fill_one(&model, 0, Some("none"), 0);
        let last = format!("0:{}", model.high(TOPIC, 0) - 1);
        loop {
            let write = client.write().await;
            let events = write.windows(2).filter(|end| end == b"\n\n").count();
            assert!(write.len() <= 400 || events == 1, "{} bytes, {events} events", write.len());
            if String::from_utf8_lossy(&write).contains(&last) {
                break;
            }
        }
    }
}
