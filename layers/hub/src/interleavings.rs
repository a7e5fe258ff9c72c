//! Tests in which loom tries the orders in which threads can take the steps of this crate: see `sync`. A task that
//! is never woken is a deadlock, which loom reports.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};

use crate::{Cursor, CursorError, Format, Hub, Selector, relay};

/// Records are their number. An even one has the hash 0, and an odd one 1. Each weighs 10 bytes.
struct Numbers;

impl Format for Numbers {
    type Record = u64;
    type Position = u64;
    type Encoding = ();

    fn weight(&self, _: &u64) -> usize {
        10
    }
    fn hashes(&self, record: &u64, add: &mut dyn FnMut(u64)) {
        add(record % 2);
    }
    fn advance(&self, position: &u64, records: &[u64]) -> u64 {
        position + records.len() as u64
    }
    fn encode(&self, (): &(), _: &u64, record: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&record.to_be_bytes());
    }
}

/// The tasks of a single-threaded runtime that are to be polled.
#[derive(Default)]
struct Ready {
    tasks: Mutex<VecDeque<usize>>,
    any: Condvar,
}

struct Task(Arc<Ready>, usize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut tasks = self.0.tasks.lock().unwrap();
        if !tasks.contains(&self.1) {
            tasks.push_back(self.1);
        }
        self.0.any.notify_one();
    }
}

type Future<'a> = Pin<Box<dyn std::future::Future<Output = ()> + 'a>>;

/// Runs tasks on this thread until all but the first `endless` have ended. Polls a task only if it was woken.
fn run(endless: usize, tasks: Vec<Future<'_>>) {
    let ready = Arc::new(Ready::default());
    *ready.tasks.lock().unwrap() = (0..tasks.len()).collect();
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    while tasks[endless..].iter().any(Option::is_some) {
        let index = {
            let mut queue = ready.tasks.lock().unwrap();
            loop {
                match queue.pop_front() {
                    Some(index) => break index,
                    None => queue = ready.any.wait(queue).unwrap(),
                }
            }
        };
        let waker = Waker::from(Arc::new(Task(Arc::clone(&ready), index)));
        if let Some(task) = &mut tasks[index]
            && task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            tasks[index] = None;
        }
    }
}

fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(test);
}

fn hub(capacity_bytes: usize) -> Arc<Hub<Numbers>> {
    Arc::new(Hub::new(Numbers, 0, capacity_bytes))
}

fn odd() -> Selector<u64> {
    Selector::Hashes([1].into(), Arc::new(|record| record % 2 == 1))
}

async fn reads(mut cursor: Cursor<Numbers>, records: &[u64]) {
    for expected in records {
        assert_eq!(cursor.next().await.unwrap().record(), expected);
    }
}

async fn reads_the_end(mut cursor: Cursor<Numbers>) {
    assert_eq!(cursor.next().await.unwrap_err(), CursorError::Closed);
}

/// The relay, as a task that does not end.
async fn relays() {
    match relay().await {}
}

/// A thread that writes. The readers run on the first thread of a model, so that they wait before the writer begins
/// unless loom interrupts them.
fn writer(hub: &Arc<Hub<Numbers>>, write: impl FnOnce(&Hub<Numbers>) + 'static) -> JoinHandle<()> {
    let hub = Arc::clone(hub);
    thread::spawn(move || write(&hub))
}

#[test]
fn an_append_wakes_the_cursors_that_select_a_record() {
    model(|| {
        let hub = hub(usize::MAX);
        let (all, some) = (hub.tail(Selector::All), hub.tail(odd()));
        let writer = writer(&hub, |hub| {
            hub.append(vec![2]);
            hub.append(vec![3]);
        });
        run(0, vec![Box::pin(reads(all, &[2, 3])), Box::pin(reads(some, &[3]))]);
        writer.join().unwrap();
    });
}

#[test]
fn the_close_wakes_all_cursors() {
    model(|| {
        let hub = hub(usize::MAX);
        let (all, some) = (hub.tail(Selector::All), hub.tail(odd()));
        let writer = writer(&hub, Hub::close);
        run(0, vec![Box::pin(reads_the_end(all)), Box::pin(reads_the_end(some))]);
        writer.join().unwrap();
    });
}

/// The second append may come while the relay is at work for the first.
#[test]
fn a_relay_wakes_the_cursors_of_its_thread() {
    model(|| {
        let hub = hub(usize::MAX);
        let mut tasks: Vec<Future<'_>> = vec![Box::pin(relays())];
        for _ in 0..2 {
            tasks.push(Box::pin(reads(hub.tail(Selector::All), &[2])));
            tasks.push(Box::pin(reads(hub.tail(odd()), &[3])));
        }
        let writer = writer(&hub, |hub| {
            hub.append(vec![2]);
            hub.append(vec![3]);
        });
        run(1, tasks);
        writer.join().unwrap();
    });
}

#[test]
fn a_relay_that_ends_wakes_the_cursors_that_are_due() {
    model(|| {
        let hub = hub(usize::MAX);
        let mut is_polled = false;
        let mut relay = Some(Box::pin(relay()));
        let ends = poll_fn(move |cx| {
            // Both cursors are polled before it is dropped.
            cx.waker().wake_by_ref();
            match relay.take() {
                Some(mut running) if !std::mem::replace(&mut is_polled, true) => {
                    assert!(running.as_mut().poll(cx).is_pending());
                    relay = Some(running);
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
        let (first, second) = (hub.tail(Selector::All), hub.tail(Selector::All));
        let writer = writer(&hub, |hub| hub.append(vec![7]));
        run(0, vec![Box::pin(ends), Box::pin(reads(first, &[7])), Box::pin(reads(second, &[7]))]);
        writer.join().unwrap();
    });
}

#[test]
fn a_cursor_that_is_dropped_takes_no_other_one_along() {
    model(|| {
        let hub = hub(usize::MAX);
        let mut dropped = hub.tail(odd());
        let mut is_polled = false;
        let dropped = poll_fn(move |cx| {
            if std::mem::replace(&mut is_polled, true) {
                return Poll::Ready(());
            }
            // Both others are polled before it is dropped.
            cx.waker().wake_by_ref();
            dropped.poll_next(cx).map(|_| ())
        });
        let tasks: Vec<Future<'_>> = vec![
            Box::pin(relays()),
            Box::pin(dropped),
            Box::pin(reads(hub.tail(odd()), &[1])),
            Box::pin(reads(hub.tail(Selector::All), &[1])),
        ];
        let writer = writer(&hub, |hub| hub.append(vec![1]));
        run(1, tasks);
        writer.join().unwrap();
        assert_eq!(hub.cursors(), 0);
    });
}

#[test]
fn a_cursor_that_moves_to_another_thread_is_woken_there() {
    model(|| {
        let hub = hub(usize::MAX);
        let mut moves = hub.tail(Selector::All);
        let moves = async move {
            let first = poll_fn(|cx| Poll::Ready(moves.poll_next(cx))).await;
            let rest: &[u64] = if first.is_ready() { &[] } else { &[4] };
            let elsewhere = thread::spawn(|| run(0, vec![Box::pin(reads(moves, rest))]));
            // The relay of this thread stands still.
            elsewhere.join().unwrap();
        };
        let stays = reads(hub.tail(Selector::All), &[4]);
        let writer = writer(&hub, |hub| hub.append(vec![4]));
        run(1, vec![Box::pin(relays()), Box::pin(stays), Box::pin(moves)]);
        writer.join().unwrap();
    });
}

/// The first batch takes one record of two, and gives the other one back.
#[test]
fn a_record_that_is_given_back_is_read_or_reported_missing() {
    model(|| {
        // Only the newest chunk fits.
        let hub = hub(0);
        let mut cursor = hub.tail(Selector::All);
        hub.append(vec![0, 1]);
        let reads = async move {
            let mut next = 0;
            loop {
                match cursor.next_batch(&(), 1).await {
                    Ok(batch) => {
                        assert_eq!(batch.bytes()[..], u64::to_be_bytes(next));
                        next += 1;
                    }
                    Err(CursorError::Lagged { missed, first }) => {
                        assert_eq!((missed, first), (next, 2));
                        return assert_eq!(cursor.position(), next);
                    }
                    Err(_) => return assert_eq!(next, 3),
                }
            }
        };
        let writer = writer(&hub, |hub| {
            hub.append(vec![2]);
            hub.close();
        });
        run(0, vec![Box::pin(reads)]);
        writer.join().unwrap();
    });
}

#[test]
fn the_bytes_of_encoded_records_are_counted_until_they_are_evicted() {
    model(|| {
        let hub = hub(usize::MAX);
        hub.append(vec![0]);
        let read = |mut cursor: Cursor<Numbers>| {
            let read = async move {
                match cursor.next_batch(&(), 100).await {
                    Ok(batch) => assert_eq!(batch.bytes()[..8], [0; 8]),
                    Err(error) => assert!(matches!(error, CursorError::Lagged { missed: 0, .. })),
                }
            };
            thread::spawn(|| run(0, vec![Box::pin(read)]))
        };
        let at_start = || hub.seek(|position| *position == 0, Selector::All).unwrap();
        let threads = [read(at_start()), read(at_start())];
        hub.append(vec![1]);
        hub.close();
        hub.set_capacity_bytes(0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(hub.bytes(), 0);
    });
}

#[test]
fn a_producer_that_waits_for_progress_sees_each_move() {
    model(|| {
        let hub = hub(usize::MAX);
        let cursor = hub.tail(Selector::All);
        hub.append(vec![0]);
        let reader = thread::spawn(|| run(0, vec![Box::pin(reads(cursor, &[0]))]));
        let waits = async {
            while hub.lag_bytes() > 0 {
                hub.progress().await;
            }
        };
        run(0, vec![Box::pin(waits)]);
        reader.join().unwrap();
    });
}
