//! The cost of appending, of waking, and of reading the log with one and with many cursors.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tailwater_hub::{Cursor, Format, Hub, Selector};

const CHUNKS: u64 = 100;
const RECORDS: u64 = 100;
const VALUE_BYTES: usize = 256;
const KEYS: u64 = 1_000;

/// Events of 256 bytes under a thousand keys.
struct Events;

#[derive(Clone)]
struct Event {
    key: u64,
    value: Arc<[u8]>,
}

impl Format for Events {
    type Record = Event;
    type Position = u64;
    type Encoding = ();

    fn weight(&self, event: &Event) -> usize {
        event.value.len()
    }
    fn hashes(&self, event: &Event, add: &mut dyn FnMut(u64)) {
        add(event.key);
    }
    fn advance(&self, position: &u64, events: &[Event]) -> u64 {
        position + events.len() as u64
    }
    fn encode(&self, (): &(), _: &u64, event: &Event, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data:");
        out.extend_from_slice(&event.value);
        out.extend_from_slice(b"\n\n");
    }
}

fn chunk(number: u64) -> Vec<Event> {
    let value: Arc<[u8]> = vec![b'.'; VALUE_BYTES].into();
    let keys = number * RECORDS..(number + 1) * RECORDS;
    keys.map(|key| Event { key: key % KEYS, value: Arc::clone(&value) }).collect()
}

fn hub() -> Hub<Events> {
    Hub::new(Events, 0, 256 << 20)
}

fn fill(hub: &Hub<Events>) {
    (0..CHUNKS).for_each(|number| hub.append(chunk(number)));
}

fn with_key(key: u64) -> Selector<Event> {
    Selector::Hashes([key].into(), Arc::new(move |event: &Event| event.key == key))
}

fn drain(cursors: &mut [Cursor<Events>]) -> usize {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut count = 0;
    for cursor in cursors {
        while let Poll::Ready(Ok(batch)) = cursor.poll_batch(cx, &(), 64 * 1024) {
            count += black_box(batch).count();
        }
    }
    count
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(CHUNKS * RECORDS));
    for (name, want) in [("plain", Selector::All), ("indexed", with_key(KEYS + 1))] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    let hub = hub();
                    let cursor = hub.tail(want.clone());
                    (hub, cursor, (0..CHUNKS).map(chunk).collect::<Vec<_>>())
                },
                |(hub, cursor, chunks)| {
                    chunks.into_iter().for_each(|chunk| hub.append(chunk));
                    (hub, cursor)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn drain_all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.sample_size(20);
    for clients in [1_u64, 1_000] {
        group.throughput(Throughput::Elements(CHUNKS * RECORDS * clients));
        group.bench_function(BenchmarkId::new("all", clients), |bencher| {
            bencher.iter_batched(
                || {
                    let hub = hub();
                    let cursors: Vec<_> = (0..clients).map(|_| hub.tail(Selector::All)).collect();
                    fill(&hub);
                    (hub, cursors)
                },
                |(hub, mut cursors)| {
                    assert_eq!(drain(&mut cursors) as u64, CHUNKS * RECORDS * clients);
                    (hub, cursors)
                },
                BatchSize::PerIteration,
            );
        });
    }
    // Each client selects one key of a thousand: every record is for one client.
    group.throughput(Throughput::Elements(CHUNKS * RECORDS));
    group.bench_function(BenchmarkId::new("filtered", KEYS), |bencher| {
        bencher.iter_batched(
            || {
                let hub = hub();
                let cursors: Vec<_> = (0..KEYS).map(|key| hub.tail(with_key(key))).collect();
                fill(&hub);
                (hub, cursors)
            },
            |(hub, mut cursors)| {
                assert_eq!(drain(&mut cursors) as u64, CHUNKS * RECORDS);
                (hub, cursors)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// One record for cursors that all wait: waking, and a poll of each cursor.
fn wake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wake");
    group.sample_size(20);
    for clients in [1_u64, 1_000, 10_000] {
        let hub = hub();
        let mut cursors: Vec<_> = (0..clients).map(|_| hub.tail(Selector::All)).collect();
        assert_eq!(drain(&mut cursors), 0);
        let one = chunk(0).remove(0);
        group.throughput(Throughput::Elements(clients));
        group.bench_function(BenchmarkId::new("all", clients), |bencher| {
            bencher.iter(|| {
                hub.append(vec![one.clone()]);
                assert_eq!(drain(&mut cursors) as u64, clients);
            });
        });
    }
    group.finish();
}

/// Records under many keys, with a waiting cursor for a quarter of the keys.
fn keyed(criterion: &mut Criterion) {
    const KEYS: u64 = 20_000;
    const CURSORS: u64 = 5_000;
    let mut group = criterion.benchmark_group("keyed");
    group.sample_size(20);
    let hub = hub();
    let mut cursors: Vec<_> =
        (0..CURSORS).map(|cursor| hub.tail(with_key(cursor * (KEYS / CURSORS)))).collect();
    let value: Arc<[u8]> = vec![b'.'; VALUE_BYTES].into();
    let chunks = |events: u64| {
        let events: Vec<_> =
            (0..events).map(|key| Event { key, value: Arc::clone(&value) }).collect();
        events.chunks(RECORDS as usize).map(<[Event]>::to_vec).collect::<Vec<_>>()
    };
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function(BenchmarkId::new("append", CURSORS), |bencher| {
        bencher.iter_batched(
            || {
                drain(&mut cursors); // they wait, and lose nothing
                chunks(KEYS)
            },
            |chunks| chunks.into_iter().for_each(|chunk| hub.append(chunk)),
            BatchSize::PerIteration,
        );
    });
    drain(&mut cursors);
    group.bench_function(BenchmarkId::new("append and drain", CURSORS), |bencher| {
        bencher.iter_batched(
            || chunks(KEYS),
            |chunks| {
                chunks.into_iter().for_each(|chunk| hub.append(chunk));
                assert_eq!(drain(&mut cursors) as u64, CURSORS);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, append, drain_all, wake, keyed);
criterion_main!(benches);
