//! The hub against a naive model that keeps every record. Under any order of appending, polling, dropping,
//! evicting and closing, each cursor returns each record that it selects exactly once and in order, or
//! reports exactly which record it missed.

mod support;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use support::{Flag, Numbered, Numbers, hash, poll, show, with_keys};
use tailwater_hub::{Cursor, CursorError, Entry, Hub, Selector};

#[expect(clippy::disallowed_types, reason = "the hub's")]
type Time = std::time::Instant;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<(Vec<u8>, usize, usize)>),
    Tail(Kind),
    Seek(Kind, u8),
    Batch { cursor: usize, encoding: u8, limit: usize },
    Record { cursor: usize },
    Leave { cursor: usize },
    Position(u64),
    Capacity(usize),
    Index,
    Close,
}

#[derive(Clone, Debug)]
enum Kind {
    All,
    Scan(u8),
    Keys(Vec<u8>),
}

impl Kind {
    fn wants(&self, record: &Numbered) -> bool {
        match self {
            Self::All => true,
            Self::Scan(key) => record.keys.contains(key),
            Self::Keys(keys) => record.keys.iter().any(|key| keys.contains(key)),
        }
    }

    /// The record may wake the cursor.
    fn concerns(&self, record: &Numbered) -> bool {
        match self {
            Self::All | Self::Scan(_) => true,
            Self::Keys(keys) => {
                record.keys.iter().any(|key| keys.iter().any(|own| hash(*own) == hash(*key)))
            }
        }
    }

    fn want(&self) -> Selector<Numbered> {
        match self.clone() {
            Self::All => Selector::All,
            Self::Scan(key) => {
                Selector::Scan(Arc::new(move |record: &Numbered| record.keys.contains(&key)))
            }
            Self::Keys(keys) => with_keys(keys),
        }
    }
}

struct Reader {
    cursor: Cursor<Numbers>,
    kind: Kind,
    /// Each record before it was returned.
    next: usize,
    pending: Option<Arc<Flag>>,
}

struct Model {
    hub: Hub<Numbers>,
    /// Every record, and the position before it.
    all: Vec<(u64, Numbered)>,
    /// When each record was appended: after the first time and before the second.
    times: Vec<(Time, Time)>,
    head: u64,
    newest: usize,
    capacity: usize,
    closed: bool,
    readers: Vec<Reader>,
}

impl Model {
    fn new(capacity: usize) -> Self {
        let hub = Hub::new(Numbers::default(), 10, capacity);
        Self {
            hub,
            all: vec![],
            times: vec![],
            head: 10,
            newest: 0,
            capacity,
            closed: false,
            readers: vec![],
        }
    }

    fn before(&self, sequence: usize) -> u64 {
        self.all.get(sequence).map_or(self.head, |(position, _)| *position)
    }

    /// The oldest record that is kept, by the hub's position.
    fn first(&self) -> usize {
        let first = self.hub.first();
        self.all.iter().position(|(position, _)| *position == first).unwrap_or(self.all.len())
    }

    fn matches(&self, kind: &Kind, from: usize) -> Vec<usize> {
        (from..self.all.len()).filter(|sequence| kind.wants(&self.all[*sequence].1)).collect()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(records) => self.append(records),
            Op::Tail(kind) => {
                let cursor = self.hub.tail(kind.want());
                self.readers.push(Reader { cursor, kind, next: self.all.len(), pending: None });
            }
            Op::Seek(kind, to) => self.seek(kind, to),
            Op::Batch { cursor, encoding, limit } => self.poll_batch(cursor, encoding, limit),
            Op::Record { cursor } => self.poll_next(cursor),
            Op::Leave { cursor } if !self.readers.is_empty() => {
                let index = cursor % self.readers.len();
                self.readers.swap_remove(index);
            }
            Op::Leave { .. } => {}
            Op::Position(ahead) => {
                self.hub.set_position(self.head + ahead);
                self.head += if self.closed { 0 } else { ahead };
                assert!(
                    self.readers
                        .iter()
                        .filter(|reader| !self.closed && reader.pending.is_some())
                        .all(|reader| {
                            !reader.pending.as_ref().is_some_and(|flag| flag.is_woken())
                        })
                );
            }
            Op::Capacity(bytes) => {
                self.capacity = bytes;
                self.hub.set_capacity_bytes(bytes);
                self.check_capacity();
            }
            Op::Index => {
                self.hub.build_index();
                assert!(self.hub.is_indexed());
            }
            Op::Close => {
                self.closed = true;
                self.hub.close();
                for reader in &self.readers {
                    assert!(
                        reader.pending.as_ref().is_none_or(|flag| flag.is_woken()),
                        "closing wakes"
                    );
                }
            }
        }
        self.check();
    }

    fn append(&mut self, records: Vec<(Vec<u8>, usize, usize)>) {
        let from = self.all.len() as u64;
        let records: Vec<Numbered> = (from..)
            .zip(records)
            .map(|(id, (keys, weight, padding))| Numbered { id, keys, weight, padding })
            .collect();
        let before = Time::now();
        self.hub.append(records.clone());
        let times = (before, Time::now());
        if self.closed || records.is_empty() {
            return;
        }
        for reader in &mut self.readers {
            let Some(flag) = &reader.pending else { continue };
            if records.iter().any(|record| reader.kind.wants(record)) {
                assert!(flag.is_woken(), "{:?} has a match", reader.kind);
            }
            if !records.iter().any(|record| reader.kind.concerns(record)) {
                assert!(!flag.is_woken(), "{:?} is not concerned", reader.kind);
            }
            if flag.is_woken() {
                reader.pending = None;
            }
        }
        self.newest = self.all.len();
        for record in records {
            self.all.push((self.head, record));
            self.times.push(times);
            self.head += 1;
        }
        self.check_capacity();
    }

    fn check_capacity(&self) {
        assert!(
            self.hub.bytes() <= self.capacity || self.first() == self.newest,
            "only the newest may be too much"
        );
    }

    fn seek(&mut self, kind: Kind, to: u8) {
        // A position between 0 and the end, holes included.
        let target = 5 + (self.head - 5) * u64::from(to) / 255;
        let first = self.first();
        let cursor = self.hub.seek(|position| *position <= target, kind.want());
        if first == self.all.len() || self.before(first) > target {
            assert_eq!(cursor.is_some(), first == self.all.len() && self.head <= target);
        }
        if let Some(cursor) = cursor {
            // A record is before the target if the position after it is.
            let next = self.all.iter().filter(|(position, _)| *position < target).count();
            assert!(next >= first);
            self.readers.push(Reader { cursor, kind, next, pending: None });
        } else {
            assert!(self.before(first) > target);
        }
    }

    fn poll_batch(&mut self, cursor: usize, encoding: u8, limit: usize) {
        let Some((index, left)) = self.choose(cursor) else { return };
        let (polled, flag) = poll(&mut self.readers[index].cursor, encoding, limit);
        match polled {
            Poll::Ready(Ok(batch)) => {
                let given = &left[..batch.count()];
                let mut expected = vec![];
                for sequence in given {
                    show(encoding, self.all[*sequence].0, &self.all[*sequence].1, &mut expected);
                }
                assert_eq!(batch.bytes(), &expected, "rendered from scratch");
                assert!(batch.bytes().len() <= limit || batch.count() == 1);
                let shows = |sequence: &usize| {
                    let mut shown = vec![];
                    show(encoding, self.all[*sequence].0, &self.all[*sequence].1, &mut shown);
                    !shown.is_empty()
                };
                assert!(batch.count() == 1 || given.iter().all(shows), "nothing goes alone");
                let last = self.readers[index].cursor.last(&batch);
                self.given(index, given, &last);
            }
            Poll::Ready(Err(lost)) => self.lost(index, &left, lost),
            Poll::Pending => self.pending(index, &left, flag),
        }
    }

    fn poll_next(&mut self, cursor: usize) {
        let Some((index, left)) = self.choose(cursor) else { return };
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&flag));
        match self.readers[index].cursor.poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(item)) => self.given(index, &left[..1], &item),
            Poll::Ready(Err(lost)) => self.lost(index, &left, lost),
            Poll::Pending => self.pending(index, &left, flag),
        }
    }

    fn choose(&mut self, cursor: usize) -> Option<(usize, Vec<usize>)> {
        let index = cursor.checked_rem(self.readers.len())?;
        let reader = &self.readers[index];
        Some((index, self.matches(&reader.kind, reader.next)))
    }

    fn given(&mut self, index: usize, given: &[usize], last: &Entry<Numbers>) {
        let sequence = *given.last().expect("at least one");
        let (position, record) = &self.all[sequence];
        assert_eq!((last.sequence(), last.record().id), (sequence as u64, record.id));
        assert_eq!((last.before(), last.after()), (*position, position + 1));
        assert!(given[0] >= self.first());
        self.readers[index].next = sequence + 1;
    }

    fn lost(&mut self, index: usize, left: &[usize], lost: CursorError) {
        let kept = self.first();
        let reader = &mut self.readers[index];
        match lost {
            CursorError::Lagged { missed: wanted, first, .. } => {
                let wanted = usize::try_from(wanted).expect("a small number");
                assert_eq!(first, kept as u64);
                assert!(wanted < kept);
                match &reader.kind {
                    Kind::All => assert_eq!(wanted, reader.next),
                    Kind::Keys(_) => {
                        assert_eq!(Some(&wanted), left.first(), "only what was wanted is lost")
                    }
                    // A scan may have missed a record that it has not tested.
                    Kind::Scan(_) => assert!(
                        wanted >= reader.next && left.first().is_none_or(|next| wanted <= *next)
                    ),
                }
                let place = self.all[wanted].0;
                assert_eq!(self.readers[index].cursor.position(), place, "the place to go on from");
            }
            CursorError::Closed => assert!(self.closed && left.is_empty()),
            _ => unreachable!("{lost}"),
        }
    }

    fn pending(&mut self, index: usize, left: &[usize], flag: Arc<Flag>) {
        assert!(!self.closed && left.is_empty(), "pending with {left:?} to read");
        assert!(!flag.is_woken());
        let head = self.head;
        let reader = &mut self.readers[index];
        assert_eq!(reader.cursor.position(), head, "an idle cursor stands at the head");
        reader.pending = Some(flag);
    }

    fn check(&mut self) {
        assert_eq!(self.hub.cursors(), self.readers.len());
        assert_eq!(self.hub.head(), self.head);
        let first = self.first();
        for index in 0..self.readers.len() {
            let reader = &self.readers[index];
            let next = self.matches(&reader.kind, reader.next).first().copied();
            let after = reader.next.checked_sub(1).map_or(0, |last| self.all[last].0);
            let exact = match reader.kind {
                Kind::All => Some(self.before(reader.next)),
                Kind::Scan(_) | Kind::Keys(_) => None,
            };
            let most = next.map_or(self.head, |next| self.before(next));
            let position = self.readers[index].cursor.position();
            assert!(after <= position && position <= most, "{after} <= {position} <= {most}");
            assert!(exact.is_none_or(|exact| exact == position));
        }
        for reader in &self.readers {
            self.check_view(reader, first);
        }
        for target in [first, self.all.len() / 2, self.all.len()].map(|at| self.before(at)) {
            let began = Time::now();
            let age = self.hub.age_after(|position| *position <= target);
            let wanted = self.all.iter().position(|(position, _)| *position >= target);
            assert_eq!(
                age.is_some(),
                wanted.is_some() && self.head > target && first < self.all.len()
            );
            if let Some((age, wanted)) = age.zip(wanted) {
                self.check_age(age, wanted.max(first), first, began);
            }
        }
        if self.readers.iter().all(|reader| matches!(reader.kind, Kind::All)) {
            let slowest =
                self.readers.iter().map(|reader| reader.next).filter(|next| *next >= first).min();
            let lag: usize = slowest
                .map_or(0, |next| self.all[next..].iter().map(|(_, record)| record.weight).sum());
            assert_eq!(self.hub.lag_bytes(), lag);
        }
    }
}

impl Model {
    /// What others see of a cursor.
    fn check_view(&self, reader: &Reader, first: usize) {
        let len = self.all.len();
        let began = Time::now();
        let lag = reader.cursor.view().lag().expect("the cursor is there");
        let records = usize::try_from(lag.records).expect("a small number");
        let candidates = || (reader.next..len).filter(|at| reader.kind.concerns(&self.all[*at].1));
        // Of a selective cursor, collisions of hashes may have been passed.
        let most = len - candidates().next().unwrap_or(len);
        let least = len - self.matches(&reader.kind, reader.next).first().copied().unwrap_or(len);
        let least = if matches!(reader.kind, Kind::All) { most } else { least };
        assert!(least <= records && records <= most, "{least} <= {records} <= {most}");
        match records {
            0 => assert_eq!(lag.age, Duration::ZERO),
            // After the close no record need be kept.
            _ if first == len => assert_eq!(lag.age, Duration::ZERO),
            _ => self.check_age(lag.age, (len - records).max(first), first, began),
        }
    }

    /// The age of the chunk that has this record: others that were appended before may be joined to it.
    fn check_age(&self, age: Duration, record: usize, first: usize, began: Time) {
        assert!(age >= began.saturating_duration_since(self.times[record].1));
        assert!(age <= self.times[first].0.elapsed());
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::All),
        (0..8u8).prop_map(Kind::Scan),
        prop::collection::vec(0..8u8, 1..4).prop_map(Kind::Keys),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..300usize, 2 => 3_000..9_000usize, 1 => 15_000..70_000usize]
}

fn op() -> impl Strategy<Value = Op> {
    let record = (prop::collection::vec(0..8u8, 0..3), size(), size());
    let limit = prop_oneof![0..100usize, 100..20_000usize, Just(usize::MAX)];
    prop_oneof![
        30 => prop::collection::vec(record, 0..5).prop_map(Op::Append),
        4 => kind().prop_map(Op::Tail),
        6 => (kind(), any::<u8>()).prop_map(|(kind, to)| Op::Seek(kind, to)),
        40 => (any::<usize>(), 0..3u8, limit).prop_map(|(cursor, encoding, limit)| Op::Batch { cursor, encoding, limit }),
        8 => any::<usize>().prop_map(|cursor| Op::Record { cursor }),
        3 => any::<usize>().prop_map(|cursor| Op::Leave { cursor }),
        3 => (0..5u64).prop_map(Op::Position),
        1 => (0..400_000usize).prop_map(Op::Capacity),
        1 => Just(Op::Index),
    ]
}

proptest! {
    #[test]
    fn each_cursor_is_given_each_match_once_or_told_what_it_lost(
        capacity in prop_oneof![Just(0), 0..20_000usize, 0..600_000usize, Just(usize::MAX)],
        ops in prop::collection::vec(op(), 1..150),
        closes in any::<bool>(),
        rest in prop::collection::vec(op(), 0..20),
    ) {
        let mut model = Model::new(capacity);
        ops.into_iter().for_each(|op| model.apply(op));
        if closes {
            model.apply(Op::Close);
        }
        rest.into_iter().for_each(|op| model.apply(op));
    }

    #[test]
    fn many_tiny_chunks_read_as_the_same_bytes_before_and_after_they_are_joined(
        sizes in prop::collection::vec(0..40usize, 200..400),
        limits in prop::collection::vec(0..4_000usize, 1..8),
        early in 0..200usize,
    ) {
        let mut model = Model::new(usize::MAX);
        model.apply(Op::Tail(Kind::All));
        model.apply(Op::Tail(Kind::Keys(vec![1, 4])));
        for (number, size) in sizes.iter().enumerate() {
            model.apply(Op::Append(vec![(vec![u8::try_from(number % 7).unwrap()], 10, *size)]));
            if number < early {
                model.apply(Op::Batch { cursor: number % 2, encoding: 0, limit: usize::MAX });
            }
            if number % 50 == 49 {
                model.apply(Op::Position(1));
            }
        }
        for (turn, limit) in limits.iter().cycle().take(100).enumerate() {
            model.apply(Op::Batch { cursor: turn % 2, encoding: u8::try_from(turn / 50).unwrap(), limit: *limit });
        }
    }
}
