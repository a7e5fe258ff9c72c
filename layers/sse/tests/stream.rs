//! The writes on an open stream, and its end.

mod support;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use support::{Endless, Stream, open, read, retry, source};
use tailwater_sse::{
    BoxError, Drain, Due, Encoded, End, Events, Item, Lease, Parser, SseBody, SseLayer,
};
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_write_does_not_wait_for_the_source() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    assert!((1600..=2400).contains(&stream.first_write()));
    stream.assert_quiet();
    feed.send("data:x\nid:1\n\n");
    assert!(stream.is_woken());
    assert_eq!(stream.next().as_deref(), Some("data:x\nid:1\n\n"));
    stream.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn reconnection_times_are_spread_around_the_configured_one() {
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let layer = SseLayer::new().retry(10 * SECOND);
        times.insert(open(&layer, Endless).await.first_write());
    }
    assert!(times.iter().all(|time| (8_000..=12_000).contains(time)), "{times:?}");
    assert!(times.len() > 100, "{times:?}");
    assert_eq!(open(&SseLayer::new().retry(Duration::ZERO), Endless).await.first_write(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_event_is_read_right_after_the_first_write() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    feed.send("event:e\ndata:x\nid:1\n\n");
    let mut parser = Parser::new();
    parser.push(stream.next().unwrap().as_bytes());
    parser.push(stream.next().unwrap().as_bytes());
    assert!(matches!(parser.pull(), Ok(Some(Item::Retry(_)))));
    assert_eq!(parser.pull(), Ok(Some(Item::Comment(Bytes::new()))));
    let Ok(Some(Item::Message(message))) = parser.pull() else { panic!("no message") };
    assert_eq!((message.event.as_deref(), &message.data[..]), (Some(&b"e"[..]), &b"x"[..]));
    assert_eq!(parser.pull(), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn the_source_is_asked_for_as_much_as_the_write_limit() {
    for (layer, limit) in [(SseLayer::new(), 64 << 10), (SseLayer::new().write_limit(1000), 1000)] {
        let (feed, source) = source();
        let mut stream = open(&layer, source).await;
        stream.first_write();
        stream.assert_quiet();
        assert_eq!(*feed.limit.lock().unwrap(), Some(limit));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_gets_a_comment_every_fifteen_seconds() {
    let (_feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.first_write();
    for _ in 0..3 {
        stream.assert_quiet();
        advance(15 * SECOND - Duration::from_millis(2)).await;
        stream.assert_quiet();
        advance(Duration::from_millis(4)).await;
        assert!(stream.is_woken());
        assert_eq!(stream.next().as_deref(), Some(":\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_idle_since_its_last_write() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.first_write();
    stream.assert_quiet();
    advance(10 * SECOND).await;
    feed.send("data:x\n\n");
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    stream.assert_quiet();
    // The timer fires at 15 s, finds that something was written at 10 s, and is set to 25 s.
    advance(6 * SECOND).await;
    assert!(stream.is_woken());
    stream.assert_quiet();
    advance(8 * SECOND).await;
    assert!(!stream.is_woken());
    stream.assert_quiet();
    advance(SECOND + Duration::from_millis(2)).await;
    assert!(stream.is_woken());
    assert_eq!(stream.next().as_deref(), Some(":\n"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_gets_its_position_if_that_has_moved() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new().keep_alive(SECOND), source).await;
    stream.first_write();
    stream.assert_quiet();
    *feed.position.lock().unwrap() = Some(Encoded::id(b"7"));
    for expected in ["id:7\n\n", ":\n"] {
        advance(SECOND + Duration::from_millis(2)).await;
        assert_eq!(stream.next().as_deref(), Some(expected));
        stream.assert_quiet();
    }
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_an_idle_stream_is_not_written_to() {
    let (_feed, source) = source();
    let mut stream = open(&SseLayer::new().keep_alive(Duration::ZERO), source).await;
    stream.first_write();
    stream.assert_quiet();
    advance(100_000 * SECOND).await;
    assert!(!stream.is_woken());
    stream.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn durations_beyond_the_clock_mean_never() {
    let (_feed, source) = source();
    let drain = Drain::new();
    let layer = SseLayer::new()
        .keep_alive(Duration::MAX)
        .max_age(Duration::MAX)
        .retry(Duration::MAX)
        .drain(&drain);
    let mut stream = open(&layer, source).await;
    assert!(stream.next().unwrap().starts_with("retry:"));
    stream.assert_quiet();
    drain.start(Duration::MAX);
    stream.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_source_ends_the_stream() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.first_write();
    feed.send("data:last\n\n");
    drop(feed);
    assert_eq!(stream.next().as_deref(), Some("data:last\n\n"));
    assert!(!stream.is_end_stream());
    assert_eq!(stream.next(), None);
    assert!(stream.is_end_stream());
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_source_ends_the_stream_and_is_not_sent() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.first_write();
    feed.send("data:x\n\n");
    feed.events.send(Err("password of the broker: 1234".into())).unwrap();
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    assert_eq!(stream.next(), None);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_drops_its_source() {
    let (feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.first_write();
    stream.assert_quiet();
    assert!(!feed.is_dropped());
    drop(stream);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn an_old_stream_ends_itself_with_a_retry_field() {
    let mut ages = Vec::new();
    for _ in 0..50 {
        let (feed, source) = source();
        let mut stream =
            open(&SseLayer::new().keep_alive(Duration::ZERO).max_age(100 * SECOND), source).await;
        let opened = Instant::now();
        stream.first_write();
        stream.assert_quiet();
        while !stream.is_woken() {
            advance(SECOND / 10).await;
        }
        ages.push(opened.elapsed());
        assert!((1600..=2400).contains(&retry(&stream.next().unwrap())));
        assert!(stream.is_end_stream());
        assert!(feed.is_dropped());
        assert_eq!(stream.next(), None);
    }
    assert!(ages.iter().all(|age| (90 * SECOND..=101 * SECOND).contains(age)), "{ages:?}");
    assert!(ages.iter().max().unwrap().abs_diff(*ages.iter().min().unwrap()) > SECOND, "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_events_ends_at_its_maximum_age() {
    let mut stream = open(&SseLayer::new().max_age(10 * SECOND), Endless).await;
    stream.first_write();
    for _ in 0..1000 {
        assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    }
    advance(10 * SECOND).await;
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    retry(&stream.next().unwrap());
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_no_age_ends_after_what_its_source_has_at_once() {
    let layer = SseLayer::new().max_age(Duration::ZERO);
    let mut stream = open(&layer, Endless).await;
    stream.first_write();
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    retry(&stream.next().unwrap());
    assert_eq!(stream.next(), None);

    let (_feed, source) = source();
    let mut stream = open(&layer, source).await;
    stream.first_write();
    retry(&stream.next().unwrap());
    assert_eq!(stream.next(), None);
}

/// A lease that a test drives. An item that becomes due wakes the stream.
#[derive(Clone, Default)]
struct TestLease {
    due: Arc<Mutex<(Vec<Due>, Option<std::task::Waker>)>>,
    expired: Arc<AtomicBool>,
}

impl TestLease {
    fn push(&self, due: Due) {
        let mut state = self.due.lock().expect("not poisoned");
        state.0.push(due);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl Lease for TestLease {
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let mut state = self.due.lock().expect("not poisoned");
        if state.0.is_empty() {
            state.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.0.remove(0))
    }

    fn permits(&self) -> bool {
        !self.expired.load(Ordering::Relaxed)
    }
}

async fn leased<E: Events + 'static>(source: E) -> (TestLease, Stream<E>) {
    let lease = TestLease::default();
    let given = lease.clone();
    let layer = SseLayer::new().lease(move |_| Some(Box::new(given.clone())));
    let mut stream = open(&layer, source).await;
    stream.first_write();
    (lease, stream)
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_written_at_once() {
    let (feed, source) = source();
    let (lease, mut stream) = leased(source).await;
    stream.assert_quiet();
    lease.push(Due::Challenge(Encoded::trusted("event:challenge\ndata:{}\n\n".into())));
    assert!(stream.is_woken());
    assert_eq!(stream.next().as_deref(), Some("event:challenge\ndata:{}\n\n"));
    stream.assert_quiet();
    feed.send("data:x\n\n");
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_lease() {
    let (feed, source) = source();
    let (lease, mut stream) = leased(source).await;
    stream.assert_quiet();
    lease.push(Due::End);
    assert!(stream.is_woken());
    assert_eq!(stream.next(), None);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_events_is_challenged_and_ends_with_its_lease() {
    let (lease, mut stream) = leased(Endless).await;
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    lease.push(Due::Challenge(Encoded::trusted("event:challenge\ndata:{}\n\n".into())));
    assert_eq!(stream.next().as_deref(), Some("event:challenge\ndata:{}\n\n"));
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    lease.push(Due::End);
    assert_eq!(stream.next(), None);
}

/// A source whose only event comes in these parts.
struct Parts(Vec<Encoded>);

impl Events for Parts {
    fn poll_events(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        if self.0.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(self.0.remove(0)))) }
    }

    fn position(self: Pin<&mut Self>) -> Option<Encoded> {
        Some(Encoded::id(b"place"))
    }
}

fn parts() -> Parts {
    let part = |bytes: &'static str| Encoded::part(bytes.into());
    Parts(vec![part("data:a"), part("b\ndata:c"), Encoded::trusted("d\n\n".into())])
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_within_an_event() {
    let (lease, mut stream) = leased(parts()).await;
    assert_eq!(stream.next().as_deref(), Some("data:a"));
    lease.push(Due::Challenge(Encoded::trusted("event:challenge\ndata:{}\n\n".into())));
    // The client has read nothing for that long.
    advance(60 * SECOND).await;
    assert_eq!(stream.next().as_deref(), Some("b\ndata:c"));
    assert_eq!(stream.next().as_deref(), Some("d\n\n"));
    assert_eq!(stream.next().as_deref(), Some("event:challenge\ndata:{}\n\n"));
    stream.assert_quiet();
}

#[tokio::test(start_paused = true)]
async fn an_old_stream_ends_at_the_end_of_an_event_that_comes_in_parts() {
    let mut stream = open(&SseLayer::new().max_age(SECOND), parts()).await;
    stream.first_write();
    advance(2 * SECOND).await;
    assert_eq!(stream.next().as_deref(), Some("data:a"));
    assert_eq!(stream.next().as_deref(), Some("b\ndata:c"));
    assert_eq!(stream.next().as_deref(), Some("d\n\n"));
    assert!(stream.next().is_some_and(|last| last.starts_with("retry:")));
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn no_part_follows_when_the_lease_does_not_permit_it() {
    let (lease, mut stream) = leased(parts()).await;
    assert_eq!(stream.next().as_deref(), Some("data:a"));
    lease.expired.store(true, Ordering::Relaxed);
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn no_event_follows_when_the_lease_does_not_permit_it() {
    let (feed, source) = source();
    let (lease, mut stream) = leased(source).await;
    feed.send("data:x\n\n");
    feed.send("data:secret\n\n");
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    lease.expired.store(true, Ordering::Relaxed);
    assert_eq!(stream.next(), None);
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn no_comment_and_no_position_follows_when_the_lease_does_not_permit_it() {
    for position in [None, Some(Encoded::id(b"secret"))] {
        let (feed, source) = source();
        let (lease, mut stream) = leased(source).await;
        for expired in [false, true] {
            stream.assert_quiet();
            *feed.position.lock().unwrap() = position.clone();
            lease.expired.store(expired, Ordering::Relaxed);
            advance(15 * SECOND + Duration::from_millis(2)).await;
            assert!(stream.is_woken());
            assert_eq!(stream.next().is_none(), expired);
        }
        assert!(stream.is_end_stream());
        assert!(feed.is_dropped());
    }
}

#[tokio::test(start_paused = true)]
async fn no_closing_field_follows_when_the_lease_does_not_permit_it() {
    let lease = TestLease::default();
    let given = lease.clone();
    let layer = SseLayer::new().max_age(SECOND).lease(move |_| Some(Box::new(given.clone())));

    // The timer ends the stream.
    let (feed, source) = source();
    let mut idle = open(&layer, source).await;
    idle.first_write();
    idle.assert_quiet();
    // The stream ends after a write past its maximum age.
    let mut busy = open(&layer, Endless).await;
    busy.first_write();
    advance(2 * SECOND).await;
    assert_eq!(busy.next().as_deref(), Some("data:x\n\n"));

    lease.expired.store(true, Ordering::Relaxed);
    assert_eq!(idle.next(), None);
    assert!(feed.is_dropped());
    assert_eq!(busy.next(), None);
    assert!(idle.is_end_stream() && busy.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_streams_spread_over_its_window() {
    let drain = Drain::new();
    let layer = SseLayer::new().drain(&drain);
    let mut streams = Vec::new();
    for _ in 0..200 {
        let (feed, source) = source();
        let mut stream = open(&layer, source).await;
        stream.first_write();
        stream.assert_quiet();
        streams.push((feed, stream));
    }
    advance(SECOND).await;
    drain.start(10 * SECOND);
    let mut ended_by_second = Vec::new();
    for second in 0..=10 {
        for (_, stream) in &mut streams {
            assert!(second > 0 || stream.is_woken(), "the drain wakes every stream");
        }
        let before = streams.len();
        streams.retain_mut(|(feed, stream)| match stream.poll() {
            Poll::Ready(Some(write)) => {
                // The rest of the window is added to the usual time.
                assert!(
                    (1600..=2400 + (10 - second) * 1000).contains(&retry(&write)),
                    "{second} s: {write:?}"
                );
                assert_eq!(stream.next(), None);
                assert!(feed.is_dropped());
                false
            }
            Poll::Ready(None) => panic!("no retry field"),
            Poll::Pending => true,
        });
        ended_by_second.push(before - streams.len());
        advance(SECOND + Duration::from_millis(1)).await;
    }
    assert_eq!(streams.len(), 0);
    assert!(ended_by_second[1..].iter().all(|ended| *ended > 0), "{ended_by_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_stream_that_always_has_events() {
    let drain = Drain::new();
    let mut stream = open(&SseLayer::new().drain(&drain), Endless).await;
    stream.first_write();
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    drain.start(10 * SECOND);
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    advance(10 * SECOND).await;
    assert_eq!(stream.next().as_deref(), Some("data:x\n\n"));
    retry(&stream.next().unwrap());
    assert_eq!(stream.next(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_opened_while_draining_ends_after_its_first_write() {
    let drain = Drain::new();
    drain.start(10 * SECOND);
    drain.start(Duration::ZERO);
    let mut longest = 0;
    for _ in 0..50 {
        let (feed, source) = source();
        feed.send("data:x\n\n");
        let mut stream = open(&SseLayer::new().drain(&drain), source).await;
        longest = longest.max(stream.first_write());
        assert!(stream.is_end_stream());
        assert!(feed.is_dropped());
        assert_eq!(stream.next(), None);
    }
    assert!((2_401..=12_400).contains(&longest), "{longest}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_wakes_a_stream_that_has_moved_to_another_task() {
    let drain = Drain::new();
    let (_feed, source) = source();
    let mut stream = open(&SseLayer::new().keep_alive(Duration::ZERO).drain(&drain), source).await;
    stream.first_write();
    stream.assert_quiet();
    let body = stream.into_body();
    let reading = tokio::spawn(read(body));
    tokio::task::yield_now().await;
    drain.start(Duration::ZERO);
    retry(&reading.await.unwrap());
}

#[test]
fn a_stream_is_small() {
    let size = size_of::<SseBody<std::pin::Pin<Box<dyn Events>>>>();
    println!("a body with boxed events: {size} bytes");
    assert!(size <= 288, "{size} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_on_request_after_a_whole_event_and_with_the_given_retry() {
    for (given, expected) in [(Some(7 * SECOND), 7_000..=7_000), (None, 1_600..=2_400)] {
        let (feed, source) = source();
        let mut stream = open(&SseLayer::new(), source).await;
        stream.first_write();
        feed.events.send(Ok(Encoded::part(Bytes::from_static(b"data:x")))).unwrap();
        assert_eq!(stream.next().as_deref(), Some("data:x"));
        stream.end(given);
        stream.assert_quiet();
        feed.send("y\n\n");
        assert_eq!(stream.next().as_deref(), Some("y\n\n"));
        let closing = stream.next().unwrap();
        assert!(expected.contains(&retry(&closing)), "{closing}");
        assert_eq!(stream.ended(), Some(End::Requested));
        assert_eq!(stream.next(), None);
        assert!(feed.is_dropped());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_on_request_though_it_is_quite_new() {
    let (_feed, source) = source();
    let mut stream = open(&SseLayer::new(), source).await;
    stream.end(Some(SECOND));
    stream.first_write();
    assert_eq!(stream.next().as_deref(), Some("retry:1000\n"));
    assert_eq!(stream.ended(), Some(End::Requested));
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_why_it_has_ended() {
    let (feed, source_of_events) = source();
    let mut stream = open(&SseLayer::new(), source_of_events).await;
    assert!(stream.ended().is_none());
    feed.events.send(Err("broken".into())).unwrap();
    stream.first_write();
    assert_eq!((stream.next(), stream.ended()), (None, Some(End::Source)));

    let drain = Drain::new();
    let layer = SseLayer::new().drain(&drain).max_age(10 * SECOND);
    let (_feed, source_of_events) = source();
    let mut old = open(&layer, source_of_events).await;
    old.first_write();
    old.assert_quiet();
    advance(10 * SECOND).await;
    old.next().unwrap();
    assert_eq!((old.next(), old.ended()), (None, Some(End::MaxAge)));

    let (_feed, source_of_events) = source();
    let mut drained = open(&layer, source_of_events).await;
    drained.first_write();
    drained.assert_quiet();
    drain.start(Duration::ZERO);
    drained.next().unwrap();
    assert_eq!((drained.next(), drained.ended()), (None, Some(End::Drain)));
    let mut late = open(&layer, Endless).await;
    late.next().unwrap();
    assert_eq!((late.next(), late.ended()), (None, Some(End::Drain)));
}
