//! The expected state: what was written and what became of it. It uses nothing of the engine.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::converter::{LEFT_OUT, Registry, Verdict, unconverted};
use crate::broker::model::Spoilt;

pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its transaction is open.
    Open,
    There,
    /// Streams get a gap in its place.
    Spoilt(Spoilt),
    Aborted,
    Compacted,
    Expired,
    /// The log was truncated, or the topic created anew.
    Truncation,
}

#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Its key and whether it has the tag, once it is converted.
    pub(super) key: &'static str,
    pub(super) tagged: bool,
    /// The key that it has in Kafka is another one.
    is_key_converted: bool,
    pub(super) verdict: Verdict,
    /// The converters of streams reject it.
    pub(super) is_left_out: bool,
    pub(super) fate: Fate,
}

/// A truncation of a log in which a client had a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truncation {
    /// The end of the log after it. A client at that position or before lost nothing.
    pub(super) at: i64,
    /// The end of the log before it.
    pub(super) high: i64,
    /// The instance saw it while it carried the client. Otherwise it can't be noticed once the log is as long as it
    /// was.
    pub(super) seen: bool,
}

impl Truncation {
    pub(super) fn add_to(self, truncations: &mut BTreeMap<i32, Self>, partition: i32) {
        let truncation = truncations.entry(partition).or_insert(self);
        truncation.at = truncation.at.min(self.at);
        truncation.high = truncation.high.max(self.high);
        truncation.seen &= self.seen;
    }
}

pub(super) struct World {
    pub(super) model: Model,
    /// Every record ever, at its number.
    pub(super) written: Vec<Written>,
    by_position: BTreeMap<(i32, i64), Vec<usize>>,
    /// Each low watermark that a partition ever had.
    lows: BTreeMap<i32, BTreeSet<i64>>,
    low: BTreeMap<i32, i64>,
    pub(super) partitions: usize,
    /// Where the open transaction of a partition began.
    open: BTreeMap<i32, i64>,
    /// Truncations that the instances need not have noticed.
    pub(super) unseen: BTreeMap<i32, Truncation>,
    /// Superseded records need not be shown.
    compacted: bool,
    unreachable: bool,
    held: bool,
    unreadable: bool,
    /// If records are converted: what is needed for it.
    pub(super) registry: Option<Registry>,
    unconvertible: bool,
    leaderless: BTreeSet<i32>,
    lagging: BTreeSet<i32>,
}

impl World {
    pub(super) fn new(partitions: usize, compacted: bool, converted: bool) -> Self {
        let model = kafka(partitions);
        let world = Self {
            model,
            written: Vec::new(),
            by_position: BTreeMap::new(),
            lows: BTreeMap::new(),
            low: BTreeMap::new(),
            partitions,
            open: BTreeMap::new(),
            unseen: BTreeMap::new(),
            compacted,
            unreachable: false,
            held: false,
            unreadable: false,
            registry: converted.then(Registry::default),
            unconvertible: false,
            leaderless: BTreeSet::new(),
            lagging: BTreeSet::new(),
        };
        world.configure();
        world
    }

    /// No tombstone is ever removed: the gap for that has tests of its own.
    fn configure(&self) {
        if self.compacted {
            self.model.compacted(TOPIC, vec![0; 8]);
        }
    }

    pub(super) fn numbers(&self) -> std::ops::Range<i32> {
        0..self.partitions as i32
    }

    pub(super) fn high(&self, partition: i32) -> i64 {
        self.model.high(TOPIC, partition)
    }

    /// The offset at which consumers stop for now.
    pub(super) fn stable(&self, partition: i32) -> i64 {
        self.open.get(&partition).copied().unwrap_or_else(|| self.high(partition))
    }

    /// Whether Kafka's log reaches this position.
    pub(super) fn reaches(&self, position: &Positions) -> bool {
        position.iter().all(|(partition, next)| next <= self.high(partition))
    }

    pub(super) fn has_had_low(&self, partition: i32, low: i64) -> bool {
        low == 0 || self.lows.get(&partition).is_some_and(|lows| lows.contains(&low))
    }

    pub(super) fn low(&self, partition: i32) -> i64 {
        self.low.get(&partition).copied().unwrap_or(0)
    }

    /// The numbers of the records that are or were at these offsets.
    pub(super) fn at(
        &self,
        partition: i32,
        offsets: std::ops::Range<i64>,
    ) -> impl Iterator<Item = usize> {
        let end = offsets.end.max(offsets.start);
        self.by_position
            .range((partition, offsets.start)..(partition, end))
            .flat_map(|(_, at)| at)
            .copied()
    }

    /// The records that can be read now.
    pub(super) fn readable(&self, partition: i32) -> impl Iterator<Item = usize> {
        let all = self.at(partition, 0..self.stable(partition));
        all.filter(|number| self.written[*number].fate == Fate::There)
    }

    /// Whether a compacted topic may omit this record.
    pub(super) fn is_superseded(&self, number: usize) -> bool {
        let record = &self.written[number];
        self.compacted
            && self.at(record.partition, record.offset + 1..i64::MAX).any(|later| {
                let later = &self.written[later];
                later.key == record.key && !matches!(later.fate, Fate::Open | Fate::Aborted)
            })
    }

    pub(super) fn append(&mut self, partition: i32, records: usize) {
        for _ in 0..records {
            let number = self.written.len();
            let tagged = number.is_multiple_of(4);
            let verdict = Verdict::of(number, tagged);
            let is_left_out = number % 5 == 1;
            self.write(partition, KEYS[number % 3], (tagged, verdict, is_left_out), false);
        }
    }

    /// Writes records that can't be read.
    pub(super) fn spoil(&mut self, partition: i32, records: usize, how: Spoilt) {
        let from = self.high(partition);
        let keys: Vec<_> = (0..records).map(|record| KEYS[record % 3]).collect();
        let of_kafka: Vec<_> =
            (0..).zip(&keys).map(|(at, key)| self.key_in_kafka(at, key)).collect();
        let of_kafka: Vec<_> = of_kafka.iter().map(|key| &**key).collect();
        self.model.spoil(TOPIC, partition, &of_kafka, how);
        for (offset, key) in (from..).zip(keys) {
            self.note(Written {
                partition,
                offset,
                key,
                tagged: false,
                is_key_converted: false,
                verdict: Verdict::Unchanged,
                is_left_out: false,
                fate: Fate::Spoilt(how),
            });
        }
    }

    /// Whether there is a transaction whose end is awaited.
    pub(super) fn is_open(&self, partition: i32) -> bool {
        self.open.contains_key(&partition)
    }

    fn key_in_kafka(&self, number: usize, key: &str) -> String {
        match self.registry.is_some() && number % 2 == 1 {
            true => unconverted(key),
            false => key.to_owned(),
        }
    }

    fn write(
        &mut self,
        partition: i32,
        key: &'static str,
        (tagged, verdict, is_left_out): (bool, Verdict, bool),
        in_transaction: bool,
    ) {
        let verdict = if self.registry.is_some() { verdict } else { Verdict::Unchanged };
        let number = self.written.len();
        let offset = self.high(partition);
        let marks = [verdict.mark(), if is_left_out { LEFT_OUT } else { ' ' }];
        let marks = String::from_iter(marks);
        let padding = number % 60 * if verdict == Verdict::Grown { 5 } else { 1 };
        let value = format!("{partition}:{offset}:{number}:{marks}{}", " ".repeat(padding));
        let tag = [("tag", Some(&b"x"[..]))];
        let headers = if tagged && verdict != Verdict::Tagged { &tag[..] } else { &[] };
        let of_kafka = self.key_in_kafka(number, key);
        let message = Message { headers, ..keyed(&of_kafka, &value) };
        let fate = match in_transaction {
            true => self.model.produce_in(TOPIC, partition, message),
            false => self.model.produce(TOPIC, partition, message),
        };
        assert_eq!(fate, offset);
        let fate = if in_transaction { Fate::Open } else { Fate::There };
        let is_key_converted = of_kafka != key;
        self.note(Written {
            partition,
            offset,
            key,
            tagged,
            is_key_converted,
            verdict,
            is_left_out,
            fate,
        });
    }

    fn note(&mut self, written: Written) {
        let at = (written.partition, written.offset);
        self.by_position.entry(at).or_default().push(self.written.len());
        self.written.push(written);
    }

    /// Each kind of record in each partition, none of which is rejected.
    pub(super) fn append_last(&mut self) {
        for partition in self.numbers() {
            for key in KEYS {
                self.write(partition, key, (true, Verdict::Grown, false), false);
            }
        }
    }

    /// Opens a transaction, or writes into the one that is open.
    pub(super) fn transact(&mut self, partition: i32) {
        if !self.open.contains_key(&partition) {
            self.open.insert(partition, self.high(partition));
            self.model.begin(TOPIC, partition);
        }
        let number = self.written.len();
        let tagged = number.is_multiple_of(4);
        let kind = (tagged, Verdict::of(number, tagged), number % 5 == 1);
        self.write(partition, KEYS[number % 3], kind, true);
    }

    pub(super) fn end(&mut self, partition: i32, commit: bool) {
        if self.open.remove(&partition).is_some() {
            self.model.end(TOPIC, partition, commit);
            let fate = if commit { Fate::There } else { Fate::Aborted };
            self.doom(partition, 0, fate, |record| record.fate == Fate::Open);
        }
    }

    fn doom(&mut self, partition: i32, from: i64, fate: Fate, which: impl Fn(&Written) -> bool) {
        let numbers: Vec<_> = self.at(partition, from..i64::MAX).collect();
        for number in numbers {
            if which(&self.written[number]) {
                self.written[number].fate = fate;
            }
        }
    }

    pub(super) fn compact(&mut self, partition: i32) {
        let mut last = BTreeMap::new();
        for number in self.readable(partition) {
            let record = &self.written[number];
            last.insert((record.key, record.is_key_converted), record.offset);
        }
        let superseded: BTreeSet<i64> = self
            .readable(partition)
            .map(|number| &self.written[number])
            .filter(|record| last[&(record.key, record.is_key_converted)] > record.offset)
            .map(|record| record.offset)
            .collect();
        self.model.remove(TOPIC, partition, |offset| superseded.contains(&offset));
        self.doom(partition, 0, Fate::Compacted, |record| {
            record.fate == Fate::There && superseded.contains(&record.offset)
        });
    }

    pub(super) fn expire(&mut self, partition: i32, percent: i64) {
        let low = self.low(partition).max(self.stable(partition) * percent / 100);
        self.low.insert(partition, low);
        self.lows.entry(partition).or_default().insert(low);
        self.model.expire(TOPIC, partition, low);
        self.doom(partition, 0, Fate::Expired, |record| {
            matches!(record.fate, Fate::There | Fate::Spoilt(_)) && record.offset < low
        });
    }

    /// Whether the log may go back: within a transaction none does, and of a compacted topic it would
    /// bring back what was superseded.
    pub(super) fn can_cut(&self, partition: i32) -> bool {
        !self.open.contains_key(&partition) && !self.compacted
    }

    /// The offset at this percentage of the log.
    pub(super) fn truncation_at(&self, partition: i32, percent: i64) -> i64 {
        let low = self.low(partition);
        let high = self.high(partition);
        low + (high - low) * percent / 100
    }

    /// Truncates the log.
    pub(super) fn truncate(&mut self, partition: i32, at: i64, seen: bool) {
        let high = self.high(partition);
        if !seen {
            Truncation { at, high, seen }.add_to(&mut self.unseen, partition);
        }
        self.model.truncate(TOPIC, partition, at);
        self.doom(partition, at, Fate::Truncation, |record| {
            matches!(record.fate, Fate::There | Fate::Spoilt(_))
        });
    }

    pub(super) fn create_anew(&mut self, seen: bool) {
        if seen {
            self.unseen.clear();
        }
        for partition in self.numbers().filter(|_| !seen) {
            let high = self.high(partition);
            Truncation { at: 0, high, seen }.add_to(&mut self.unseen, partition);
        }
        self.model.create(TOPIC, self.partitions);
        self.configure();
        self.low.clear();
        self.leaderless.clear();
        self.lagging.clear();
        self.unreadable = false;
        for partition in self.numbers() {
            self.doom(partition, 0, Fate::Truncation, |record| {
                matches!(record.fate, Fate::There | Fate::Spoilt(_) | Fate::Expired)
            });
        }
    }

    pub(super) fn grow(&mut self) {
        self.partitions = (self.partitions + 1).min(5);
        self.model.grow(TOPIC, self.partitions);
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        self.unreachable = !reachable;
        self.model.set_reachable(reachable);
    }

    pub(super) fn hold_history(&mut self, held: bool) {
        self.held = held;
        self.model.hold_history(held);
    }

    pub(super) fn set_unreadable(&mut self, unreadable: bool) {
        self.unreadable = unreadable;
        self.model.set_unreadable(TOPIC, unreadable);
    }

    pub(super) fn set_convertible(&mut self, convertible: bool) {
        if let Some(registry) = &self.registry {
            self.unconvertible = !convertible;
            registry.set_there(convertible);
        }
    }

    pub(super) fn set_leaderless(&mut self, partition: i32, leaderless: bool) {
        match leaderless {
            true => self.leaderless.insert(partition),
            false => self.leaderless.remove(&partition),
        };
        self.model.set_leaderless(TOPIC, partition, leaderless);
    }

    /// Readers get what is there up to this share of it.
    pub(super) fn lag(&mut self, partition: i32, percent: Option<i64>) {
        match percent {
            Some(_) => self.lagging.insert(partition),
            None => self.lagging.remove(&partition),
        };
        let end = percent.map(|percent| self.model.high(TOPIC, partition) * percent / 100);
        self.model.lag(TOPIC, partition, end);
    }

    /// Whether a test may wait for what is due.
    pub(super) fn is_well(&self) -> bool {
        let troubled = self.unreachable || self.held || self.unreadable || self.unconvertible;
        let led = self.leaderless.is_empty() && self.lagging.is_empty();
        !troubled && led && !self.model.will_panic()
    }

    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        self.set_reachable(true);
        self.hold_history(false);
        self.set_unreadable(false);
        self.set_convertible(true);
        self.model.slow(Duration::ZERO);
        for partition in self.numbers() {
            self.set_leaderless(partition, false);
            self.lag(partition, None);
        }
    }

    pub(super) fn end_all(&mut self) {
        self.numbers().for_each(|partition| self.end(partition, true));
    }
}
