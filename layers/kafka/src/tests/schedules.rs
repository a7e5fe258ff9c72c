//! Whatever happens in whatever order, each client gets every record that it asks for once and in the
//! order of its partition, or is told what it misses.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::EventId;
use crate::backend::model::Call;

const KEYS: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 4;

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
    /// The client leaves and comes back to another instance with the last id that it has.
    Resume {
        client: usize,
    },
    /// What an idle stream writes.
    Idle {
        client: usize,
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
    Abort {
        partition: usize,
    },
    Commit {
        partition: usize,
    },
    Grow,
    Fail {
        call: Call,
        times: usize,
    },
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..3usize;
    let client = 0..CLIENTS;
    let call = prop_oneof![
        Just(Call::Consumer),
        Just(Call::Topics),
        Just(Call::Extent),
        Just(Call::Fetch),
        Just(Call::FetchHistory)
    ];
    prop_oneof![
        6 => (partition.clone(), 1..12usize)
            .prop_map(|(partition, records)| Step::Append { partition, records }),
        6 => (client.clone(), 1..4usize).prop_map(|(client, writes)| Step::Read { client, writes }),
        3 => client.clone().prop_map(|client| Step::Resume { client }),
        1 => client.prop_map(|client| Step::Idle { client }),
        1 => partition.clone().prop_map(|partition| Step::Skip { partition }),
        1 => partition.clone().prop_map(|partition| Step::Compact { partition }),
        2 => (partition.clone(), 0..=100i64)
            .prop_map(|(partition, percent)| Step::Expire { partition, percent }),
        1 => partition.clone().prop_map(|partition| Step::Abort { partition }),
        1 => partition.prop_map(|partition| Step::Commit { partition }),
        1 => Just(Step::Grow),
        1 => (call, 1..4usize).prop_map(|(call, times)| Step::Fail { call, times }),
        1 => Just(Step::Reconnect),
    ]
}

/// What one client asked for, and what it got.
struct Reader {
    client: Client,
    key: Option<&'static str>,
    /// The offsets that came of each partition, in the order in which they came.
    got: BTreeMap<i32, Vec<i64>>,
    /// `from..to` of each partition that was told as gone.
    gaps: Vec<(i32, i64, i64)>,
    last_event_id: Option<Bytes>,
}

impl Reader {
    fn query(&self) -> Query {
        let query = query().last_event_id(self.last_event_id.clone());
        self.key.map_or(query.clone(), |key| query.filter(Filter::any().key(key)))
    }

    /// Takes what a write brought.
    fn take(&mut self) {
        while let Some(item) = self.client.parser.pull().unwrap() {
            self.last_event_id = self.client.last_event_id();
            let Item::Message(message) = item else { continue };
            let data = message.data_lossy().into_owned();
            match message.event.as_deref() {
                None => {
                    let mut parts = data.split(':').map(|part| part.trim().parse().unwrap_or(0));
                    let (partition, offset) = (parts.next().unwrap(), parts.next().unwrap());
                    self.got.entry(partition as i32).or_default().push(offset);
                }
                Some(b"gap") => {
                    let gap: serde_json::Value = serde_json::from_str(&data).unwrap();
                    let number = |name: &str| gap[name].as_i64().unwrap();
                    self.gaps.push((number("partition") as i32, number("from"), number("to")));
                }
                other => panic!("{other:?}"),
            }
            let id = EventId::decode(self.last_event_id.as_deref().unwrap()).unwrap();
            for (partition, next) in id.offsets() {
                let read = self.got.get(partition).and_then(|got| got.last());
                assert!(read.is_none_or(|read| read < next), "{id:?} is behind {data}");
            }
        }
    }

    /// So many writes, or those that are due.
    async fn read(&mut self, world: &World, writes: usize) {
        for _ in 0..writes {
            if world.is_due(self) {
                self.client.write().await;
                self.take();
                continue;
            }
            let cx = &mut Context::from_waker(Waker::noop());
            let polled = self.client.stream.as_mut().poll_events(cx, self.client.limit);
            let std::task::Poll::Ready(Some(Ok(write))) = polled else { break };
            self.client.take(&write.into_bytes());
            self.take();
        }
    }

    fn idle(&mut self) {
        if let Some(block) = self.client.stream.as_mut().position() {
            self.client.take(&block.into_bytes());
            self.take();
        }
    }
}

#[derive(Default)]
struct World {
    /// Key of each record that was written and can be shown, by partition and offset.
    written: BTreeMap<(i32, i64), &'static str>,
    /// Those that were taken away: a client may have them or not.
    gone: BTreeMap<i32, Vec<i64>>,
    low: BTreeMap<i32, i64>,
    partitions: usize,
    count: usize,
}

impl World {
    fn append(&mut self, model: &Model, partition: i32, records: usize) {
        for _ in 0..records {
            let key = KEYS[self.count % 3];
            self.count += 1;
            let offset = fill_one(model, partition, Some(key), self.count % 60);
            self.written.insert((partition, offset), key);
        }
    }

    fn compact(&mut self, model: &Model, partition: i32) {
        let of: Vec<_> = self
            .written
            .range((partition, 0)..(partition + 1, 0))
            .map(|(at, key)| (at.1, *key))
            .collect();
        let superseded = |offset: i64| {
            let key = of.iter().find(|(at, _)| *at == offset).map(|(_, key)| *key);
            key.is_some_and(|key| of.iter().any(|(at, other)| *at > offset && *other == key))
        };
        model.remove(TOPIC, partition, superseded);
        self.gone
            .entry(partition)
            .or_default()
            .extend(of.iter().map(|(at, _)| *at).filter(|at| superseded(*at)));
    }

    fn expire(&mut self, model: &Model, partition: i32, percent: i64) {
        let high = model.high(TOPIC, partition);
        let low = self.low.entry(partition).or_default();
        *low = (*low).max(high * percent / 100);
        model.expire(TOPIC, partition, *low);
    }

    /// Whether something that this reader asks for is there and did not come.
    fn is_due(&self, reader: &Reader) -> bool {
        self.written.iter().any(|((partition, offset), key)| {
            let last = reader.got.get(partition).and_then(|got| got.last());
            reader.key.is_none_or(|wanted| wanted == *key)
                && last.is_none_or(|last| last < offset)
                && self.low.get(partition).is_none_or(|low| low <= offset)
                && self.gone.get(partition).is_none_or(|gone| !gone.contains(offset))
        })
    }

    /// `got` is everything that this reader should have.
    fn check(&self, reader: &Reader) {
        for partition in 0..self.partitions as i32 {
            let got = reader.got.get(&partition).cloned().unwrap_or_default();
            assert!(got.is_sorted_by(|a, b| a < b), "partition {partition}: {got:?}");
            let gone = self.gone.get(&partition).cloned().unwrap_or_default();
            let low = self.low.get(&partition).copied().unwrap_or(0);
            let first = got.first().copied().unwrap_or(i64::MAX);
            for (at, key) in self.written.range((partition, 0)..(partition + 1, 0)) {
                let offset = at.1;
                if reader.key.is_some_and(|wanted| wanted != *key) {
                    assert!(!got.contains(&offset), "not asked for: {at:?}");
                    continue;
                }
                let told = reader
                    .gaps
                    .iter()
                    .any(|(of, from, to)| *of == partition && (*from..*to).contains(&offset));
                // Whoever has read nothing of a partition yet begins where it begins by now.
                let unread =
                    offset < low && offset < first && reader.starts_late(partition, offset);
                assert!(
                    got.contains(&offset) || told || unread || gone.contains(&offset),
                    "{at:?} is missing: got {got:?}, gaps {:?}, low {low}",
                    reader.gaps
                );
            }
            for offset in &got {
                assert!(self.written.contains_key(&(partition, *offset)), "forged {offset}");
            }
        }
    }
}

impl Reader {
    /// Whether no place of this partition was known when the stream began.
    fn starts_late(&self, partition: i32, offset: i64) -> bool {
        !self.gaps.iter().any(|(of, from, _)| *of == partition && *from < offset)
    }
}

fn run(steps: &[Step], seed: u64, memory: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let model = kafka(2);
        let mut world = World { partitions: 2, ..World::default() };
        let instances: Vec<_> = (0..2)
            .map(|at| {
                let small = move |options: ClusterOptions| options.memory_bytes(memory);
                instance().seed(seed + at).batch(2 + 3 * at as usize).options(small).of(&model)
            })
            .collect();
        let mut readers = Vec::new();
        for at in 0..CLIENTS {
            let key = (at % 2 == 1).then(|| KEYS[at % 3]);
            let first = key.map_or(query(), self::key);
            let mut client = open(&instances[at % 2], first).await;
            client.limit = 100 + 200 * at;
            let (got, gaps) = (BTreeMap::new(), Vec::new());
            readers.push(Reader { client, key, got, gaps, last_event_id: None });
        }
        for (at, step) in steps.iter().enumerate() {
            let exists = |partition: &usize| (*partition % world.partitions) as i32;
            match step {
                Step::Append { partition, records } => {
                    let partition = exists(partition);
                    world.append(&model, partition, *records);
                }
                Step::Read { client, writes } => readers[*client].read(&world, *writes).await,
                Step::Idle { client } => readers[*client].idle(),
                Step::Resume { client } => {
                    let reader = &mut readers[*client];
                    let limit = reader.client.limit;
                    reader.client = open(&instances[(at + client) % 2], reader.query()).await;
                    reader.client.limit = limit;
                }
                Step::Skip { partition } => model.skip(TOPIC, exists(partition), 3),
                Step::Compact { partition } => {
                    let partition = exists(partition);
                    world.compact(&model, partition);
                }
                Step::Expire { partition, percent } => {
                    let partition = exists(partition);
                    world.expire(&model, partition, *percent);
                }
                Step::Abort { partition } => {
                    let partition = exists(partition);
                    model.begin(TOPIC, partition);
                    model.produce_in(TOPIC, partition, text("never"));
                    world.append(&model, partition, 1);
                    model.end(TOPIC, partition, false);
                }
                Step::Commit { partition } => {
                    let partition = exists(partition);
                    model.begin(TOPIC, partition);
                    let value = format!("{partition}:{}", model.high(TOPIC, partition));
                    let offset = model.produce_in(TOPIC, partition, keyed("a", &value));
                    world.written.insert((partition, offset), "a");
                    world.append(&model, partition, 2);
                    model.end(TOPIC, partition, true);
                }
                Step::Grow => {
                    world.partitions = 3;
                    model.grow(TOPIC, 3);
                }
                Step::Fail { call, times } => model.fail(*call, *times),
                Step::Reconnect => {
                    model.set_reachable(false);
                    model.set_reachable(true);
                }
            }
        }
        // The last record of each partition, with each key: who has them has all.
        for partition in 0..world.partitions as i32 {
            world.append(&model, partition, 3);
        }
        let last = |reader: &Reader, partition: i32| {
            let of = world.written.range((partition, 0)..(partition + 1, 0));
            of.filter(|(_, key)| reader.key.is_none_or(|wanted| wanted == **key))
                .map(|(at, _)| at.1)
                .next_back()
                .unwrap()
        };
        for reader in &mut readers {
            for partition in 0..world.partitions as i32 {
                let last = last(reader, partition);
                while reader.got.get(&partition).is_none_or(|got| !got.contains(&last)) {
                    reader.client.write().await;
                    reader.take();
                }
            }
            world.check(reader);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_client_gets_each_record_once_or_is_told(
        steps in proptest::collection::vec(step(), 1..120),
        seed in 0..1000u64,
        memory in prop_oneof![Just(500usize), Just(3000), Just(1 << 20)],
    ) {
        run(&steps, seed, memory);
    }
}
