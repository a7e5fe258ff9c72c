//! Schedules of compacted topics: whatever happens in whatever order, a client that applies the events has the
//! state of the topic, as its records were converted.

use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use proptest::prelude::*;

use super::super::*;
use super::{compacted, tombstone};
use crate::broker::model::Call;
use crate::{Changes, Conversion, EventId, RecordRef};

const KEYS: usize = 4;
const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Write {
        partition: usize,
        key: usize,
        tombstone: bool,
        verdict: Verdict,
    },
    /// As Kafka's cleaner does.
    Compact {
        partition: usize,
    },
    Skip {
        partition: usize,
    },
    Read {
        client: usize,
        writes: usize,
    },
    /// The client reconnects to some instance with its last event id.
    Resume {
        client: usize,
    },
    /// The client begins anew.
    Begin {
        client: usize,
    },
    Restart {
        instance: usize,
    },
    Grow,
    Fail {
        call: Call,
        times: usize,
    },
    Panic {
        call: Call,
    },
    Reconnect,
}

/// What the converter makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unchanged,
    /// It has another key.
    Renamed,
    /// It has another key, and is rejected.
    Rejected,
    /// It has another key, and then the converter panics.
    Panics,
}

impl Verdict {
    /// What its key begins with in Kafka.
    fn prefix(self) -> &'static str {
        match self {
            Self::Unchanged => "",
            Self::Renamed => "x-",
            Self::Rejected => "r-",
            Self::Panics => "p-",
        }
    }

    fn is_rejected(self) -> bool {
        matches!(self, Self::Rejected | Self::Panics)
    }
}

/// What the converter makes of a value.
fn converted(value: &str) -> String {
    format!("{value}{}", "+".repeat(2 * value.len()))
}

/// A converter that every fourth time can't say yet what becomes of a record.
fn converter() -> impl crate::ConvertRecord {
    let asked = AtomicUsize::new(0);
    move |record: &RecordRef<'_>, changes: &mut Changes| {
        if asked.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
            changes.key_mut().extend_from_slice(b"of no record");
            return Conversion::NotYet(Box::pin(std::future::ready(())));
        }
        let prefix = record.key().and_then(|key| key.split_first_chunk::<2>());
        let prefix = prefix.filter(|(prefix, _)| prefix[1] == b'-');
        if let Some((_, key)) = prefix {
            changes.key_mut().extend_from_slice(key);
        }
        match prefix {
            Some((b"r-", _)) => {
                return Conversion::Rejected { reason: "bad", detail: "its key says so".into() };
            }
            // Without a message for each of them.
            Some((b"p-", _)) => panic::resume_unwind(Box::new("its key says so")),
            _ => {}
        }
        if let Some(value) = record.value() {
            let value = String::from_utf8_lossy(value);
            changes.value_mut().extend_from_slice(converted(&value).as_bytes());
        }
        Conversion::Accepted
    }
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..3usize;
    let client = 0..CLIENTS;
    let call = prop_oneof![
        Just(Call::Consumer),
        Just(Call::Topics),
        Just(Call::Watermarks),
        Just(Call::Fetch),
        Just(Call::FetchHistory)
    ];
    let verdict = prop_oneof![
        4 => Just(Verdict::Unchanged),
        4 => Just(Verdict::Renamed),
        2 => Just(Verdict::Rejected),
        1 => Just(Verdict::Panics),
    ];
    prop_oneof![
        12 => (partition.clone(), 0..KEYS, proptest::bool::weighted(0.3), verdict).prop_map(
            |(partition, key, tombstone, verdict)| Step::Write { partition, key, tombstone, verdict }
        ),
        1 => partition.clone().prop_map(|partition| Step::Compact { partition }),
        1 => partition.prop_map(|partition| Step::Skip { partition }),
        6 => (client.clone(), 1..4usize).prop_map(|(client, writes)| Step::Read { client, writes }),
        3 => client.clone().prop_map(|client| Step::Resume { client }),
        2 => client.prop_map(|client| Step::Begin { client }),
        1 => (0..2usize).prop_map(|instance| Step::Restart { instance }),
        1 => Just(Step::Grow),
        1 => (call, 1..4usize).prop_map(|(call, times)| Step::Fail { call, times }),
        1 => Just(Step::Panic { call: Call::FetchHistory }),
        1 => Just(Step::Reconnect),
    ]
}

fn name(partition: i32, key: usize) -> String {
    format!("{partition}{key}")
}

/// The last record of each partition: what came before it came.
fn last(partition: i32) -> String {
    format!("{partition}last")
}

#[derive(Default)]
struct World {
    /// The last record of each key: its partition and offset, its value and what becomes of it.
    latest: BTreeMap<String, (i32, i64, Option<String>, Verdict)>,
    /// All records, as partition and offset, with their keys in Kafka.
    written: BTreeMap<(i32, i64), String>,
    /// The last offset of each key in Kafka.
    last: BTreeMap<String, i64>,
    count: usize,
    partitions: usize,
    is_converted: bool,
}

impl World {
    fn write(
        &mut self,
        model: &Model,
        partition: i32,
        key: &str,
        (dead, verdict): (bool, Verdict),
    ) {
        let verdict = if self.is_converted { verdict } else { Verdict::Unchanged };
        self.count += 1;
        let padding = self.count % 30 * if self.is_converted { 10 } else { 1 };
        let mut value = (!dead).then(|| format!("{key}={}{}", self.count, " ".repeat(padding)));
        let of_kafka = format!("{}{key}", verdict.prefix());
        let message =
            Message { value: value.as_ref().map(String::as_bytes), ..tombstone(&of_kafka) };
        let offset = model.produce(TOPIC, partition, message);
        if self.is_converted {
            value = value.map(|value| converted(&value));
        }
        self.latest.insert(key.to_owned(), (partition, offset, value, verdict));
        self.written.insert((partition, offset), of_kafka.clone());
        self.last.insert(of_kafka, offset);
    }

    fn compact(&mut self, model: &Model, partition: i32) {
        let stays = |offset: i64| {
            let key = self.written.get(&(partition, offset));
            key.is_none_or(|key| self.last[key] == offset)
        };
        model.remove(TOPIC, partition, |offset| !stays(offset));
    }

    fn state(&self, filter: Option<&String>) -> BTreeMap<String, String> {
        let latest = self
            .latest
            .iter()
            .filter(|(key, _)| filter.is_none_or(|filter| filter == *key || key.ends_with("last")));
        let latest = latest.filter(|(_, (.., verdict))| !verdict.is_rejected());
        latest.filter_map(|(key, (_, _, value, _))| Some((key.clone(), value.clone()?))).collect()
    }
}

/// A client that keeps the state of the topic.
struct Follower {
    client: Client,
    filter: Option<String>,
    state: BTreeMap<String, String>,
    seen: BTreeSet<String>,
    /// The ends of the partitions when it began, if the log of its instance had reached them; `None` once it resumed.
    began: Option<Vec<i64>>,
    id: Vec<(i32, i64)>,
    last_event_id: Option<Bytes>,
    /// How many events came.
    count: usize,
}

impl Follower {
    async fn begin(cluster: &Cluster, world: &World, filter: Option<String>) -> Self {
        let began = Self::ends_of(cluster, world);
        let client = open(cluster, Self::query(filter.as_ref())).await;
        let state = BTreeMap::new();
        let seen = BTreeSet::new();
        let id = Vec::new();
        let last_event_id = None;
        let count = 0;
        Self { client, filter, state, seen, began, id, last_event_id, count }
    }

    /// The ends of the partitions that the instance knew from the start. `None` if its log has not reached them.
    fn ends_of(cluster: &Cluster, world: &World) -> Option<Vec<i64>> {
        let last = |partition| {
            let mut of = world.written.range((partition, 0)..(partition + 1, 0));
            of.next_back().map_or(0, |((_, offset), _)| offset + 1)
        };
        let ends: Vec<i64> = (0..2).map(last).collect();
        let head = cluster.head(TOPIC)?;
        Positions::new(&*ends).at_or_before(&head).then_some(ends)
    }

    fn query(filter: Option<&String>) -> Query {
        let Some(filter) = filter else { return query() };
        (0..3)
            .fold(key(filter), |query, partition| query.filter(Filter::any().key(last(partition))))
    }

    async fn resume(&mut self, cluster: &Cluster, world: &World) {
        let limit = self.client.limit;
        let query = Self::query(self.filter.as_ref()).last_event_id(self.last_event_id.clone());
        // Without an id it begins, and this instance may know less than the one before.
        self.began = match self.last_event_id {
            Some(_) => None,
            None => Self::ends_of(cluster, world),
        };
        self.client = open(cluster, query).await;
        self.client.limit = limit;
    }

    /// Applies what came.
    fn take(&mut self, world: &World, is_compact: bool) {
        while let Some(item) = self.client.parser.pull().unwrap() {
            self.last_event_id = self.client.last_event_id();
            let Item::Message(message) = item else { continue };
            self.count += 1;
            let data = message.data_lossy().into_owned();
            match message.event.as_deref() {
                None => {
                    let key = data.split('=').next().unwrap().to_owned();
                    assert_eq!(data.ends_with('+'), world.is_converted, "{data}");
                    self.seen.insert(key.clone());
                    self.state.insert(key, data);
                }
                Some(b"delete") => {
                    let key = String::from_utf8(URL_SAFE.decode(&data).unwrap()).unwrap();
                    self.state.remove(&key);
                    // Written before it began, and nothing since: it can't know the key.
                    let (partition, offset, ..) = world.latest[&key];
                    let unseen = self.began.as_ref().is_some_and(|began| {
                        began.get(partition as usize).is_some_and(|end| offset < *end)
                    });
                    let known = self.seen.contains(&key);
                    assert!(known || !unseen || !is_compact, "a tombstone of {key}");
                }
                other => panic!("{other:?} {data}"),
            }
            let id = EventId::decode(self.last_event_id.as_deref().unwrap()).unwrap();
            for (partition, before) in &self.id {
                // A partition that is not named is at its beginning.
                let now = id.offsets().iter().find(|(of, _)| of == partition);
                let now = now.map_or(0, |(_, now)| *now);
                assert!(now >= *before, "{id:?} after {:?}", self.id);
            }
            self.id = id.offsets().to_vec();
        }
    }

    /// Of a key whose last record was rejected, it has what it has seen before, if anything.
    fn forget_rejected(&mut self, world: &World) {
        self.state.retain(|key, _| !world.latest[key].3.is_rejected());
    }

    async fn read(&mut self, world: &World, writes: usize, is_compact: bool) {
        for _ in 0..writes {
            for _ in 0..20 {
                let cx = &mut Context::from_waker(Waker::noop());
                let polled = self.client.stream.as_mut().poll_events(cx, self.client.limit);
                if let std::task::Poll::Ready(Some(Ok(write))) = polled {
                    self.client.take(&write.into_bytes());
                    self.take(world, is_compact);
                    break;
                }
                pause().await;
            }
        }
    }

    /// Reads until the last record of each partition came.
    async fn finish(&mut self, world: &World, is_compact: bool) {
        let is_last = |key: &String| self.state.get(key) == world.latest[key].2.as_ref();
        if (0..world.partitions as i32).all(|partition| is_last(&last(partition))) {
            return;
        }
        self.client.write().await;
        self.take(world, is_compact);
        Box::pin(self.finish(world, is_compact)).await;
    }
}

/// A schedule: its steps, how many bytes each instance may keep, whether streams are given a snapshot of any age, so that
/// the records that it lacks come behind it, and whether records are converted.
type Drawn = (Vec<Step>, usize, bool, bool);

fn drawn() -> impl Strategy<Value = Drawn> {
    (
        proptest::collection::vec(step(), 1..120),
        prop_oneof![Just(500usize), Just(12_000), Just(1 << 20), Just(1 << 20)],
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.6),
    )
}

fn run(seed: u64, (steps, memory, reused, is_converted): Drawn) -> u64 {
    simulation::run(seed, async {
        let model = compacted(2);
        let mut world = World { partitions: 2, is_converted, ..World::default() };
        let start = |at: u64| {
            let small = move |options: ClusterOptions| options.memory_bytes(memory);
            let mut instance = instance().seed(simulation::random()).batch(2 + 3 * at as usize);
            let timing = &mut instance.options.timing;
            // Otherwise it would depend on how long the machine takes to make one.
            timing.snapshot_times = 0;
            timing.snapshot = if reused { Duration::MAX } else { Duration::ZERO };
            if is_converted {
                // Of what is fetched at once only the first is appended at once when it was converted.
                instance.batch = 10;
                timing.poll_bytes = 1500;
                timing.share = if at == 1 { Duration::ZERO } else { timing.share };
                instance = instance.options(|options| options.converter(TOPIC, converter()));
            }
            instance.options(small).of(&model)
        };
        let is_compact = memory >= 1 << 20 && !reused;
        let mut instances = [start(0), start(1)];
        let mut followers = Vec::new();
        for at in 0..CLIENTS {
            let filter = (at % 2 == 1).then(|| name(0, at % KEYS));
            let mut follower = Follower::begin(&instances[at % 2], &world, filter).await;
            follower.client.limit = 50 + 100 * at;
            followers.push(follower);
        }
        for (at, step) in steps.iter().enumerate() {
            simulation::turn().await;
            let exists = |partition: &usize| (*partition % world.partitions) as i32;
            match step {
                Step::Write { partition, key, tombstone, verdict } => {
                    let partition = exists(partition);
                    world.write(&model, partition, &name(partition, *key), (*tombstone, *verdict));
                }
                Step::Compact { partition } => {
                    let partition = exists(partition);
                    world.compact(&model, partition);
                }
                Step::Skip { partition } => model.skip(TOPIC, exists(partition), 3),
                Step::Read { client, writes } => {
                    followers[*client].read(&world, *writes, is_compact).await;
                }
                Step::Resume { client } => {
                    followers[*client].resume(&instances[(at + client) % 2], &world).await;
                }
                Step::Begin { client } => {
                    let (filter, cluster) =
                        (followers[*client].filter.clone(), &instances[(at + client) % 2]);
                    followers[*client] = Follower::begin(cluster, &world, filter).await;
                    followers[*client].client.limit = 50 + 100 * client;
                }
                Step::Restart { instance } => instances[*instance] = start(at as u64),
                Step::Grow => {
                    world.partitions = 3;
                    model.grow(TOPIC, 3);
                }
                Step::Fail { call, times } => model.fail(*call, *times),
                Step::Panic { call } => model.panic_seldom_at(*call),
                Step::Reconnect => {
                    model.set_reachable(false);
                    model.set_reachable(true);
                }
            }
        }
        for partition in 0..world.partitions as i32 {
            world.write(&model, partition, &last(partition), (false, Verdict::Unchanged));
        }
        for follower in &mut followers {
            follower.finish(&world, is_compact).await;
            follower.forget_rejected(&world);
            assert_eq!(follower.state, world.state(follower.filter.as_ref()));
        }
        // If the log has all records, a replay is exactly the state.
        for cluster in &instances {
            let mut live = Follower::begin(cluster, &world, None).await;
            live.finish(&world, is_compact).await;
            for filter in [None, Some(name(0, 1))] {
                let state = world.state(filter.as_ref());
                let mut late = Follower::begin(cluster, &world, filter).await;
                late.finish(&world, is_compact).await;
                late.read(&world, 1, is_compact).await;
                if !is_compact {
                    late.forget_rejected(&world);
                }
                assert_eq!(late.state, state);
                assert!(late.count == state.len() || !is_compact, "{} events", late.count);
            }
        }
        drop(followers);
        for instance in instances {
            instance.close().await;
        }
    })
}

#[test]
fn a_client_that_applies_the_events_has_the_state_of_the_topic() {
    seeds::each(1500, drawn, run);
}
