//! One client, and the checks of all that it gets.

use std::collections::{BTreeMap, HashSet};

use super::super::*;
use super::converter::{self, Verdict};
use super::world::{Fate, Truncation, World, Written};
use crate::EventId;
use crate::broker::model::Spoilt;

/// Which records a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum TestFilter {
    All,
    Key(&'static str),
    Tagged,
    KeyOrTagged(&'static str),
}

impl TestFilter {
    fn query(self) -> Query {
        let tagged = || Filter::any().header("tag", "x");
        match self {
            Self::All => query(),
            Self::Key(key) => super::super::key(key),
            Self::Tagged => query().filter(tagged()),
            Self::KeyOrTagged(key) => super::super::key(key).filter(tagged()),
        }
    }

    fn takes(self, key: &str, tagged: bool) -> bool {
        match self {
            Self::All => true,
            Self::Key(wanted) => wanted == key,
            Self::Tagged => tagged,
            Self::KeyOrTagged(wanted) => wanted == key || tagged,
        }
    }
}

/// How the records of a stream are converted.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// It asks for gaps in place of rejected records.
    pub(super) told: bool,
    /// It has a converter of its own.
    pub(super) own: bool,
}

pub(super) struct Reader {
    client: Client,
    pub(super) instance: usize,
    wanted: TestFilter,
    /// Without an id it begins at the end.
    pub(super) live: bool,
    how: How,
    /// Its id did not decode: a gap comes first.
    garbled: bool,
    /// The next offsets by the last id.
    reported: BTreeMap<i32, i64>,
    /// Where it began, and begins anew after a truncation.
    start: BTreeMap<i32, i64>,
    got: HashSet<usize>,
    truncations: BTreeMap<i32, Truncation>,
    last_event_id: Option<Bytes>,
    last_was_gap: bool,
}

impl Reader {
    pub(super) async fn open(
        cluster: &Cluster,
        instance: usize,
        wanted: TestFilter,
        (live, how): (bool, How),
        limit: usize,
    ) -> Self {
        let mut client = super::super::open(cluster, Self::query(wanted, how)).await;
        client.limit = limit;
        Self {
            client,
            instance,
            wanted,
            live,
            how,
            garbled: false,
            reported: BTreeMap::new(),
            start: BTreeMap::new(),
            got: HashSet::new(),
            truncations: BTreeMap::new(),
            last_event_id: None,
            last_was_gap: false,
        }
    }

    fn query(wanted: TestFilter, how: How) -> Query {
        let query = wanted.query().options(StreamOptions::new().invalid_gaps(how.told));
        match how.own {
            true => query.converter(Arc::new(converter::of_stream())),
            false => query,
        }
    }

    /// Whether the record is rejected for this stream. The converter of the topic comes before the filter, and
    /// that of the stream after it.
    fn rejects(&self, record: &Written) -> bool {
        let takes = self.wanted.takes(record.key, record.tagged);
        record.verdict.is_rejected() || (self.how.own && record.is_left_out && takes)
    }

    /// It leaves and comes back with the last id that it has.
    pub(super) async fn resume(&mut self, cluster: &Cluster, instance: usize) {
        let id = match self.garbled {
            true => Some(Bytes::from_static(b"garbled")),
            false => self.last_event_id.clone(),
        };
        let limit = self.client.limit;
        let query = Self::query(self.wanted, self.how).last_event_id(id);
        self.client = super::super::open(cluster, query).await;
        self.client.limit = limit;
        self.instance = instance;
        self.truncations.values_mut().for_each(|truncation| truncation.seen = false);
    }

    /// Replaces its id by one that does not decode.
    pub(super) fn garble(&mut self, world: &World) {
        self.garbled = true;
        self.reported.clear();
        self.start.clear();
        self.got.clear();
        self.begin(world);
    }

    /// Notes a truncation. `seen`: the instance noticed it.
    pub(super) fn truncate(&mut self, partition: i32, at: i64, high: i64, seen: bool) {
        let seen = seen && self.client.stream.is_following();
        Truncation { at, high, seen }.add_to(&mut self.truncations, partition);
    }

    /// The instance saw that nothing is left of the log, whatever had become of it before.
    pub(super) fn cut_to_nothing(&mut self, partition: i32, high: i64) {
        let before = self.truncations.remove(&partition).map_or(0, |truncation| truncation.high);
        self.truncate(partition, 0, high.max(before), true);
    }

    /// The client has no position yet, but its instance may show it a log that is truncated already.
    pub(super) fn begin(&mut self, world: &World) {
        self.truncations = world.unseen.clone();
    }

    /// The client may have got a gap for a truncation, and come to an instance that has not noticed it.
    pub(super) fn come(&mut self, world: &World) {
        for (partition, truncation) in &world.unseen {
            truncation.add_to(&mut self.truncations, *partition);
        }
    }

    pub(super) fn stands_at_or_before(&self, head: &Positions) -> bool {
        self.reported.iter().all(|(partition, next)| *next <= head.next(*partition))
    }

    /// Whether one more record must come.
    pub(super) fn is_due(&self, world: &World) -> bool {
        // A topic that was created anew may have an open transaction there, whose end a replay waits for.
        let is_behind_stable = |(partition, next): (&i32, &i64)| *next > world.stable(*partition);
        if self.reported.iter().any(is_behind_stable) {
            return false;
        }
        self.garbled
            || self.is_to_begin()
            || world.numbers().any(|partition| {
                let next = self.reported.get(&partition).copied().unwrap_or(0);
                !self.truncations.contains_key(&partition)
                    && world.readable(partition).any(|number| {
                        world.written[number].offset >= next && self.is_missing(world, number)
                    })
            })
    }

    /// Whether it has an id with positions.
    pub(super) fn has_position(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Whether it is live and does not have its position yet.
    pub(super) fn is_to_begin(&self) -> bool {
        self.live && self.reported.is_empty()
    }

    fn is_missing(&self, world: &World, number: usize) -> bool {
        let record = &world.written[number];
        let wanted = match self.rejects(record) {
            true => self.how.told,
            false => self.wanted.takes(record.key, record.tagged),
        };
        (wanted || matches!(record.fate, Fate::Spoilt(_)))
            && !self.got.contains(&number)
            && !world.is_superseded(number)
    }

    /// Reads so many writes: those that are due, and those that are ready.
    pub(super) async fn read(&mut self, world: &World, writes: usize) {
        for _ in 0..writes {
            if world.is_well() && self.is_due(world) {
                self.client.write().await;
                self.take(world);
            } else if !self.poll(world) {
                break;
            }
        }
        self.take_gaps(world);
    }

    /// Reads until it has all that there is.
    pub(super) async fn read_up(&mut self, world: &World) {
        while self.misses_last(world) {
            self.client.write().await;
            self.take(world);
        }
        self.take_gaps(world);
    }

    fn misses_last(&self, world: &World) -> bool {
        let is_wanted = |number: &usize| {
            let record = &world.written[*number];
            !self.rejects(record) && self.wanted.takes(record.key, record.tagged)
        };
        world.numbers().any(|partition| {
            world
                .readable(partition)
                .filter(is_wanted)
                .last()
                .is_some_and(|last| !self.got.contains(&last))
        })
    }

    /// Reads until it has a position. Unless its instance is stale, it must get a gap for each position past the
    /// end.
    pub(super) async fn settle(&mut self, world: &World, instance: &Cluster) {
        // An instance that has not noticed a truncation goes on as if there were none.
        let is_past = || {
            let mut heads = instance.head(TOPIC).into_iter().chain(instance.history_heads());
            heads.any(|head| !world.reaches(&head))
        };
        // It may be about to append what was there before.
        let is_stale = is_past() || world.model.has_late_fetches() || instance.is_deferred(TOPIC);
        for (partition, truncation) in &mut self.truncations {
            let is_past = |next: &i64| *next > world.high(*partition);
            // A log may have records of before and after a truncation that nobody has noticed.
            let is_known = !is_stale && !world.unseen.contains_key(partition);
            truncation.seen |= is_known && self.reported.get(partition).is_some_and(is_past);
        }
        let since = tokio::time::Instant::now();
        while !self.client.stream.is_following() {
            assert!(since.elapsed() < in_vain(), "no place is found");
            if !self.poll(world) {
                pause().await;
            }
        }
        self.take_gaps(world);
        let is_stale = is_stale || is_past();
        for (partition, next) in self.reported.iter().filter(|_| !is_stale) {
            let high = world.high(*partition);
            assert!(*next <= high, "partition {partition}: {next} is past {high}, without a gap");
        }
    }

    /// Gaps wait for nothing: what they say is what was true when the first of them came.
    fn take_gaps(&mut self, world: &World) {
        while self.last_was_gap && self.poll(world) {}
    }

    /// Takes a write that is ready. Returns false if there is none.
    fn poll(&mut self, world: &World) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = self.client.stream.as_mut().poll_events(cx, self.client.limit);
        let std::task::Poll::Ready(Some(Ok(write))) = polled else {
            self.client.assert_counted();
            return false;
        };
        self.client.take(&write.into_bytes());
        self.take(world);
        true
    }

    /// What an idle stream writes.
    pub(super) fn idle(&mut self, world: &World) {
        if let Some(block) = self.client.stream.as_mut().position() {
            self.client.take(&block.into_bytes());
            self.take(world);
        }
    }

    /// Checks a write.
    fn take(&mut self, world: &World) {
        while let Some(item) = self.client.parser.pull().unwrap() {
            if matches!(item, Item::Comment(_)) {
                continue;
            }
            self.last_was_gap = false;
            self.last_event_id = self.client.last_event_id();
            let id = EventId::decode(self.last_event_id.as_deref().unwrap()).unwrap();
            let id: BTreeMap<i32, i64> = id.offsets().iter().copied().collect();
            match item {
                Item::Id(_) => {}
                Item::Message(message) if message.event.is_none() => {
                    self.judge_record(world, &message.data_lossy(), &id);
                }
                Item::Message(message) => {
                    assert_eq!(message.event.as_deref(), Some(&b"gap"[..]));
                    self.judge_gap(world, &message.data_lossy(), &id);
                    self.last_was_gap = true;
                }
                other => panic!("{other:?}"),
            }
            assert!(!self.garbled, "no gap came for an id that does not decode");
            self.judge_position(world, &id);
        }
    }

    fn judge_record(&mut self, world: &World, data: &str, id: &BTreeMap<i32, i64>) {
        let mut parts = data.split(':').map(|part| part.trim().parse::<i64>());
        let mut part = || parts.next().unwrap().unwrap();
        let partition = part() as i32;
        let offset = part();
        let number = part() as usize;
        let record = &world.written[number];
        assert_eq!((record.partition, record.offset), (partition, offset), "forged: {data}");
        assert!(self.wanted.takes(record.key, record.tagged), "not asked for: {record:?}");
        assert!(!matches!(record.fate, Fate::Open | Fate::Aborted), "not committed: {record:?}");
        assert!(!matches!(record.fate, Fate::Spoilt(_)), "it can't be read: {record:?}");
        assert!(!self.rejects(record), "it was rejected: {record:?}");
        assert_eq!(data.ends_with('-'), self.how.own, "not as converted: {data}");
        let grown = data.trim_end_matches('-').ends_with('+');
        assert_eq!(grown, record.verdict == Verdict::Grown, "not as converted: {data}");
        assert!(!self.is_to_begin(), "a live stream begins with its place");
        let next = self.reported.get(&partition).copied().unwrap_or(0);
        assert!(offset >= next, "{data} after {next}");
        assert!(self.got.insert(number), "twice: {data}");
        assert_eq!(id.get(&partition), Some(&(offset + 1)), "the id of {data}");
    }

    fn judge_gap(&mut self, world: &World, data: &str, id: &BTreeMap<i32, i64>) {
        let gap: serde_json::Value = serde_json::from_str(data).unwrap();
        if gap["reason"] == "id" {
            assert!(self.garbled, "the id was good");
            self.garbled = false;
            return;
        }
        let number = |name: &str| gap[name].as_i64().unwrap();
        let partition = number("partition") as i32;
        let from = number("from");
        let to = number("to");
        let next = self.reported.get(&partition).copied();
        assert!(from >= next.unwrap_or(0), "{data} after {next:?}");
        assert_eq!(id.get(&partition), Some(&to), "the id of {data}");
        let reason = gap["reason"].as_str().unwrap();
        if matches!(reason, "unreadable" | "too_large" | "invalid") {
            assert!(self.how.told || reason != "invalid", "not asked for: {data}");
            self.skip(world, partition, next, from);
            self.judge_missing(world, data, reason);
            self.reported.insert(partition, to);
            return;
        }
        assert!(world.has_had_low(partition, to), "{data}: there was no such beginning");
        self.skip(world, partition, next, from);
        let truncation = self.truncations.get(&partition).copied();
        match reason {
            "retention" => {
                assert!(from < to, "{data}");
                assert!(
                    to <= world.low(partition) || truncation.is_some(),
                    "{data}: nothing is gone"
                );
            }
            "truncation" => {
                let truncation =
                    truncation.unwrap_or_else(|| panic!("{data}: nothing was truncated"));
                assert!(from > truncation.at, "{data}: it was truncated at {}", truncation.at);
                self.got.retain(|number| world.written[*number].partition != partition);
                self.start.insert(partition, to);
                if truncation.seen {
                    self.truncations.remove(&partition);
                }
            }
            other => panic!("{other}: {data}"),
        }
        self.reported.insert(partition, to);
    }

    /// Checks that a gap skips no record that can be read, and comes once.
    fn judge_missing(&mut self, world: &World, data: &str, reason: &str) {
        let gap: serde_json::Value = serde_json::from_str(data).unwrap();
        let number = |name: &str| gap[name].as_i64().unwrap();
        let partition = number("partition") as i32;
        let from = number("from");
        let to = number("to");
        assert!(from < to, "{data}");
        let reason_for = |how: Spoilt| match how {
            Spoilt::TooLarge => "too_large",
            Spoilt::Batch | Spoilt::Checksum | Spoilt::Panics => "unreadable",
        };
        for number in world.at(partition, from..to) {
            let record = &world.written[number];
            match record.fate {
                Fate::Spoilt(how) if reason == reason_for(how) => {
                    assert!(self.got.insert(number), "a second gap: {data}");
                }
                Fate::There if reason == "invalid" && self.rejects(record) => {
                    assert!(self.got.insert(number), "a second gap: {data}");
                }
                // It may have been told before.
                Fate::Expired | Fate::Truncation | Fate::Compacted | Fate::Aborted => {}
                // What was told may have stood there before the log was truncated.
                Fate::There | Fate::Open | Fate::Spoilt(_) => {
                    let truncation = self.truncations.get(&partition);
                    let excused =
                        truncation.is_some_and(|truncation| record.offset < truncation.high);
                    assert!(
                        excused,
                        "{data} passes over {record:?}, at {} with truncations {:?}, after {}",
                        self.instance,
                        self.truncations,
                        String::from_utf8_lossy(&self.client.wire)
                    );
                }
            }
        }
    }

    /// Checks the position that the client got.
    fn judge_position(&mut self, world: &World, id: &BTreeMap<i32, i64>) {
        let begins = self.is_to_begin();
        for (partition, next) in id {
            let reported = self.reported.insert(*partition, *next);
            assert!(
                reported.is_none_or(|reported| reported <= *next),
                "back from {reported:?} to {id:?}"
            );
            if begins {
                let truncation =
                    self.truncations.get(partition).map_or(0, |truncation| truncation.high);
                let open = world.at(*partition, truncation..*next);
                let open = open.filter(|number| world.written[*number].fate == Fate::Open);
                assert_eq!(open.count(), 0, "live behind the last stable offset: {id:?}");
                self.start.insert(*partition, *next);
            } else {
                self.skip(world, *partition, reported, *next);
            }
        }
        let knows_all = self.reported.keys().all(|partition| id.contains_key(partition));
        assert!(knows_all, "{id:?} forgets some of {:?}", self.reported);
    }

    /// Checks that all records up to `next` have come or are not for the client.
    fn skip(&self, world: &World, partition: i32, reported: Option<i64>, next: i64) {
        let truncation = self.truncations.get(&partition);
        for number in world.at(partition, reported.unwrap_or(0)..next) {
            let record = &world.written[number];
            let lost = match record.fate {
                Fate::There | Fate::Open | Fate::Spoilt(_) => true,
                // Who knows no place yet begins where the log begins by now.
                Fate::Expired => reported.is_some(),
                Fate::Aborted | Fate::Compacted | Fate::Truncation => false,
            };
            let excused = truncation.is_some_and(|truncation| record.offset < truncation.high);
            assert!(
                !lost || excused || !self.is_missing(world, number),
                "lost between {reported:?} and {next}: {record:?} after {}",
                String::from_utf8_lossy(&self.client.wire)
            );
        }
    }

    /// Whether it is known which records it must get.
    pub(super) fn is_sure(&self) -> bool {
        self.truncations.values().all(|truncation| truncation.seen)
    }

    /// Checks that it has read all records.
    pub(super) fn judge_all(&self, world: &World) {
        for partition in world.numbers() {
            let start = self.start.get(&partition).copied().unwrap_or(0);
            let unseen = self.truncations.get(&partition).filter(|truncation| !truncation.seen);
            for number in world.readable(partition) {
                let record = &world.written[number];
                let hidden = unseen.is_some_and(|truncation| record.offset < truncation.high);
                assert!(
                    record.offset < start || hidden || !self.is_missing(world, number),
                    "lost: {record:?}, truncations {:?}, after {}",
                    self.truncations,
                    String::from_utf8_lossy(&self.client.wire)
                );
            }
        }
    }
}
