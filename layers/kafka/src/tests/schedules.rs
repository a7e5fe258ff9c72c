//! Schedules: whatever happens in whatever order, each client gets each record that it asks for once and in the
//! order of its partition, as it was converted, or a gap in its place.
//!
//! A schedule is a function of its seed: see `seeds` and `simulation`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::reader::{How, Reader, TestFilter};
use self::world::World;
use super::*;
use crate::broker::model::{Call, Spoilt};

mod converter;
mod reader;
mod world;

const CLIENTS: usize = 4;
/// Two begin streams at the beginning and one at the end.
const INSTANCES: usize = 3;
const LIVE: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: usize,
        records: usize,
    },
    /// The client reads so many writes.
    Read {
        client: usize,
        writes: usize,
    },
    /// The client leaves and comes back to any instance with the last id that it has. `waits`: it
    /// reads until it stands somewhere.
    Resume {
        client: usize,
        instance: usize,
        waits: bool,
    },
    /// It leaves, and another one comes without an id.
    Subscribe {
        client: usize,
        instance: usize,
        wanted: usize,
    },
    /// The client comes back with an id that does not decode.
    Garble {
        client: usize,
    },
    /// The client takes what an idle stream writes.
    Idle {
        client: usize,
    },
    /// An instance ends, and its clients go to the one that takes its place.
    Restart {
        instance: usize,
    },
    /// Produces records that can't be read.
    Spoil {
        partition: usize,
        records: usize,
        how: Spoilt,
    },
    Skip {
        partition: usize,
    },
    Compact {
        partition: usize,
    },
    Expire {
        partition: usize,
        percent: i64,
    },
    /// Begins a transaction, or goes on with it.
    Transact {
        partition: usize,
    },
    End {
        partition: usize,
        commit: bool,
    },
    /// `seen`: the instances notice it before anything else is written.
    Truncation {
        partition: usize,
        percent: i64,
        seen: bool,
    },
    CreateAnew {
        seen: bool,
    },
    Grow,
    Fail {
        call: Call,
        times: usize,
    },
    Panic {
        call: Call,
    },
    /// Each call takes up to so long.
    Slow {
        microseconds: u64,
    },
    Reconnect,
    Unreachable,
    HoldHistory,
    Unreadable,
    /// Some records can't be converted for now.
    Unconvertible,
    Leaderless {
        partition: usize,
    },
    /// A new leader shows so much of what was committed for now.
    Lag {
        partition: usize,
        percent: i64,
    },
    /// All of this is over.
    Heal,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..5usize;
    let client = || 0..CLIENTS;
    let instance = || 0..INSTANCES;
    let call = || {
        prop_oneof![
            Just(Call::Topics),
            Just(Call::Watermarks),
            Just(Call::Fetch),
            Just(Call::FetchHistory),
            Just(Call::DrainEventsHistory)
        ]
    };
    // A reader asks for a consumer at its start, and after it panicked.
    let fails = prop_oneof![5 => call(), 1 => Just(Call::Consumer)];
    let spoilt = || {
        prop_oneof![
            Just(Spoilt::Batch),
            Just(Spoilt::Checksum),
            Just(Spoilt::Panics),
            Just(Spoilt::TooLarge)
        ]
    };
    let often = || proptest::bool::weighted(0.8);
    let clients = prop_oneof![
        12 => (client(), 1..4usize).prop_map(|(client, writes)| Step::Read { client, writes }),
        6 => (client(), instance(), any::<bool>())
            .prop_map(|(client, instance, waits)| Step::Resume { client, instance, waits }),
        2 => (client(), instance(), 0..4usize)
            .prop_map(|(client, instance, wanted)| Step::Subscribe { client, instance, wanted }),
        1 => client().prop_map(|client| Step::Garble { client }),
        2 => client().prop_map(|client| Step::Idle { client }),
        1 => instance().prop_map(|instance| Step::Restart { instance }),
    ];
    let log = prop_oneof![
        16 => (partition(), 1..12usize)
            .prop_map(|(partition, records)| Step::Append { partition, records }),
        2 => (partition(), 1..6usize, spoilt())
            .prop_map(|(partition, records, how)| Step::Spoil { partition, records, how }),
        2 => partition().prop_map(|partition| Step::Skip { partition }),
        2 => partition().prop_map(|partition| Step::Compact { partition }),
        4 => (partition(), 0..=100i64)
            .prop_map(|(partition, percent)| Step::Expire { partition, percent }),
        3 => partition().prop_map(|partition| Step::Transact { partition }),
        4 => (partition(), any::<bool>())
            .prop_map(|(partition, commit)| Step::End { partition, commit }),
        3 => (partition(), 40..=100i64, often())
            .prop_map(|(partition, percent, seen)| Step::Truncation { partition, percent, seen }),
        1 => often().prop_map(|seen| Step::CreateAnew { seen }),
        1 => Just(Step::Grow),
    ];
    let trouble = prop_oneof![
        3 => (fails, 1..4usize).prop_map(|(call, times)| Step::Fail { call, times }),
        1 => call().prop_map(|call| Step::Panic { call }),
        1 => (0..2000u64).prop_map(|microseconds| Step::Slow { microseconds }),
        3 => Just(Step::Reconnect),
        1 => Just(Step::Unreachable),
        1 => Just(Step::HoldHistory),
        1 => Just(Step::Unreadable),
        2 => Just(Step::Unconvertible),
        1 => partition().prop_map(|partition| Step::Leaderless { partition }),
        2 => (partition(), 50..100i64)
            .prop_map(|(partition, percent)| Step::Lag { partition, percent }),
        9 => Just(Step::Heal),
    ];
    prop_oneof![23 => clients, 29 => log, 7 => trouble]
}

struct Schedule {
    world: World,
    instances: Vec<Cluster>,
    readers: Vec<Reader>,
    memory: usize,
}

fn wanted(number: usize) -> TestFilter {
    match number {
        0 => TestFilter::All,
        1 => TestFilter::Key("b"),
        2 => TestFilter::Tagged,
        _ => TestFilter::KeyOrTagged("c"),
    }
}

impl Schedule {
    fn start(&self, at: usize) -> Cluster {
        let mut start = instance().seed(simulation::random()).batch(2 + 3 * at);
        start.options.timing.max_retry = Duration::from_millis(50);
        // Many come while Kafka is away.
        start.options.timing.known = Duration::from_millis(20);
        start.options.timing.refresh = Duration::from_millis(60);
        // What the tail can't know of is found before it is waited for in vain.
        start.options.timing.watch = Duration::from_millis(500);
        // Many backfills for one reader, or few for two.
        start.options.timing.coalesce_offsets = [2, 20, 100_000][at];
        let readers = if at == 0 { 1 } else { 2 };
        start = start.options(|options| options.memory_bytes(self.memory).history_readers(readers));
        // The header is looked up, or hashes are as good as none, or each record is looked at.
        start = match at {
            0 => start.options(|options| options.index_header("tag")),
            1 => start.index(Index::colliding([Bytes::from("tag")])),
            _ => start.live(),
        };
        if let Some(registry) = &self.world.registry {
            // A poll brings records of a partition before and after those of another one, and only the first
            // of them are appended at once when they were converted.
            start.batch = 10;
            start.options.timing.poll_bytes = 1500;
            // Conversions have used up their share after a few of these records, or hardly ever.
            if at == 1 {
                start.options.timing.share = Duration::ZERO;
            }
            start = start.options(|options| options.converter(TOPIC, registry.converter()));
        }
        start.of(&self.world.model)
    }

    async fn subscribe(&self, client: usize, instance: usize, number: usize) -> Reader {
        let limit = 100 + 200 * client;
        let live = instance == LIVE;
        let how = How { told: client.is_multiple_of(2), own: client >= 2 };
        Reader::open(&self.instances[instance], instance, wanted(number), (live, how), limit).await
    }

    /// A client without an id that decodes begins at the default offset of the instance.
    fn home(&self, client: usize, instance: usize) -> usize {
        let reader = &self.readers[client];
        match (reader.has_position(), reader.live) {
            (true, _) => instance,
            (false, true) => LIVE,
            (false, false) => instance % LIVE,
        }
    }

    /// The client reads until it stands somewhere.
    async fn settle(&mut self, client: usize) {
        let reader = &mut self.readers[client];
        reader.settle(&self.world, &self.instances[reader.instance]).await;
    }

    async fn step(&mut self, step: &Step) {
        let partitions = self.world.partitions;
        let exists = |partition: &usize| (*partition % partitions) as i32;
        match step {
            Step::Append { partition, records } => self.world.append(exists(partition), *records),
            Step::Read { client, writes } => {
                self.readers[*client].read(&self.world, *writes).await;
            }
            Step::Resume { client, instance, waits } => {
                let instance = self.home(*client, *instance);
                self.readers[*client].resume(&self.instances[instance], instance).await;
                self.readers[*client].come(&self.world);
                if *waits && self.world.is_well() {
                    self.settle(*client).await;
                }
            }
            Step::Subscribe { client, instance, wanted } => {
                self.readers[*client] = self.subscribe(*client, *instance, *wanted).await;
                self.readers[*client].begin(&self.world);
            }
            Step::Garble { client } => {
                self.readers[*client].garble(&self.world);
                let instance = self.home(*client, self.readers[*client].instance);
                self.readers[*client].resume(&self.instances[instance], instance).await;
            }
            Step::Idle { client } => self.readers[*client].idle(&self.world),
            Step::Restart { instance } => {
                self.instances[*instance] = self.start(*instance);
                for reader in self.readers.iter_mut().filter(|reader| reader.instance == *instance)
                {
                    reader.resume(&self.instances[*instance], *instance).await;
                }
            }
            Step::Spoil { partition, records, how } => {
                if !self.world.is_open(exists(partition)) {
                    self.world.spoil(exists(partition), *records, *how);
                }
            }
            Step::Skip { partition } => self.world.model.skip(TOPIC, exists(partition), 3),
            Step::Compact { partition } => self.world.compact(exists(partition)),
            Step::Expire { partition, percent } => self.world.expire(exists(partition), *percent),
            Step::Transact { partition } => self.world.transact(exists(partition)),
            Step::End { partition, commit } => self.world.end(exists(partition), *commit),
            Step::Truncation { partition, percent, seen } => {
                if self.world.can_cut(exists(partition)) {
                    self.truncate(exists(partition), *percent, *seen && self.world.is_well()).await;
                }
            }
            Step::CreateAnew { seen } => {
                if self.world.numbers().all(|partition| self.world.can_cut(partition)) {
                    self.create_anew(*seen && self.world.is_well()).await;
                }
            }
            Step::Grow => self.world.grow(),
            Step::Fail { call, times } => self.world.model.fail(*call, *times),
            Step::Panic { call } => self.world.model.panic_seldom_at(*call),
            Step::Slow { microseconds } => {
                self.world.model.slow(Duration::from_micros(*microseconds));
            }
            Step::Reconnect => {
                self.world.set_reachable(false);
                self.world.set_reachable(true);
            }
            Step::Unreachable => self.world.set_reachable(false),
            Step::HoldHistory => self.world.hold_history(true),
            Step::Unreadable => self.world.set_unreadable(true),
            Step::Unconvertible => self.world.set_convertible(false),
            Step::Leaderless { partition } => {
                self.world.set_leaderless(exists(partition), true);
            }
            Step::Lag { partition, percent } => {
                self.world.lag(exists(partition), Some(*percent));
            }
            Step::Heal => self.world.heal(),
        }
    }

    /// The instances that have the topic have read all that can be read.
    async fn read_up(&self) {
        let world = &self.world;
        let ends: Vec<_> = world
            .numbers()
            .map(|partition| {
                let last = world.readable(partition).last();
                (partition, last.map_or(0, |last| world.written[last].offset + 1))
            })
            .collect();
        let reaches = |head: &Positions| {
            head.len() == world.partitions
                && ends.iter().all(|(partition, end)| *end <= head.next(*partition))
        };
        for instance in &self.instances {
            let what = format!("the log reaches {ends:?}");
            until(&what, instance, |head| head.is_some_and(reaches)).await;
        }
    }

    async fn truncate(&mut self, partition: i32, percent: i64, seen: bool) {
        if seen {
            self.read_up().await;
            // Whatever was repeated is read.
            let model = self.world.model.clone();
            let until = model.calls(Call::Fetch) + 4 * INSTANCES;
            eventually(|| model.calls(Call::Fetch) > until).await;
        }
        let heads: Vec<_> = self.instances.iter().map(|instance| instance.head(TOPIC)).collect();
        let at = self.world.truncation_at(partition, percent);
        let high = self.world.high(partition);
        // Where only holes are truncated, consumers may stand behind them, and nobody sees them go back.
        let past = |head: &Positions| head.next(partition) > at || at == high;
        // Nor where fetches repeat what came before.
        let steady = !self.world.model.will_fail(Call::Fetch);
        let seen = seen && steady && heads.iter().flatten().all(past);
        self.world.truncate(partition, at, seen);
        for reader in &mut self.readers {
            let head = heads[reader.instance].as_ref();
            let known = head.is_some_and(|head| reader.stands_at_or_before(head));
            reader.truncate(partition, at, high, seen && known);
        }
        if seen {
            let is_past = |head: &Positions| head.next(partition) > at;
            for instance in &self.instances {
                let what = format!("the truncation of {partition} at {at} is noticed");
                until(&what, instance, |head| !head.is_some_and(is_past)).await;
            }
        }
    }

    async fn create_anew(&mut self, seen: bool) {
        let highs: Vec<_> =
            self.world.numbers().map(|number| (number, self.world.high(number))).collect();
        if seen {
            self.read_up().await;
            self.world.model.delete(TOPIC);
            for instance in &self.instances {
                until("the topic is missed", instance, |_| instance.is_missing(TOPIC)).await;
            }
        }
        for reader in &mut self.readers {
            for (partition, high) in &highs {
                match seen {
                    true => reader.cut_to_nothing(*partition, *high),
                    false => reader.truncate(*partition, 0, *high, false),
                }
            }
        }
        self.world.create_anew(seen);
    }

    /// All trouble is over: now everybody gets all that is left.
    async fn finish(&mut self) {
        self.world.heal();
        self.world.end_all();
        for client in 0..CLIENTS {
            if self.readers[client].is_to_begin() {
                self.settle(client).await;
                self.readers[client].read(&self.world, 1).await;
            }
        }
        self.world.append_last();
        for reader in self.readers.iter_mut().filter(|reader| reader.is_sure()) {
            reader.read_up(&self.world).await;
            reader.judge_all(&self.world);
        }
        // Past whatever position in a log that was truncated: behind it nothing can be hidden.
        for partition in self.world.numbers() {
            self.world.model.skip(TOPIC, partition, 2000);
        }
        self.world.append_last();
        for reader in &mut self.readers {
            reader.read_up(&self.world).await;
            reader.judge_all(&self.world);
        }
    }
}

/// Waits for what an instance has to find out by itself, unless it releases the topic.
async fn until(what: &str, instance: &Cluster, holds: impl Fn(Option<&Positions>) -> bool) {
    let since = tokio::time::Instant::now();
    while !held(instance).is_empty() && !holds(instance.head(TOPIC).as_ref()) {
        assert!(since.elapsed() < in_vain(), "not {what}, but {:?}", instance.head(TOPIC));
        pause().await;
    }
}

/// A schedule: its steps, how many bytes each instance may keep, and whether the topic is compacted and its records are
/// converted.
type Drawn = (Vec<Step>, usize, bool, bool);

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        proptest::collection::vec(step(), 1..120),
        prop_oneof![Just(500usize), Just(3000), Just(1 << 20)],
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.6),
    )
}

fn run(seed: u64, (steps, memory, compacted, converted): Drawn) -> u64 {
    simulation::run(seed, async {
        let world = World::new(2, compacted, converted);
        let instances = Vec::new();
        let readers = Vec::new();
        let mut schedule = Schedule { world, instances, readers, memory };
        schedule.instances = (0..INSTANCES).map(|at| schedule.start(at)).collect();
        for client in 0..CLIENTS {
            schedule.readers.push(schedule.subscribe(client, client % INSTANCES, client).await);
        }
        for step in &steps {
            simulation::turn().await;
            schedule.step(step).await;
        }
        schedule.finish().await;
        schedule.readers.clear();
        for instance in schedule.instances {
            instance.close().await;
        }
    })
}

#[test]
fn every_client_gets_each_record_once_or_a_gap() {
    seeds::each(3000, drawn, run);
}

#[test]
fn schedules_of_different_seeds_differ() {
    let traces: BTreeSet<u64> = (0..20).map(|seed| seeds::trace(seed, drawn, run)).collect();
    assert_eq!(traces.len(), 20);
}
