//! Compacted topics: the latest record of each key, and then what comes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::EventId;
use crate::broker::model::Call;
use base64::engine::general_purpose::URL_SAFE;

fn compacted(partitions: usize) -> Model {
    let model = kafka(partitions);
    model.compacted(TOPIC, vec![0; 3]);
    model
}

fn tombstone(key: &str) -> Message<'_> {
    Message { key: Some(key.as_bytes()), ..Message::default() }
}

/// What is shown of a tombstone.
fn deleted(key: &str) -> String {
    format!("delete {}", URL_SAFE.encode(key))
}

/// Writes `key=number` for these keys in turn.
fn write(model: &Model, partition: i32, keys: &[&str], numbers: std::ops::Range<usize>) {
    for number in numbers {
        let key = keys[number % keys.len()];
        model.produce(TOPIC, partition, keyed(key, &format!("{key}={number}")));
    }
}

/// Events in the order of their partitions: those of each are in order already.
fn by_partition(mut events: Vec<String>) -> Vec<String> {
    events.sort_by_key(|event| event.as_bytes().first().copied());
    events
}

#[tokio::test]
async fn each_key_comes_once_and_then_what_is_new() {
    let model = compacted(2);
    write(&model, 0, &["0a", "0b", "0c"], 0..100);
    write(&model, 1, &["1a", "1d"], 0..10);
    model.produce(TOPIC, 0, tombstone("0b"));
    model.produce(TOPIC, 0, tombstone("never"));
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    let expected = ["0c=98", "0a=99", "1a=8", "1d=9"];
    assert_eq!(by_partition(first.events(4).await), expected);
    eventually(|| first.is_idle() && model.assigned_history() == 0).await;
    let served = model.served_history();
    let mut second = open(&cluster, query()).await;
    assert_eq!(by_partition(second.events(4).await), expected);
    assert_eq!(model.served_history(), served, "the topic is read once");

    model.produce(TOPIC, 0, keyed("0a", "0a=100"));
    model.produce(TOPIC, 0, tombstone("0c"));
    for client in [&mut first, &mut second] {
        assert_eq!(client.events(2).await, ["0a=100".to_owned(), deleted("0c")]);
    }
    // The snapshot may do for a while yet, longer where making it took longer.
    let since = tokio::time::Instant::now();
    let mut third = loop {
        let mut third = open(&cluster, query()).await;
        let events = by_partition(third.events(3).await);
        if events == ["0a=100", "1a=8", "1d=9"] {
            break third;
        }
        assert!(!events.iter().any(|event| event.starts_with("delete")), "{events:?}");
        assert!(since.elapsed() < IN_VAIN, "an old snapshot is kept");
    };
    write(&model, 1, &["1e"], 0..1);
    assert_eq!(third.data().await, "1e=0");
}

#[tokio::test]
async fn a_topic_of_which_nothing_but_holes_is_left_goes_live() {
    // Its snapshot has no record, and so had no place for a stream, which asked for it again for ever.
    let model = compacted(2);
    model.skip(TOPIC, 1, 3);
    let cluster = instance().of(&model);
    for place in [query(), after(&[0, 0])] {
        let mut client = open(&cluster, place).await;
        eventually(|| client.is_idle() && client.stream.is_following()).await;
        model.produce(TOPIC, 1, keyed("a", "a"));
        assert_eq!(client.events(1).await, ["a"]);
        let next = model.high(TOPIC, 1);
        model.remove(TOPIC, 1, |offset| offset < next);
    }
}

/// A stream whose snapshot made room for a newer one went on in the log, which has every tombstone.
#[tokio::test]
async fn who_reads_a_snapshot_that_ends_hears_of_no_key_that_it_never_saw() {
    let model = compacted(1);
    let start = || {
        let mut instance = instance().options(|options| options.preload_topic(TOPIC));
        instance.options.timing.snapshot_times = 0;
        instance
    };
    let cluster = start().of(&model);
    let mut live = open(&cluster, query()).await;
    eventually(|| live.is_idle() && model.calls(Call::Fetch) > 1).await;
    // A chunk of its own.
    model.produce(TOPIC, 0, keyed("a", &format!("a=0{}", " ".repeat(100_000))));
    model.produce(TOPIC, 0, tombstone("never"));
    write(&model, 0, &["b"], 1..2);
    live.events(3).await;
    let mut slow = open(&cluster, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "a=0");
    write(&model, 0, &["c"], 2..3);
    live.events(1).await;
    // A snapshot of its own: the one before ends.
    assert_eq!(open(&cluster, query()).await.events(3).await, ["a=0", "b=1", "c=2"]);
    assert_eq!(slow.events(2).await, ["b=1", "c=2"]);
}

#[tokio::test]
async fn a_log_that_has_everything_is_not_replayed_as_it_is() {
    let model = compacted(1);
    let cluster = instance().options(|options| options.preload_topic(TOPIC)).of(&model);
    let mut live = open(&cluster, query()).await;
    assert!(live.is_idle());
    eventually(|| live.is_idle() && model.calls(Call::Fetch) > 1).await;
    write(&model, 0, &["a", "b"], 0..100);
    live.events(100).await;
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.events(2).await, ["a=98", "b=99"]);
    eventually(|| late.is_idle()).await;
    assert_eq!(model.served_history(), 0);
}

#[tokio::test]
async fn resuming_gives_what_changed_since() {
    let model = compacted(1);
    write(&model, 0, &["a", "b", "c"], 0..30);
    let mut client = open(&instance().of(&model), query()).await;
    assert_eq!(client.events(3).await, ["a=27", "b=28", "c=29"]);
    write(&model, 0, &["a", "b"], 30..50);
    model.produce(TOPIC, 0, tombstone("b"));
    // Another instance, whose log begins after all of this.
    let mut client = client.resume(&instance().seed(2).of(&model), query()).await;
    assert_eq!(client.events(2).await, ["a=48".to_owned(), deleted("b")]);
}

#[tokio::test]
async fn a_replay_that_is_cut_goes_on_where_it_was() {
    let model = compacted(2);
    for partition in 0..2 {
        for key in 0..50 {
            let key = format!("{partition}{key:02}");
            model.produce(TOPIC, partition, keyed(&key, &key));
            model.produce(TOPIC, partition, keyed(&key, &key));
        }
    }
    let instances = [instance().of(&model), instance().seed(7).batch(50).of(&model)];
    let mut client = open(&instances[0], query()).await;
    client.limit = 100;
    let mut events = Vec::new();
    for round in 1..=20 {
        events.extend(client.events(5).await);
        client = client.resume(&instances[round % 2], query()).await;
        client.limit = 100;
    }
    let of = |partition: usize| (0..50).map(|key| format!("{partition}{key:02}")).collect();
    let expected: [Vec<String>; 2] = [of(0), of(1)];
    assert_eq!(by_partition(events), expected.concat());
}

#[tokio::test]
async fn filters_are_looked_up_in_the_snapshot_too() {
    let model = compacted(1);
    for number in 0..1000 {
        let (key, owner) = (format!("{}", number % 100), format!("{}", number % 10));
        let headers = [("owner", Some(owner.as_bytes()))];
        let value = format!("{key}={number}");
        model.produce(TOPIC, 0, Message { headers: &headers, ..keyed(&key, &value) });
    }
    model.produce(TOPIC, 0, tombstone("7"));
    // All values have the same hash: what is found by it is compared.
    let index = Index::colliding([Bytes::from("owner")]);
    let cluster = instance().batch(100).index(index).of(&model);
    let mut client = open(&cluster, key("42")).await;
    assert_eq!(client.data().await, "42=942");
    let mut gone = open(&cluster, key("7")).await;
    let mut owned = open(&cluster, query().filter(Filter::any().header("owner", "3"))).await;
    let expected: Vec<_> = (0..10).map(|at| format!("{}={}", 10 * at + 3, 903 + 10 * at)).collect();
    assert_eq!(owned.events(10).await, expected);
    assert!(gone.is_idle());
    model.produce(TOPIC, 0, keyed("7", "7=again"));
    assert_eq!(gone.data().await, "7=again");
    assert!(client.is_idle());
}

#[tokio::test]
async fn tombstones_that_may_be_gone_are_told_once_though_the_table_is_given_up() {
    let model = kafka(1);
    for number in 0..200 {
        model.produce(TOPIC, 0, keyed(&number.to_string(), &number.to_string()));
    }
    model.compacted(TOPIC, vec![150]);
    let cluster = instance().options(|options| options.memory_bytes(40 * 1024)).of(&model);
    let mut client = open(&cluster, after(&[3])).await;
    let events = client.until(&["199"]).await;
    assert!(cluster.is_given_up(TOPIC));
    assert!(events[0].starts_with("gap "), "{events:?}");
    let rest: Vec<_> = (3..200).map(|number| number.to_string()).collect();
    assert_eq!(events[1..], rest);
}

#[tokio::test]
async fn too_many_keys_are_replayed_as_kafka_has_them() {
    let model = compacted(1);
    for number in 0..200 {
        let key = format!("{}", number % 100);
        model.produce(TOPIC, 0, keyed(&key, &number.to_string()));
    }
    let all: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let some = |bytes| instance().options(move |options| options.memory_bytes(bytes)).of(&model);
    // A hundred keys take some 400 bytes each, and a quarter of the memory is for them.
    let (enough, scarce) = (some(400 * 1024), some(40 * 1024));
    assert_eq!(open(&enough, query()).await.events(100).await, all[100..]);
    assert_eq!(open(&scarce, query()).await.events(200).await, all);
    // It may grow too large later: those who read a snapshot then go on as well.
    let mut slow = open(&enough, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "100");
    for number in 0..2000 {
        model.produce(TOPIC, 0, keyed(&format!("more {number}"), "more"));
    }
    eventually(|| enough.is_given_up(TOPIC)).await;
    slow.limit = 64 * 1024;
    assert_eq!(slow.events(99 + 2000).await[..99], all[101..]);
    assert_eq!(open(&enough, query()).await.events(200).await, all);
}

#[tokio::test]
async fn what_retention_took_is_not_shown() {
    let model = compacted(1);
    write(&model, 0, &["a"], 0..5);
    write(&model, 0, &["b", "c"], 5..9);
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    assert_eq!(first.events(3).await, ["a=4", "c=7", "b=8"]);
    model.expire(TOPIC, 0, 8);
    let mut late = open(&cluster, query()).await;
    write(&model, 0, &["d"], 9..10);
    assert_eq!(late.events(2).await, ["b=8", "d=9"]);
    let mut behind = open(&cluster, after(&[5])).await;
    let gap = r#"gap {"from":5,"partition":0,"reason":"retention","to":8}"#;
    assert_eq!(behind.events(3).await, [gap, "b=8", "d=9"]);
}

#[tokio::test]
async fn a_hundred_streams_share_one_reading_and_its_slow_ones_hold_up_nobody() {
    let model = compacted(3);
    for number in 0..3000 {
        let key = format!("{}", number % 300);
        model.produce(TOPIC, number % 3, keyed(&key, &format!("{key}={number}")));
    }
    let cluster = instance().batch(100).of(&model);
    model.hold_history(true);
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(open(&cluster, query()).await);
    }
    eventually(|| clients.iter_mut().all(Client::is_idle)).await;
    model.hold_history(false);
    let latest: BTreeSet<_> = (0..300).map(|key| format!("{key}={}", 2700 + key)).collect();
    let (slow, fast) = clients.split_at_mut(50);
    for client in &mut *slow {
        client.limit = 1;
        assert!(latest.contains(&client.data().await));
    }
    for client in fast {
        assert_eq!(client.events(300).await.into_iter().collect::<BTreeSet<_>>(), latest);
    }
    assert_eq!(model.served_history(), 3000);
    // Each makes a snapshot, and the slow ones are in the first.
    for number in 0..5 {
        model.produce(TOPIC, 0, keyed("0", &format!("0={}", 3000 + number)));
        let mut client = open(&cluster, query()).await;
        client.until(&[&format!("0={}", 3000 + number)]).await;
    }
    for client in slow {
        client.limit = 64 * 1024;
        let mut events = client.until(&["0=3004"]).await;
        while !client.is_idle() {
            events.push(client.data().await);
        }
        let events: BTreeSet<_> = events.into_iter().collect();
        assert!(latest.iter().filter(|event| !events.contains(*event)).count() <= 2);
    }
}

#[tokio::test]
async fn a_slow_replay_of_old_records_misses_no_tombstone() {
    // Each record is older than the time for which tombstones are kept.
    let model = kafka(1);
    model.compacted(TOPIC, vec![1_000_000]);
    write(&model, 0, &["a", "b", "c"], 0..3);
    let cluster = instance().of(&model);
    let mut slow = open(&cluster, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "a=0");
    model.produce(TOPIC, 0, tombstone("a"));
    let mut other = open(&cluster, query()).await;
    other.until(&["c=2"]).await;
    slow.limit = 64 * 1024;
    assert_eq!(slow.events(3).await, ["b=1".to_owned(), "c=2".to_owned(), deleted("a")]);
    // On another instance nobody knows what became of them.
    let mut resumed = open(&instance().seed(3).of(&model), after(&[1])).await;
    let event = resumed.data().await;
    assert!(event.starts_with("gap ") && event.contains("tombstones"), "{event}");
}

#[tokio::test]
async fn a_topic_created_anew_is_read_anew() {
    let model = compacted(1);
    write(&model, 0, &["a", "b"], 0..10);
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    assert_eq!(first.events(2).await, ["a=8", "b=9"]);
    model.delete(TOPIC);
    let topics = model.calls(Call::Topics);
    eventually(|| model.calls(Call::Topics) > topics + 4).await;
    model.create(TOPIC, 1);
    model.compacted(TOPIC, vec![0]);
    write(&model, 0, &["c"], 0..3);
    let events = first.until(&["c=2"]).await;
    assert!(events.iter().any(|event| event.contains("truncation")), "{events:?}");
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.data().await, "c=2");
}

// Whatever happens in whatever order, who applies the events has the state of the topic.

const KEYS: usize = 4;
const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Write {
        partition: usize,
        key: usize,
        tombstone: bool,
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
    /// The client comes back to some instance with the last id that it has.
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
    prop_oneof![
        12 => (partition.clone(), 0..KEYS, proptest::bool::weighted(0.3))
            .prop_map(|(partition, key, tombstone)| Step::Write { partition, key, tombstone }),
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
    /// The last record of each key: its partition and offset, and its value.
    latest: BTreeMap<String, (i32, i64, Option<String>)>,
    /// All records, as partition and offset, with their keys.
    written: BTreeMap<(i32, i64), String>,
    count: usize,
    partitions: usize,
}

impl World {
    fn write(&mut self, model: &Model, partition: i32, key: &str, dead: bool) {
        self.count += 1;
        let value = (!dead).then(|| format!("{key}={}{}", self.count, " ".repeat(self.count % 30)));
        let message = Message { value: value.as_ref().map(String::as_bytes), ..tombstone(key) };
        let offset = model.produce(TOPIC, partition, message);
        self.latest.insert(key.to_owned(), (partition, offset, value));
        self.written.insert((partition, offset), key.to_owned());
    }

    fn compact(&mut self, model: &Model, partition: i32) {
        let stays = |offset: i64| {
            let key = self.written.get(&(partition, offset));
            key.is_none_or(|key| self.latest[key].1 == offset)
        };
        model.remove(TOPIC, partition, |offset| !stays(offset));
    }

    fn state(&self, filter: Option<&String>) -> BTreeMap<String, String> {
        let latest = self
            .latest
            .iter()
            .filter(|(key, _)| filter.is_none_or(|filter| filter == *key || key.ends_with("last")));
        latest.filter_map(|(key, (.., value))| Some((key.clone(), value.clone()?))).collect()
    }
}

/// A client that keeps the state of the topic.
struct Follower {
    client: Client,
    filter: Option<String>,
    state: BTreeMap<String, String>,
    seen: BTreeSet<String>,
    /// The ends of the partitions when it began, if its instance had come by; none once it resumed.
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
        let (state, seen) = (BTreeMap::new(), BTreeSet::new());
        let (id, last_event_id, count) = (Vec::new(), None, 0);
        Self { client, filter, state, seen, began, id, last_event_id, count }
    }

    /// The ends of the partitions that the instance knew from the start: others are new to it. `None` if it
    /// has not come by them.
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
                    self.seen.insert(key.clone());
                    self.state.insert(key, data);
                }
                Some(b"delete") => {
                    let key = String::from_utf8(URL_SAFE.decode(&data).unwrap()).unwrap();
                    self.state.remove(&key);
                    // Written before it began, and nothing since: it can't know the key.
                    let (partition, offset, _) = world.latest[&key];
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
                std::thread::yield_now();
                tokio::task::yield_now().await;
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

/// `reused`: streams are given a snapshot however old it is, so that what it lacks comes behind it.
fn run(steps: &[Step], seed: u64, memory: usize, reused: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let model = compacted(2);
        let mut world = World { partitions: 2, ..World::default() };
        let start = |at: u64| {
            let small = move |options: ClusterOptions| options.memory_bytes(memory);
            let mut instance = instance().seed(seed + at).batch(2 + 3 * at as usize);
            let timing = &mut instance.options.timing;
            // Otherwise it would depend on how long the machine takes to make one.
            timing.snapshot_times = 0;
            timing.snapshot = if reused { Duration::MAX } else { Duration::ZERO };
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
            let exists = |partition: &usize| (*partition % world.partitions) as i32;
            match step {
                Step::Write { partition, key, tombstone } => {
                    let partition = exists(partition);
                    world.write(&model, partition, &name(partition, *key), *tombstone);
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
                Step::Panic { call } => model.panic_at(*call),
                Step::Reconnect => {
                    model.set_reachable(false);
                    model.set_reachable(true);
                }
            }
        }
        for partition in 0..world.partitions as i32 {
            world.write(&model, partition, &last(partition), false);
        }
        for follower in &mut followers {
            follower.finish(&world, is_compact).await;
            assert_eq!(follower.state, world.state(follower.filter.as_ref()));
        }
        // Where the log has all, a replay is the state and nothing else.
        for cluster in &instances {
            let mut live = Follower::begin(cluster, &world, None).await;
            live.finish(&world, is_compact).await;
            for filter in [None, Some(name(0, 1))] {
                let state = world.state(filter.as_ref());
                let mut late = Follower::begin(cluster, &world, filter).await;
                late.finish(&world, is_compact).await;
                late.read(&world, 1, is_compact).await;
                assert_eq!(late.state, state);
                assert!(late.count == state.len() || !is_compact, "{} events", late.count);
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_applies_the_events_has_the_state_of_the_topic(
        steps in proptest::collection::vec(step(), 1..120),
        seed in 0..1000u64,
        memory in prop_oneof![Just(500usize), Just(12_000), Just(1 << 20), Just(1 << 20)],
        reused in proptest::bool::weighted(0.3),
    ) {
        run(&steps, seed, memory, reused);
    }
}
