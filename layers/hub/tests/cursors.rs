//! The behaviour of single cursors.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use futures_executor::block_on;
use support::{Numbered, Numbers, poll, read, record, with_key};
use tailwater_hub::{CursorError, Hub, Selector};

fn hub() -> Hub<Numbers> {
    Hub::new(Numbers::default(), 0, usize::MAX)
}

#[test]
fn a_chunk_is_rendered_once_however_many_cursors_read_it() {
    let hub = hub();
    let mut cursors: Vec<_> = (0..100).map(|_| hub.tail(Selector::All)).collect();
    hub.append(vec![record(0, &[]), record(1, &[])]);
    for cursor in &mut cursors {
        assert_eq!(read(cursor), "0/0/0:..........\n0/1/1:..........\n");
    }
    assert_eq!(hub.format().rendered.load(Ordering::SeqCst), 2);
}

#[test]
fn joined_chunks_are_not_rendered_again() {
    let hub = hub();
    let mut tail = hub.tail(Selector::All);
    let before = hub.seek(|_| true, Selector::All);
    for id in 0..200 {
        hub.append(vec![record(id, &[])]);
        assert!(read(&mut tail).contains(&format!("/{id}:")));
    }
    let mut cursor = before.expect("the place before the first record");
    let mut text = String::new();
    while text.lines().count() < 200 {
        text += &read(&mut cursor);
    }
    assert_eq!(hub.format().rendered.load(Ordering::SeqCst), 200);
}

#[test]
fn cursors_of_a_view_share_the_bytes_of_a_large_chunk() {
    let hub = hub();
    let mut cursors = [hub.tail(Selector::All), hub.tail(Selector::All)];
    hub.append((0..1000).map(|id| record(id, &[])).collect());
    let pieces = cursors.each_mut().map(|cursor| match poll(cursor, 0, usize::MAX).0 {
        Poll::Ready(Ok(batch)) => batch.into_bytes(),
        other => panic!("{other:?}"),
    });
    assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr());
}

#[test]
fn a_small_match_does_not_keep_its_chunk() {
    let hub = hub();
    let mut cursors = [hub.tail(with_key(3)), hub.tail(with_key(3))];
    hub.append((0..1000).map(|id| record(id, if id == 500 { &[3] } else { &[9] })).collect());
    let pieces = cursors.each_mut().map(|cursor| match poll(cursor, 0, usize::MAX).0 {
        Poll::Ready(Ok(batch)) => batch.into_bytes(),
        other => panic!("{other:?}"),
    });
    assert_eq!(pieces[0], pieces[1]);
    assert_ne!(pieces[0].as_ptr(), pieces[1].as_ptr(), "copies, not slices of the chunk");
}

#[test]
fn small_chunks_behind_a_cursor_go_out_together() {
    let hub = hub();
    let mut cursor = hub.tail(Selector::All);
    for id in 0..50 {
        hub.append(vec![record(id, &[])]);
    }
    assert_eq!(read(&mut cursor).lines().count(), 50);
}

#[test]
fn only_those_whom_a_record_concerns_are_woken() {
    let hub = hub();
    let mut all = hub.tail(Selector::All);
    let mut three = hub.tail(with_key(3));
    let mut two = hub.tail(with_key(4));
    let flags = [poll(&mut all, 0, 99).1, poll(&mut three, 0, 99).1, poll(&mut two, 0, 99).1];
    hub.append(vec![record(0, &[3])]);
    assert_eq!(flags.map(|flag| flag.is_woken()), [true, true, false]);
    assert_eq!(read(&mut two), "pending");
    assert_eq!(read(&mut three), "0/0/0:..........\n");
}

#[test]
fn a_cursor_that_moved_to_another_task_wakes_that_one() {
    let hub = hub();
    for want in [Selector::All, with_key(1)] {
        let mut cursor = hub.tail(want);
        let first = poll(&mut cursor, 0, 99).1;
        let second = poll(&mut cursor, 0, 99).1;
        hub.append(vec![record(0, &[1])]);
        assert_eq!((first.is_woken(), second.is_woken()), (false, true));
    }
}

#[test]
fn a_colliding_record_is_never_shown_and_its_loss_is_no_loss() {
    let hub = Hub::new(Numbers::default(), 0, 250);
    let mut cursor = hub.tail(with_key(2)); // 2 and 3 have the same hash
    let mut stalled = hub.tail(with_key(2));
    hub.append(vec![record(0, &[3])]);
    assert_eq!(read(&mut cursor), "pending");
    for id in 1..9 {
        hub.append(vec![record(id, &[7])]);
    }
    hub.append(vec![record(9, &[2])]);
    assert_eq!(read(&mut stalled), "0/9/9:..........\n");
    assert_eq!(read(&mut cursor), "0/9/9:..........\n");
}

#[test]
fn a_cursor_that_fell_off_knows_its_place() {
    let hub = Hub::new(Numbers::default(), 0, 0);
    let mut all = hub.tail(Selector::All);
    let mut key = hub.tail(with_key(1));
    for id in 0..10 {
        hub.append(vec![record(id, if id == 4 { &[1] } else { &[] })]);
    }
    assert_eq!(read(&mut all), "record 0 is not kept any more, the log begins at 9");
    assert_eq!(read(&mut key), "record 4 is not kept any more, the log begins at 9");
    assert_eq!((all.position(), key.position()), (0, 4));
    assert_eq!(hub.lag_bytes(), 0, "who is lost holds nobody up");
    assert!(hub.seek(|position| *position <= 4, Selector::All).is_none());
}

#[test]
fn closing_ends_a_cursor_after_what_is_kept() {
    let hub = hub();
    let mut behind = hub.tail(Selector::All);
    let mut idle = hub.tail(with_key(5));
    let flag = poll(&mut idle, 0, 9).1;
    hub.append(vec![record(0, &[])]);
    hub.close();
    hub.append(vec![record(1, &[])]);
    assert!(flag.is_woken() && hub.is_closed());
    assert_eq!(read(&mut behind), "0/0/0:..........\n");
    assert_eq!(read(&mut behind), "the hub is closed");
    assert!(matches!(poll(&mut idle, 0, 9).0, Poll::Ready(Err(CursorError::Closed))));
}

#[test]
fn nothing_need_be_kept_after_the_close() {
    let hub = hub();
    let mut behind = hub.tail(Selector::All);
    let weak = hub.downgrade();
    hub.append(vec![record(0, &[])]);
    hub.set_capacity_bytes(0);
    assert!(hub.bytes() > 0);
    hub.close();
    hub.set_capacity_bytes(0);
    assert_eq!(hub.bytes(), 0);
    assert_eq!(read(&mut behind), "record 0 is not kept any more, the log begins at 1");
    assert_eq!(behind.position(), 0);
    drop(hub);
    assert!(weak.upgrade().is_some(), "there is a cursor");
    drop(behind);
    assert!(weak.upgrade().is_none());
}

/// The position of a cursor is after the last record that it returned. A record that was appended after the
/// close was dropped, and the position was then set after it: a reader that went on from there elsewhere
/// missed it.
#[test]
fn the_place_does_not_move_after_the_close() {
    let hub = hub();
    let mut all = hub.tail(Selector::All);
    let mut selective = hub.tail(with_key(1));
    let place = hub.head();
    hub.close();
    hub.append(vec![record(0, &[1])]);
    hub.set_position(place + 1);
    for cursor in [&mut all, &mut selective] {
        assert_eq!((read(cursor).as_str(), cursor.position()), ("the hub is closed", place));
    }
    assert_eq!(hub.head(), place);
}

#[test]
fn a_panic_while_rendering_harms_nobody_else_and_loses_nothing() {
    let hub = hub();
    let mut first = hub.tail(Selector::All);
    let mut second = hub.tail(with_key(1));
    hub.append(vec![record(0, &[1]), record(1, &[1])]);
    for cursor in [&mut first, &mut second] {
        hub.format().panics.store(true, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| poll(cursor, 1, 99))).is_err());
        assert_eq!(read(cursor), "0/0/0:..........\n0/1/1:..........\n");
        assert_eq!(read(cursor), "pending");
    }
}

#[test]
fn a_panic_in_a_test_loses_nothing() {
    let hub = hub();
    let panics = Arc::clone(&hub.format().panics);
    let test = Arc::new(move |_: &_| !panics.swap(false, Ordering::SeqCst) || panic!("told to"));
    let mut cursors =
        [hub.tail(Selector::Scan(test.clone())), hub.tail(Selector::Hashes([0].into(), test))];
    hub.append(vec![record(0, &[0]), record(1, &[0])]);
    for cursor in &mut cursors {
        hub.format().panics.store(true, Ordering::SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| poll(cursor, 0, 99))).is_err());
        assert_eq!(read(cursor), "0/0/0:..........\n0/1/1:..........\n");
    }
}

#[test]
fn a_scan_without_a_match_lets_others_have_their_turn() {
    let hub = hub();
    let mut cursor = hub.tail(Selector::Scan(Arc::new(|record| record.id == 9_999)));
    hub.append((0..10_000).map(|id| record(id, &[])).collect());
    let mut turns = 0;
    let text = loop {
        turns += 1;
        let (polled, flag) = poll(&mut cursor, 0, 999);
        match polled {
            Poll::Pending => assert!(flag.is_woken(), "it goes on by itself"),
            Poll::Ready(batch) => break batch.unwrap().into_bytes(),
        }
    };
    assert_eq!((turns, &*text), (3, "0/9999/9999:..........\n".as_bytes()));
}

#[test]
fn what_is_rendered_counts_and_goes_before_a_record_does() {
    let hub = Hub::new(Numbers::default(), 0, 1_600_000);
    for _ in 0..10 {
        hub.append((0..1_000).map(|id| record(id, &[])).collect());
    }
    let records = hub.bytes();
    assert_eq!(records, 1_000_000);
    for encoding in 0..3 {
        let mut cursor = hub
            .seek(|_| false, Selector::All)
            .or_else(|| hub.seek(|position| *position == 0, Selector::All));
        let cursor = cursor.as_mut().expect("everything is kept");
        while poll(cursor, encoding, usize::MAX).0.is_ready() {
            assert!(hub.bytes() <= 1_600_000);
        }
    }
    assert!(hub.bytes() > records);
    assert_eq!(hub.first(), 0);
}

#[test]
fn a_cursor_at_the_head_sees_a_new_mark_and_the_next_record_begins_there() {
    let hub = hub();
    let mut cursor = hub.tail(Selector::All);
    hub.append(vec![record(0, &[])]);
    let flag = poll(&mut cursor, 0, 99).1;
    assert!(poll(&mut cursor, 0, 99).0.is_pending());
    hub.set_position(7);
    assert_eq!((cursor.position(), hub.head(), flag.is_woken()), (7, 7, false));
    hub.append(vec![record(1, &[])]);
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(item)) = cursor.poll_next(cx) else { panic!("there is a record") };
    assert_eq!((item.record().id, item.before(), item.after()), (1, 7, 8));
    assert_eq!(
        read(&mut hub.seek(|position| *position <= 3, Selector::All).unwrap()),
        "0/7/1:..........\n"
    );
}

#[test]
fn records_are_shown_as_they_are_and_those_that_were_not_visited_stay() {
    let hub = hub();
    let even =
        |want: Selector<_>| want.and(|record: &support::Numbered| record.id.is_multiple_of(2));
    let mut cursors =
        [even(Selector::All), even(with_key(3)), Selector::All].map(|want| hub.tail(want));
    hub.append((0..6).map(|id| record(id, &[1 + u8::try_from(id / 2).unwrap()])).collect());
    let cx = &mut Context::from_waker(Waker::noop());
    let seen = cursors.each_mut().map(|cursor| {
        let mut seen = Vec::new();
        while let Poll::Ready(Ok(())) = cursor.poll_each(cx, |record| seen.push(record.id)) {}
        (seen, cursor.position())
    });
    assert_eq!(seen, [(vec![0, 2, 4], 6), (vec![4], 6), ((0..6).collect(), 6)]);

    let [all, ..] = &mut cursors;
    hub.append((6..9).map(|id| record(id, &[])).collect());
    let panics = |record: &support::Numbered| assert!(record.id < 8, "told to panic");
    let visited = catch_unwind(AssertUnwindSafe(|| all.poll_each(cx, panics)));
    assert!(visited.is_err());
    assert_eq!(all.position(), 8);
    hub.close();
    assert!(all.poll_each(cx, |record| assert_eq!(record.id, 8)).is_ready());
    assert!(matches!(all.poll_each(cx, |_| ()), Poll::Ready(Err(CursorError::Closed))));
}

#[test]
fn the_newest_chunk_is_kept_whatever_the_capacity_unless_it_is_too_heavy() {
    let hub = Hub::new(Numbers::default(), 0, 0);
    let heavy = |id, weight| Numbered { weight, ..record(id, &[]) };
    let mut keeps_up = hub.tail(Selector::All);
    let mut late = hub.tail(Selector::All);
    hub.append(vec![heavy(0, 1_000_000)]);
    assert_eq!((hub.bytes(), hub.first()), (1_000_000, 0), "without a bound");
    hub.set_newest_bytes(1000);
    hub.append(vec![heavy(1, 1000)]);
    assert_eq!((hub.bytes(), hub.first()), (1000, 1));
    assert!(matches!(
        poll(&mut late, 0, 0).0,
        Poll::Ready(Err(CursorError::Lagged { missed: 0, .. }))
    ));
    drop(late);
    assert!(matches!(poll(&mut keeps_up, 0, 0).0, Poll::Ready(Err(CursorError::Lagged { .. }))));
    // A heavier chunk is evicted before a cursor has read it, and the log goes on after it.
    let mut cursor = hub.tail(Selector::All);
    hub.append(vec![heavy(2, 1001)]);
    assert_eq!((hub.bytes(), hub.first(), hub.head()), (0, 3, 3));
    assert!(matches!(
        poll(&mut cursor, 0, 0).0,
        Poll::Ready(Err(CursorError::Lagged { missed: 2, .. }))
    ));
    assert_eq!(cursor.position(), 2, "the place to go on from");
    let mut cursor = hub.tail(Selector::All);
    hub.append(vec![heavy(3, 10)]);
    assert!(matches!(poll(&mut cursor, 0, 0).0, Poll::Ready(Ok(_))));
    // Within the capacity it is kept.
    hub.set_capacity_bytes(2000);
    hub.append(vec![heavy(4, 1500)]);
    assert!(matches!(poll(&mut cursor, 0, 0).0, Poll::Ready(Ok(_))));
}

#[test]
fn a_cursor_that_is_awaited_returns_each_record_and_then_the_end() {
    let hub = hub();
    let mut cursor = hub.tail(Selector::All);
    let mut waiting = hub.tail(with_key(9));
    let reader = std::thread::spawn(move || block_on(waiting.next()).map(|entry| entry.sequence()));
    hub.append(vec![record(0, &[1]), record(1, &[9])]);
    hub.close();
    assert_eq!(reader.join().unwrap(), Ok(1));

    let first = block_on(cursor.next()).unwrap();
    assert_eq!((first.record().id, first.before(), first.after()), (0, 0, 1));
    assert_eq!(block_on(cursor.next_batch(&0, 100)).unwrap().bytes(), "0/1/1:..........\n");
    assert_eq!(block_on(cursor.next()).err(), Some(CursorError::Closed));
}

#[test]
fn a_view_ends_with_its_cursor_even_if_another_one_has_its_place() {
    let hub = hub();
    let first = hub.tail(Selector::All);
    let view = first.view();
    hub.append(vec![record(0, &[]), record(1, &[])]);
    assert_eq!(view.lag().map(|lag| lag.records), Some(2));
    assert_eq!(view.lag_and_head().map(|(lag, head)| (lag.records, head)), Some((2, 2)));
    assert_eq!(view.position(), Some(0));
    drop(first);
    let other = hub.tail(Selector::All);
    assert_eq!((view.lag(), view.lag_and_head(), view.position()), (None, None, None));
    assert_eq!(other.view().lag().map(|lag| lag.records), Some(0));
    let rendered = Arc::clone(&hub.format().rendered);
    drop((hub, other));
    assert_eq!(Arc::strong_count(&rendered), 1, "a view does not keep the log");
}

#[test]
fn a_lagging_cursor_is_as_old_as_the_oldest_record() {
    let hub = Hub::new(Numbers::default(), 0, 0);
    let cursor = hub.tail(Selector::All);
    hub.append(vec![record(0, &[])]);
    hub.append(vec![record(1, &[]), record(2, &[])]);
    let lag = cursor.view().lag().expect("the cursor is there");
    assert_eq!(lag.records, 3, "the first one was evicted");
    let oldest = hub.age_after(|position| *position <= 1).expect("there are records");
    assert!(lag.age <= oldest);
    assert_eq!(hub.age_after(|position| *position <= 3), None);
}

/// Each was computed from the start of the chunk. A record without bytes ends a batch, so that took a time that grew
/// with the square of the length of the chunk.
#[test]
fn the_positions_of_many_batches_of_a_chunk_are_computed_in_one_pass() {
    const RECORDS: usize = 1000;
    let hub = hub();
    let mut cursor = hub.tail(Selector::All);
    hub.append((0..RECORDS as u64).map(|id| record(id, &[])).collect());
    let advanced = Arc::clone(&hub.format().advanced);
    let before = advanced.load(Ordering::SeqCst);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut batches = 0;
    let mut next = 0;
    // This encoding shows nothing of every third record.
    while let Poll::Ready(batch) = cursor.poll_batch(cx, &2, 1_000_000) {
        let batch = batch.expect("nothing is evicted");
        next += batch.count() as u64;
        batches += 1;
        let last = cursor.last(&batch);
        assert_eq!((last.before(), last.after()), (next - 1, next));
    }
    assert_eq!((next, batches), (RECORDS as u64, 2 * RECORDS / 3 + 1));
    let advanced = advanced.load(Ordering::SeqCst) - before;
    assert!(advanced <= 2 * RECORDS, "{advanced}");
}
