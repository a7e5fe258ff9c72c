//! Many threads without a clock: a cursor that is not woken hangs the test.

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use support::{Numbered, Numbers, with_keys};
use tailwater_hub::{Cursor, CursorError, Entry, Hub, Selector};

const RECORDS: u64 = 30_000;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn key(id: u64) -> u8 {
    (id % 7) as u8
}

fn write(hub: &Hub<Numbers>, bounded: bool) {
    let mut id = 0;
    while id < RECORDS {
        let chunk: Vec<Numbered> = (id..RECORDS.min(id + id % 13 + 1))
            .map(|id| Numbered { id, keys: vec![key(id)], weight: 50, padding: 3 })
            .collect();
        id += chunk.len() as u64;
        hub.append(chunk);
        while bounded && hub.lag_bytes() > 20_000 {
            futures_executor::block_on(hub.progress());
        }
    }
    hub.close();
}

fn next_match(keys: &[u8], from: u64) -> Option<u64> {
    (from..RECORDS).find(|id| keys.is_empty() || keys.contains(&key(*id)))
}

fn want(keys: &[u8], index: usize) -> Selector<Numbered> {
    let own = keys.to_vec();
    match (keys, index % 2) {
        ([], _) => Selector::All,
        (_, 0) => Selector::Scan(Arc::new(move |record: &Numbered| own.contains(&key(record.id)))),
        _ => with_keys(own),
    }
}

/// Reads to the end. A cursor that has lagged begins again at the end of the log. Returns how often.
fn follow(
    hub: &Hub<Numbers>,
    mut cursor: Cursor<Numbers>,
    keys: &[u8],
    want: &Selector<Numbered>,
) -> usize {
    let mut next = cursor.position();
    let mut falls = 0;
    let mut turn = 0_u8;
    loop {
        turn = turn.wrapping_add(1);
        let result = match turn % 3 {
            0 => block_on(|cx| cursor.poll_next(cx))
                .map(|item: Entry<Numbers>| (1, item.record().id)),
            encoding => block_on(|cx| cursor.poll_batch(cx, &encoding, 1_000))
                .map(|batch| (batch.count(), cursor.last(&batch).record().id)),
        };
        match result {
            Ok((count, last)) => {
                for _ in 0..count {
                    next = next_match(keys, next).expect("no more than there are") + 1;
                }
                assert_eq!(next, last + 1, "nothing left out, nothing twice");
            }
            Err(CursorError::Lagged { missed: wanted, first, .. }) => {
                assert!(wanted < first && wanted >= next);
                let missed = next_match(keys, next).expect("something was lost");
                assert!(wanted <= missed, "only what it still had to read");
                assert!(!matches!(want, Selector::Hashes(..)) || wanted == missed);
                assert!(cursor.position() <= missed);
                falls += 1;
                cursor = hub.tail(want.clone());
                // The cursor returns every record after its position, also those appended since it was
                // made.
                next = cursor.position();
            }
            Err(_) => {
                assert_eq!(next_match(keys, next), None);
                return falls;
            }
        }
    }
}

#[test]
fn everybody_reads_everything_while_a_bounded_writer_waits_for_them() {
    let hub = Hub::new(Numbers::default(), 0, 1_000_000);
    let keys: [&[u8]; 5] = [&[], &[1, 2], &[3, 6], &[], &[5]];
    let readers = keys.iter().enumerate().map(|(index, keys)| {
        let want = want(keys, index);
        (hub.tail(want.clone()), want, *keys)
    });
    let readers: Vec<_> = readers.collect();
    thread::scope(|scope| {
        for (cursor, want, keys) in readers {
            let hub = &hub;
            scope.spawn(move || assert_eq!(follow(hub, cursor, keys, &want), 0));
        }
        scope.spawn(|| {
            // Clients come and go meanwhile.
            for turn in 0..2_000_u64 {
                let cursor = hub.seek(|position| *position <= turn * 10, want(&[key(turn)], 1));
                drop((cursor, hub.tail(Selector::All)));
            }
        });
        scope.spawn(|| write(&hub, true));
    });
    assert_eq!(hub.cursors(), 0);
}

#[test]
fn who_falls_off_is_told_exactly_and_nobody_hangs() {
    let hub = Hub::new(Numbers::default(), 0, 3_000);
    let keys: [&[u8]; 4] = [&[], &[1, 2], &[6], &[5]];
    let readers = keys.iter().enumerate().map(|(index, keys)| {
        let want = want(keys, index);
        (hub.tail(want.clone()), want, *keys)
    });
    let readers: Vec<_> = readers.collect();
    thread::scope(|scope| {
        for (cursor, want, keys) in readers {
            let hub = &hub;
            scope.spawn(move || follow(hub, cursor, keys, &want));
        }
        scope.spawn(|| write(&hub, false));
    });
}

#[test]
fn an_index_that_is_built_while_records_come_and_go_misses_none() {
    for capacity in [3_000, 100_000, usize::MAX] {
        let hub = Hub::new(Numbers::default(), 0, capacity);
        // Cursors without keys do not use the index.
        let all = hub.tail(want(&[], 0));
        thread::scope(|scope| {
            scope.spawn(|| follow(&hub, all, &[], &want(&[], 0)));
            scope.spawn(|| write(&hub, false));
            while hub.head() < RECORDS / 10 {
                thread::yield_now();
            }
            hub.build_index();
            assert!(hub.is_indexed());
            for keys in [&[1, 2][..], &[6]] {
                let from = hub.first();
                let cursor = hub.seek(|position| *position <= from, want(keys, 1));
                let Some(cursor) = cursor else { continue };
                follow(&hub, cursor, keys, &want(keys, 1));
            }
        });
    }
}

#[test]
fn a_view_never_misses_a_record_between_the_lag_and_the_head() {
    let hub = Hub::new(Numbers::default(), 0, usize::MAX);
    // It has read nothing, so that it is behind by all that is before the head.
    let cursor = hub.tail(Selector::All);
    let view = cursor.view();
    thread::scope(|scope| {
        scope.spawn(|| write(&hub, false));
        while let Some((lag, head)) = view.lag_and_head()
            && head < RECORDS
        {
            assert_eq!(lag.records, head);
        }
    });
    assert_eq!(
        view.lag_and_head().map(|(lag, head)| (lag.records, head)),
        Some((RECORDS, RECORDS))
    );
}
