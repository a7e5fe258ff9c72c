//! A log of events as a source: what clients receive when they connect, reconnect and fall behind.

mod support;

use std::pin::Pin;

use http::Request;
use support::{get, read};
use tailwater_sse::{
    Event, EventLog, EventLogSource, EventLogStream, Item, Message, Parser, SseBody, SseLayer,
};
use tokio_test::task::spawn;
use tower::Layer;

type Body = Pin<Box<SseBody<EventLogStream>>>;

/// A client, as an `EventSource` is one.
struct Client {
    source: EventLogSource,
    parser: Parser,
    body: Option<Body>,
}

impl Client {
    fn new(source: EventLogSource) -> Self {
        Self { source, parser: Parser::new(), body: None }
    }

    fn with_id(mut self, id: &str) -> Self {
        self.parser.push(format!("id:{id}\n\n").as_bytes());
        assert!(self.parser.pull().expect("an event stream").is_some());
        self
    }

    async fn connect(&mut self) {
        self.parser.reconnect();
        let mut request = Request::builder();
        let id = self.parser.last_event_id();
        if !id.is_empty() {
            request = request.header("last-event-id", id);
        }
        let request = request.body(()).expect("a request");
        let service = SseLayer::new().write_limit(100).layer(self.source.clone());
        self.body = Some(Box::pin(get(service, request).await.into_body()));
    }

    /// What is there without waiting, but no more than this many writes.
    async fn receive(&mut self, writes: usize) -> Vec<Message> {
        if self.body.is_none() {
            self.connect().await;
        }
        let mut body = spawn(self.body.take().expect("connected"));
        let mut messages = Vec::new();
        for _ in 0..writes {
            let polled = body.enter(|cx, body| http_body::Body::poll_frame(body, cx));
            let std::task::Poll::Ready(Some(frame)) = polled else { break };
            self.parser.push(&frame.expect("no error").into_data().expect("data"));
        }
        while let Some(item) = self.parser.pull().expect("an event stream") {
            if let Item::Message(message) = item {
                messages.push(message);
            }
        }
        self.body = Some(body.into_inner());
        messages
    }

    async fn receive_data(&mut self) -> Vec<String> {
        data(&self.receive(usize::MAX).await)
    }
}

fn data(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.data_lossy().into_owned()).collect()
}

fn send(log: &EventLog, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| log.send(Event::data(number.to_string())));
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_client_that_reconnects_receives_each_event_once() {
    let log = EventLog::new(1 << 20);
    send(&log, 0..10);
    // One disconnects between any two writes, and the other one stays.
    let mut restless = Client::new(log.source());
    let mut calm = Client::new(log.source());
    restless.receive(2).await;
    assert_eq!(calm.receive_data().await, numbers(0..0));

    let mut received = Vec::new();
    for round in 0..50 {
        send(&log, 10 + round * 3..13 + round * 3);
        received.extend(data(&restless.receive(round as usize % 4).await));
        restless.body = None;
    }
    received.extend(restless.receive_data().await);
    assert_eq!(received, numbers(10..160));
    assert_eq!(calm.receive_data().await, numbers(10..160));
}

#[tokio::test]
async fn a_client_that_has_received_nothing_resumes_where_it_began() {
    let log = EventLog::new(1 << 20);
    send(&log, 0..3);
    let mut client = Client::new(log.source());
    assert_eq!(client.receive_data().await, numbers(0..0));
    client.body = None;
    send(&log, 3..5);
    assert_eq!(client.receive_data().await, numbers(3..5));

    // Without the block it has no id, and begins at the end again.
    let mut client = Client::new(log.source().id_only_blocks(false));
    assert_eq!(client.receive_data().await, numbers(0..0));
    assert_eq!(client.parser.last_event_id(), b"");
    client.body = None;
    send(&log, 5..7);
    assert_eq!(client.receive_data().await, numbers(0..0));
}

#[tokio::test]
async fn a_client_without_an_id_may_start_at_the_oldest_event() {
    let log = EventLog::new(1 << 20);
    send(&log, 0..3);
    assert_eq!(Client::new(log.source().from_earliest()).receive_data().await, numbers(0..3));
}

/// The gap, and the data of the events after it.
fn gap(messages: &[Message]) -> (&[u8], Vec<String>) {
    let (gap, rest) = messages.split_first().expect("a gap");
    assert_eq!(gap.event.as_deref(), Some(&b"gap"[..]));
    assert!(rest.iter().all(|message| message.event.is_none()), "one gap");
    (&gap.data, data(rest))
}

/// The numbers of the first event that was missed and of the one after the last.
fn bounds(gap: &[u8]) -> (u32, u32) {
    let text = std::str::from_utf8(gap).expect("text");
    let text = text.strip_prefix(r#"{"from":"#).and_then(|text| text.strip_suffix('}'));
    let bounds = text.and_then(|text| text.split_once(r#","reason":"retention","to":"#));
    let (from, to) = bounds.expect("a gap of events that are not kept");
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

#[tokio::test]
async fn an_id_older_than_the_log_keeps_is_a_gap() {
    let log = EventLog::new(4096);
    let mut client = Client::new(log.source());
    client.receive_data().await;
    send(&log, 0..2);
    assert_eq!(client.receive_data().await, numbers(0..2));
    client.body = None;

    send(&log, 2..1000);
    let messages = client.receive(usize::MAX).await;
    let (missed, rest) = gap(&messages);
    let (from, to) = bounds(missed);
    assert!(from == 2 && to > 900, "{from} {to}");
    assert_eq!(rest, numbers(to..1000));

    // The id of the gap is behind it.
    let id = messages[0].id.clone().expect("an id");
    let id = std::str::from_utf8(&id).expect("text");
    assert_eq!(Client::new(log.source()).with_id(id).receive_data().await, rest);
}

#[tokio::test]
async fn a_stream_that_is_too_slow_has_a_gap_and_goes_on() {
    let log = EventLog::new(4096);
    let mut client = Client::new(log.source());
    client.receive_data().await;
    for round in 1..4 {
        send(&log, (round - 1) * 1000..round * 1000);
        let messages = client.receive(usize::MAX).await;
        let (missed, rest) = gap(&messages);
        let (from, to) = bounds(missed);
        assert_eq!(from, (round - 1) * 1000);
        assert_eq!(rest, numbers(to..round * 1000));
    }
}

#[tokio::test]
async fn an_id_of_another_log_is_a_gap_before_all_that_is_kept() {
    let other = EventLog::new(1 << 20);
    let log = EventLog::new(1 << 20);
    send(&other, 0..3);
    send(&log, 10..12);
    let mut client = Client::new(other.source());
    client.receive_data().await;
    let before = String::from_utf8(client.parser.last_event_id().to_vec()).expect("text");
    let own = Client::new(log.source()).receive(2).await;
    assert!(own.is_empty());

    for id in [&before, "nonsense", "-", "00000000-1", "7"] {
        let mut client = Client::new(log.source()).with_id(id);
        let messages = client.receive(usize::MAX).await;
        let (data, rest) = gap(&messages);
        assert_eq!(data, br#"{"from":null,"reason":"id","to":null}"#, "{id}");
        assert_eq!(rest, numbers(10..12), "{id}");
        // It has an id of this log from then on.
        client.body = None;
        assert_eq!(client.receive_data().await, numbers(0..0), "{id}");
    }
}

#[tokio::test]
async fn an_id_beyond_the_end_is_not_of_this_log() {
    let log = EventLog::new(1 << 20);
    send(&log, 0..2);
    let mut client = Client::new(log.source());
    client.receive_data().await;
    let id = String::from_utf8(client.parser.last_event_id().to_vec()).expect("text");
    let beyond = id.strip_suffix('2').expect("two events").to_owned() + "3";
    let messages = Client::new(log.source()).with_id(&beyond).receive(usize::MAX).await;
    assert_eq!(gap(&messages), (&br#"{"from":null,"reason":"id","to":null}"#[..], numbers(0..2)));
}

#[tokio::test]
async fn an_event_has_the_id_of_the_log_and_a_timestamp_for_whom_accepts_it() {
    let log = EventLog::new(1 << 20);
    log.send(Event::data("x").event("quote").id("own").timestamp(255));
    log.close();
    for (accept, timestamp) in
        [("*/*", ""), ("text/event-stream;ext=timestamp", "timestamp:0xff\n")]
    {
        let request = Request::builder().header("accept", accept).body(()).expect("a request");
        let service = SseLayer::new().layer(log.source().from_earliest());
        let body = read(Box::pin(get(service, request).await.into_body())).await;
        let (_, event) = body.split_once(":\n").expect("a first write");
        let (fields, id) = event.split_once("id:").expect("an id");
        assert_eq!(fields, format!("{timestamp}event:quote\ndata:x\n"));
        assert!(id.len() == 12 && id.ends_with("-1\n\n"), "{id}");
    }
}

#[tokio::test]
async fn a_closed_log_ends_its_streams_after_the_last_event() {
    let log = EventLog::new(1 << 20);
    let mut client = Client::new(log.source());
    client.receive_data().await;
    send(&log, 0..2);
    log.close();
    log.send(Event::data("late"));
    assert_eq!(client.receive_data().await, numbers(0..2));
    let body = client.body.take().expect("connected");
    assert!(http_body::Body::is_end_stream(&*body));
}

#[tokio::test]
async fn events_wake_the_streams_that_wait() {
    let log = EventLog::new(1 << 20);
    let mut client = Client::new(log.source());
    client.receive_data().await;
    let mut body = spawn(client.body.take().expect("connected"));
    assert!(body.enter(|cx, body| http_body::Body::poll_frame(body, cx)).is_pending());
    assert!(!body.is_woken());
    send(&log, 0..1);
    assert!(body.is_woken());
}
