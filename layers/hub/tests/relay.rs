//! A relay wakes the cursors of its thread, all others are woken by the thread that appends.

mod support;

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use support::{Numbers, record, with_key};
use tailwater_hub::{Cursor, Hub, Selector, relay};

/// The threads that have woken it.
#[derive(Default)]
struct Wakes(Mutex<Vec<ThreadId>>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.lock().expect("no panic").push(thread::current().id());
    }
}

impl Wakes {
    fn take(&self) -> Vec<ThreadId> {
        std::mem::take(&mut self.0.lock().expect("no panic"))
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Arc<Wakes> {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    wakes
}

fn wait(cursor: &mut Cursor<Numbers>) -> Arc<Wakes> {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(matches!(cursor.poll_next(&mut Context::from_waker(&waker)), Poll::Pending));
    wakes
}

/// Appends on another thread, and returns its id.
fn append(hub: &Hub<Numbers>) -> ThreadId {
    let append = || {
        hub.append(vec![record(0, &[1])]);
        thread::current().id()
    };
    thread::scope(|scope| scope.spawn(append).join().expect("no panic"))
}

fn hub() -> Hub<Numbers> {
    Hub::new(Numbers::default(), 0, 1_000_000)
}

#[test]
fn an_append_wakes_the_relay_and_the_relay_wakes_the_cursors_of_its_thread() {
    let here = thread::current().id();
    let hub = hub();
    let mut relay = pin!(relay());
    let mut task = poll(relay.as_mut());
    let mut cursors: Vec<_> = (0..50)
        .flat_map(|_| [hub.tail(Selector::All), hub.tail(with_key(1)), hub.tail(with_key(3))])
        .collect();
    let mut elsewhere = hub.tail(Selector::All);
    for _ in 0..3 {
        let own: Vec<_> = cursors.iter_mut().map(wait).collect();
        let other =
            thread::scope(|scope| scope.spawn(|| wait(&mut elsewhere)).join().expect("no panic"));
        let appender = append(&hub);
        assert_eq!(task.take(), [appender], "once, whatever the number of cursors");
        assert_eq!(other.take(), [appender]);
        assert!(own.iter().all(|wakes| wakes.take().is_empty()));

        task = poll(relay.as_mut());
        for (index, wakes) in own.iter().enumerate() {
            let expected = if index % 3 == 2 { vec![] } else { vec![here] };
            assert_eq!(wakes.take(), expected, "{index}");
        }
        let cx = &mut Context::from_waker(Waker::noop());
        for (index, cursor) in cursors.iter_mut().enumerate() {
            assert_eq!(cursor.poll_next(cx).is_ready(), index % 3 != 2);
        }
        assert!(elsewhere.poll_next(cx).is_ready());
    }

    let own: Vec<_> = cursors.iter_mut().map(wait).collect();
    hub.close();
    assert_eq!(task.take(), [here]);
    drop(poll(relay.as_mut()));
    assert!(own.iter().all(|wakes| wakes.take() == [here]), "the end is for all");
}

#[test]
fn a_single_cursor_is_woken_without_the_relay() {
    let hub = hub();
    let mut relay = pin!(relay());
    let task = poll(relay.as_mut());
    let mut cursor = hub.tail(Selector::All);
    let wakes = wait(&mut cursor);
    assert_eq!(wakes.take(), [] as [ThreadId; 0]);
    assert_eq!([append(&hub)][..], wakes.take());
    assert_eq!(task.take(), [] as [ThreadId; 0]);
}

#[test]
fn without_their_relay_cursors_are_woken_by_the_append() {
    let hub = hub();
    let mut relay = Box::pin(relay());
    let task = poll(relay.as_mut());
    let mut cursors = [hub.tail(Selector::All), hub.tail(Selector::All)];
    let due = cursors.each_mut().map(wait);
    append(&hub);
    assert_eq!(task.take().len(), 1);
    drop(relay);
    assert!(due.iter().all(|wakes| wakes.take() == [thread::current().id()]), "they were due");

    let cx = &mut Context::from_waker(Waker::noop());
    assert!(cursors.iter_mut().all(|cursor| cursor.poll_next(cx).is_ready()));
    let next = cursors.each_mut().map(wait);
    let appender = append(&hub);
    assert!(next.iter().all(|wakes| wakes.take() == [appender]));

    // The next relay of the thread takes over.
    let mut relay = pin!(tailwater_hub::relay());
    let task = poll(relay.as_mut());
    assert!(cursors.iter_mut().all(|cursor| cursor.poll_next(cx).is_ready()));
    let next = cursors.each_mut().map(wait);
    let appender = append(&hub);
    assert_eq!(task.take(), [appender]);
    assert!(next.iter().all(|wakes| wakes.take().is_empty()));
    drop(poll(relay.as_mut()));
    assert!(next.iter().all(|wakes| wakes.take() == [thread::current().id()]));
}
