use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::{Request, Response};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tailwater_http::Peer;
use tailwater_sse::{BoxError, Drain, Encoded, Events, Rejection, SseLayer, Subscription};
use tokio::sync::mpsc;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::body::TrackedBody;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A source that a test drives.
struct Source(mpsc::UnboundedReceiver<Result<Encoded, BoxError>>);

type Feed = mpsc::UnboundedSender<Result<Encoded, BoxError>>;

impl Events for Source {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let polled = self.0.poll_recv(cx);
        if let Poll::Ready(Some(Ok(event))) = &polled
            && event.clone().into_bytes() == "panic"
        {
            panic!("a source that panics");
        }
        polled
    }
}

fn event(text: &'static str) -> Result<Encoded, BoxError> {
    Ok(Encoded::trusted(Bytes::from_static(text.as_bytes())))
}

/// Opens a stream with this layer, from this port of the client.
async fn open(
    streams: &Streams,
    layer: &SseLayer,
    port: u16,
) -> (Feed, Response<TrackedBody<Source>>) {
    let (feed, events) = mpsc::unbounded_channel();
    let mut source = Some(Source(events));
    let service = service_fn(move |_: Subscription| {
        let source = source.take().expect("one request");
        async { Ok::<_, Rejection>(source) }
    });
    let track = TrackLayer::new(streams, |_: &Source| None);
    let mut request = Request::new(());
    let place = Place { binding: "orders".into(), route: Some("/orders".into()) };
    request.extensions_mut().insert(Arc::new(place));
    request.extensions_mut().insert(Peer::new((Ipv4Addr::LOCALHOST, port).into()));
    let Ok(response) = track.layer(layer.layer(service)).oneshot(request).await;
    (feed, response)
}

fn streams() -> Streams {
    Streams::new(Shutdown::new())
}

/// The reasons for which streams have ended.
fn ended(streams: &Streams) -> Vec<(&'static str, u64)> {
    let counts = streams.counts();
    let ended = counts.iter().flat_map(StreamCounts::ended).filter(|(_, count)| *count > 0);
    ended.map(|(reason, count)| (reason.name(), count)).collect()
}

async fn next(body: &mut Pin<Box<TrackedBody<Source>>>) -> Option<String> {
    let frame = body.frame().await?.expect("no error").into_data().expect("data");
    Some(String::from_utf8(frame.to_vec()).expect("text"))
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_listed_from_its_response_until_it_is_dropped() {
    let streams = streams();
    let (feed, response) = open(&streams, &SseLayer::new(), 1).await;
    let opened = response.extensions().get::<Opened>().expect("the stream").0.clone();
    let mut body = Box::pin(response.into_body());
    assert_eq!(streams.len(), 1);
    assert_eq!(streams.counts()[0].open(), 1);
    assert_eq!(streams.find(opened.id()).unwrap().peer().port(), 1);
    assert_eq!(opened.id().to_string().parse(), Ok(opened.id()));
    tokio::time::advance(5 * SECOND).await;
    let first = next(&mut body).await.unwrap().len() as u64;
    feed.send(event("data:x\n\n")).unwrap();
    assert_eq!(next(&mut body).await.as_deref(), Some("data:x\n\n"));
    assert_eq!(opened.bytes(), first + 8);
    let written = streams.time(opened.last_write_ms());
    assert_eq!(written.duration_since(streams.time(opened.opened_ms())).unwrap(), 5 * SECOND);
    drop(body);
    assert_eq!((streams.len(), streams.counts()[0].open()), (0, 0));
    assert_eq!(ended(&streams), [("client", 1)]);
}

#[tokio::test(start_paused = true)]
async fn each_end_has_its_reason() {
    let shutdown = Shutdown::new();
    let streams = Streams::new(shutdown.clone());
    let drain = Drain::new();
    let layer = SseLayer::new().drain(&drain).max_age(10 * SECOND);

    let (feed, response) = open(&streams, &layer, 1).await;
    drop(feed);
    response.into_body().collect().await.unwrap();
    assert_eq!(ended(&streams), [("source", 1)]);

    let (_feed, response) = open(&streams, &layer, 1).await;
    response.into_body().collect().await.unwrap();
    assert_eq!(ended(&streams), [("max_age", 1), ("source", 1)]);

    let (feed, response) = open(&streams, &layer, 1).await;
    feed.send(event("panic")).unwrap();
    let panicked = tokio::spawn(response.into_body().collect()).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(ended(&streams), [("max_age", 1), ("source", 1), ("panicked", 1)]);

    drain.start(Duration::ZERO);
    let (_feed, response) = open(&streams, &layer, 1).await;
    let (_feed, late) = open(&streams, &SseLayer::new(), 1).await;
    response.into_body().collect().await.unwrap();
    assert_eq!(ended(&streams)[0], ("drain", 1));

    shutdown.begin(SECOND);
    let (_feed, left) = open(&streams, &SseLayer::new(), 1).await;
    drop(left);
    assert_eq!(ended(&streams)[0], ("client", 1), "the drain window is not over");
    tokio::time::advance(SECOND).await;
    drop(late);
    let expected =
        [("client", 1), ("drain", 1), ("cut", 1), ("max_age", 1), ("source", 1), ("panicked", 1)];
    assert_eq!(ended(&streams), expected);
}

#[tokio::test(start_paused = true)]
async fn a_kick_wakes_an_idle_stream_and_ends_it_after_a_whole_event() {
    let streams = streams();
    let kick = Kick { reason: Reason::Kicked, retry: Some(7 * SECOND) };
    let mut reading = Vec::new();
    for port in 1..=3 {
        let (feed, response) = open(&streams, &SseLayer::new(), port).await;
        feed.send(Ok(Encoded::part(Bytes::from_static(b"data:x")))).unwrap();
        reading.push((feed, tokio::spawn(response.into_body().collect())));
    }
    tokio::task::yield_now().await;
    assert_eq!(streams.kick(kick, |stream| stream.peer().port() != 2), 2);
    assert_eq!(streams.kick(kick, |stream| stream.peer().port() != 2), 0, "it was kicked before");
    tokio::task::yield_now().await;
    assert_eq!(streams.len(), 3, "an event is being written");
    for (feed, _) in &reading {
        feed.send(event("y\n\n")).unwrap();
    }
    for (number, (feed, reading)) in reading.into_iter().enumerate() {
        if number == 1 {
            assert!(!reading.is_finished());
            reading.abort();
            continue;
        }
        let read = reading.await.unwrap().unwrap().to_bytes();
        assert!(read.ends_with(b"data:xy\n\nretry:7000\n"), "{read:?}");
        assert!(feed.is_closed());
    }
    while streams.len() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ended(&streams), [("client", 1), ("kicked", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_moves_to_another_task_is_still_kicked() {
    let streams = streams();
    let (_feed, response) = open(&streams, &SseLayer::new().keep_alive(Duration::ZERO), 1).await;
    let mut body = Box::pin(response.into_body());
    next(&mut body).await.unwrap();
    assert!(!is_ready(&mut body).await, "it is idle");
    let reading = tokio::spawn(async move { body.frame().await });
    tokio::task::yield_now().await;
    streams.kick(Kick { reason: Reason::Reload, retry: None }, |_| true);
    let closing = reading.await.unwrap().unwrap().unwrap().into_data().unwrap();
    assert!(closing.starts_with(b"retry:"), "{closing:?}");
    assert_eq!(ended(&streams), [("reload", 1)]);
}

/// Polls a body once, and returns whether it had something to write.
async fn is_ready(body: &mut Pin<Box<TrackedBody<Source>>>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx).is_ready())).await
}

#[tokio::test]
async fn ten_thousand_streams_are_listed_in_turns_and_in_order() {
    let streams = streams();
    let mut open_streams = Vec::new();
    for port in 0..10_000 {
        open_streams.push(open(&streams, &SseLayer::new(), port).await);
    }
    let mut ids = Vec::new();
    let begun = Instant::now();
    streams.visit(None, |stream| {
        ids.push(stream.id());
        // The list is not locked meanwhile.
        assert_eq!(streams.len(), 10_000);
        true
    });
    println!("10 000 streams in {:?}", begun.elapsed());
    assert_eq!(ids.len(), 10_000);
    assert!(ids.is_sorted());
    let mut after = Vec::new();
    streams.visit(Some(ids[9_000]), |stream| {
        after.push(stream.id());
        after.len() < 10
    });
    assert_eq!(after, ids[9_001..9_011]);
}

#[test]
fn ids_are_read_as_they_are_written() {
    for (text, expected) in [
        ("s-4f2a91", Some(0x4f_2a91)),
        ("s-000001", Some(1)),
        ("s-ffffffffffffffff", Some(u64::MAX)),
        ("s-10000000000000000", None),
        ("s-", None),
        ("s-+1", None),
        ("s-4F", None),
        ("4f2a91", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected.map(StreamId), "{text}");
    }
}

#[test]
fn an_entry_is_small() {
    let bytes = size_of::<OpenStream>() + 16;
    println!(
        "an entry: {bytes} bytes, a body: {} more",
        size_of::<TrackedBody<Source>>() - size_of::<tailwater_sse::SseBody<Source>>()
    );
    assert!(bytes <= 160, "{bytes} bytes");
}

/// The allocator has no size between 640 and 768.
#[cfg(feature = "kafka")]
#[test]
fn the_body_of_a_stream_of_a_topic_fits_640_bytes() {
    let size = size_of::<TrackedBody<tailwater_kafka::Stream>>();
    assert!(size <= 640, "{size}");
}
