//! A stream of events as a source.

mod support;

use std::convert::Infallible;

use futures_util::{StreamExt, stream};
use support::{open, read};
use tailwater_sse::{Event, SseLayer, from_stream};
use tokio::sync::mpsc;

fn ok(data: &'static str) -> Result<Event, Infallible> {
    Ok(Event::data(data))
}

#[tokio::test]
async fn events_that_are_ready_are_one_write_up_to_the_limit() {
    let events = stream::iter(["a", "b", "c d e f g h i j", "k"].map(ok));
    let layer = SseLayer::new().write_limit(20);
    let mut stream = open(&layer, from_stream(events)).await;
    stream.first_write();
    assert_eq!(stream.next().as_deref(), Some("data:a\n\ndata:b\n\n"));
    // An event that is longer than the limit is written alone.
    assert_eq!(stream.next().as_deref(), Some("data:c d e f g h i j\n\n"));
    assert_eq!(stream.next().as_deref(), Some("data:k\n\n"));
    assert_eq!(stream.next(), None);
}

#[tokio::test]
async fn every_field_is_written_and_read_back() {
    let event = Event::data(vec![b' ', b'\r', b'x']).event("quote").id(7.to_string()).timestamp(-1);
    let events = stream::iter([Ok::<_, Infallible>(event), Ok(Event::default().id(""))]);
    let stream = open(&SseLayer::new(), from_stream(events)).await;
    let body = read(stream.into_body()).await;
    let expected = "timestamp:0xffffffffffffffff\nevent:quote\ndata:  \ndata:x\nid:7\n\nid:\n\n";
    assert!(body.ends_with(expected), "{body}");
}

#[tokio::test]
async fn an_error_ends_the_stream_after_the_events_before_it() {
    let events = stream::iter([Ok(Event::data("a")), Err("broken"), Ok(Event::data("b"))]);
    let mut stream = open(&SseLayer::new(), from_stream(events)).await;
    stream.first_write();
    assert_eq!(stream.next().as_deref(), Some("data:a\n\n"));
    assert_eq!(stream.next(), None);
    assert!(stream.is_end_stream());
}

#[tokio::test]
async fn a_stream_is_polled_again_when_it_wakes_and_not_after_its_end() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let events = stream::poll_fn(move |cx| receiver.poll_recv(cx)).map(ok);
    let mut stream = open(&SseLayer::new(), from_stream(events)).await;
    stream.first_write();
    stream.assert_quiet();
    sender.send("a").expect("the stream is open");
    assert!(stream.is_woken());
    assert_eq!(stream.next().as_deref(), Some("data:a\n\n"));
    stream.assert_quiet();
    drop(sender);
    assert_eq!(stream.next(), None);
}

#[tokio::test]
async fn a_body_that_is_dropped_drops_the_stream() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let events = stream::poll_fn(move |cx| receiver.poll_recv(cx)).map(ok);
    let stream = open(&SseLayer::new(), from_stream(events)).await;
    assert!(!sender.is_closed());
    drop(stream);
    assert!(sender.is_closed());
}
