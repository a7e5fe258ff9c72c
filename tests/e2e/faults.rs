//! What breaks while clients read: the broker, leaders, topics, logs.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::json;
use tailwater_http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, serve};
use tailwater_kafka::{Cluster, ClusterOptions, KafkaSourceLayer};
use tailwater_sse::SseLayer;
use tokio::task::JoinSet;
use tower::Layer as _;

use crate::support::{
    Get, Kafka, LOOK, Record, SOON, Stream, Version, config, field, id, kafka_alone, real_kafka,
    server, server_of, soon,
};

fn number(block: &str) -> i64 {
    let number = field(block, "data").and_then(|data| data.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number: {block}"))
}

/// A client under load: which numbers it gets, and those that it has.
struct Reader {
    stream: Stream,
    wants: fn(i64) -> bool,
    numbers: Vec<i64>,
}

impl Reader {
    async fn read(&mut self, count: usize) {
        let until = self.numbers.len() + count;
        while self.numbers.len() < until {
            let block = self.stream.next().await;
            // While nothing comes for it a client is told its place.
            if field(&block, "data").is_some() {
                self.numbers.push(number(&block));
            }
        }
    }

    /// Each number once, and each partition in its order: its numbers ascend.
    async fn read_all(&mut self, written: i64) {
        let expected: Vec<i64> = (0..written).filter(|value| (self.wants)(*value)).collect();
        self.read(expected.len() - self.numbers.len()).await;
        for partition in 0..2 {
            let of = self.numbers.iter().filter(|number| *number % 2 == partition);
            assert!(of.is_sorted(), "partition {partition}: {:?}", self.numbers);
        }
        self.numbers.sort_unstable();
        assert_eq!(self.numbers, expected);
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_and_restarted_under_load_loses_and_repeats_nothing() {
    if real_kafka().await.is_none() {
        return;
    }
    let kafka = kafka_alone().await;
    let topic = kafka.topic(2).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let all = format!("/all/{topic}");
    let key = format!("/keys/{topic}/3");
    let mut readers = Vec::new();
    for version in Version::BOTH {
        let stream = server.get(&all).over(version).open().await;
        readers.push(Reader { stream, wants: |_| true, numbers: Vec::new() });
        let stream = server.get(&key).over(version).open().await;
        readers.push(Reader { stream, wants: |number| number % 10 == 3, numbers: Vec::new() });
    }
    let load = kafka.load(&topic, 2);
    let faults: [fn(&Kafka); 3] = [Kafka::kill, Kafka::restart, |_| ()];
    for (round, fault) in faults.into_iter().enumerate() {
        // In the midst of it. The others are as slow as they happen to be.
        readers[round].read(50).await;
        fault(&kafka);
        // Who comes now reads the past from a broker that has just started.
        let stream = server.get(&all).open().await;
        readers.push(Reader { stream, wants: |_| true, numbers: Vec::new() });
    }
    let written = load.end();
    for reader in &mut readers {
        reader.read_all(written).await;
    }
}

/// A real broker that is away takes all leaders with it, so this is on two of librdkafka's mock.
#[tokio::test]
async fn a_partition_whose_leader_is_away_goes_on_with_the_next_and_holds_up_no_other() {
    let cluster = MockCluster::new(2).expect("a cluster");
    cluster.create_topic("led", 2, 2).expect("a topic");
    for partition in 0..2 {
        cluster.partition_leader("led", partition, Some(partition + 1)).expect("a leader");
    }
    let producer: BaseProducer = config(&cluster.bootstrap_servers()).create().expect("a producer");
    let write = |partition: i32, value: &str| {
        let record = BaseRecord::<(), str>::to("led").partition(partition).payload(value);
        producer.send(record).expect("sent");
        producer.flush(SOON).expect("written");
    };
    let server = server_of(&cluster.bootstrap_servers()).bootstrap("led").run().await;
    write(0, "0");
    let mut stream = server.get("/all/led").open().await;
    assert_eq!(number(&stream.next().await), 0);
    cluster.broker_down(1).expect("it goes");
    for value in ["1", "2"] {
        write(1, value);
        assert_eq!(field(&stream.next().await, "data"), Some(value));
    }
    // Nobody can tell whether this place is there.
    let mut waiting = server.get("/all/led").last_event_id(id(&[(0, 0), (1, 7)])).open().await;
    assert_eq!(waiting.comment().await, "");
    cluster.partition_leader("led", 0, Some(2)).expect("a leader");
    write(0, "3");
    assert_eq!(stream.next().await, format!("data:3\nid:{}\n", id(&[(0, 2), (1, 2)])));
    assert_eq!(waiting.gap().await.0["reason"], "truncation");
    let mut numbers: Vec<_> = waiting.take(4).await.iter().map(|block| number(block)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_topic_created_anew_at_once_is_told_where_a_place_is_past_its_end() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    kafka.produce_values(&topic, (0..10).map(|value| value.to_string()));
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    stream.take(10).await;
    // Faster than three looks at the topics.
    kafka.delete(&topic).await;
    kafka.create(&topic, 1, &[]).await;
    kafka.produce_values(&topic, (0..3).map(|value| value.to_string()));
    let expected = json!({"partition": 0, "from": 10, "to": 0, "reason": "truncation"});
    assert_eq!(stream.gap().await, (expected, id(&[(0, 0)])));
    let numbers: Vec<_> = stream.take(3).await.iter().map(|block| number(block)).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[tokio::test]
async fn records_larger_than_a_fetch_come_live_and_as_history() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 1, &[("max.message.bytes", "4194304")]).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/all/{topic}");
    let mut live = server.get(&path).open().await;
    // librdkafka asks for 1 MiB of a partition.
    let sizes = [1, 3_500_000, 1_048_576, 2, 3_900_000, 3];
    for (number, size) in (0..).zip(sizes) {
        let value = format!("{number} {}", "x".repeat(size));
        kafka.produce(&topic, Record::value(&value));
    }
    let other = server_of(kafka.servers()).run().await;
    let history = other.get(&path).over(Version::Http2).open().await;
    let resumed = other.get(&path).last_event_id(id(&[(0, 1)])).open().await;
    for (from, stream) in [(0, &mut live), (0, &mut { history }), (1, &mut { resumed })] {
        for (expected, size) in (0..).zip(sizes).skip(from) {
            let block = stream.next().await;
            assert_eq!(number(&block), expected);
            assert_eq!(field(&block, "data").map(str::len), Some(size + 2));
        }
    }
}

/// Serves all of a topic from a log of 1 MiB.
fn serve_small(kafka: &Kafka, topic: &str) -> SocketAddr {
    let options = ClusterOptions::new([kafka.servers()]).memory_bytes(1 << 20);
    let cluster = Cluster::new(options).expect("a cluster");
    let source = KafkaSourceLayer::topic(topic);
    let service = SseLayer::new().layer(source.layer(cluster));
    let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).expect("a listener");
    let address = listener.local_address().expect("an address");
    tokio::spawn(serve(
        [listener],
        HttpLayer::new().layer(service),
        ServeOptions::new(),
        Shutdown::new(),
    ));
    address
}

/// Where a partition begins, by a consumer that is not ours.
fn low(kafka: &Kafka, topic: &str) -> i64 {
    let consumer: BaseConsumer = config(kafka.servers()).create().expect("a consumer");
    consumer.fetch_watermarks(topic, 0, SOON).expect("an answer").0
}

#[tokio::test]
async fn retention_that_takes_what_a_slow_client_is_to_read_is_told_and_a_fast_one_misses_nothing()
{
    const COUNT: i64 = 2400;
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    let few = [("segment.bytes", "1048576"), ("retention.bytes", "4194304")];
    kafka.create(&topic, 1, &few).await;
    let address = serve_small(&kafka, &topic);
    let mut fast = Get::new(address, "/").open().await;
    let mut slow = Get::new(address, "/").receive_buffer(4096).open().await;
    // 24 MB: more than the log and all buffers on the way to the slow one hold.
    for first in (0..COUNT).step_by(100) {
        let values = (first..first + 100).map(|number| format!("{number} {:010000}", 0));
        kafka.produce_values(&topic, values);
        let numbers: Vec<_> = fast.take(100).await.iter().map(|block| number(block)).collect();
        assert_eq!(numbers, (first..first + 100).collect::<Vec<_>>());
    }
    let taken = async {
        while low(&kafka, &topic) < 1500 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("retention takes segments", taken).await;
    let mut next = 0;
    let mut missed = 0;
    while next < COUNT {
        let block = slow.next().await;
        if field(&block, "event").is_none() {
            assert_eq!(number(&block), next);
            next += 1;
            continue;
        }
        let gap: serde_json::Value =
            serde_json::from_str(field(&block, "data").expect("data")).expect("JSON");
        assert_eq!((&gap["reason"], &gap["from"]), (&json!("retention"), &json!(next)));
        let to = gap["to"].as_i64().expect("a number");
        assert!(next < to && to <= low(&kafka, &topic), "{gap}");
        missed += to - next;
        next = to;
    }
    assert!(missed > 0, "the slow client had everything in its buffers");
}

/// Reads events whose data is a number of nine digits and so many bytes in all, without a look at each
/// of them.
struct Bulk {
    stream: Stream,
    unread: BytesMut,
}

const SIZE: usize = 4000;

impl Bulk {
    async fn number(&mut self) -> i64 {
        loop {
            if self.unread.starts_with(b"data:") && self.unread.len() > b"data:".len() + SIZE {
                let event = self.unread.split_to(b"data:".len() + SIZE + 1);
                assert_eq!(event.last(), Some(&b'\n'));
                let number = event.get(b"data:".len()..).and_then(|data| data.get(..9));
                let number =
                    number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
                return number.expect("a number");
            }
            let line = match self.unread.starts_with(b"data:") || self.unread.len() < 5 {
                true => None,
                false => self.unread.iter().position(|byte| *byte == b'\n'),
            };
            match line {
                Some(end) => self.unread.advance(end + 1),
                None => self.unread.extend_from_slice(&self.stream.piece().await),
            }
        }
    }
}

/// What a thousand stalled clients may leave to the process: a piece of 64 KiB each (63 MiB), what the
/// two readers of history keep, 16 MiB each, as records and as events (64 MiB), the same again in
/// librdkafka's queues (32 MiB), and 41 MiB for the program. A queue for each would be 1 GB.
const STALLED_KIB: u64 = 200 * 1024;

#[tokio::test]
async fn a_thousand_clients_that_stall_at_different_places_cost_little_and_complete() {
    const MINE: i64 = 300;
    tailwater_http::raise_open_files().expect("a limit");
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let value = |number: i64, size: usize| format!("{number:09} {}", "x".repeat(size - 10));
    let mine: Vec<String> = (0..MINE).map(|number| value(number, SIZE)).collect();
    let batched = [("linger.ms", "20")];
    kafka.produce_with(&batched, &topic, mine.iter().map(|value| Record::value(value).key("mine")));
    // What is for nobody moves the readers on, away from those who stall.
    let other = value(0, 10_000);
    kafka.produce_with(&batched, &topic, (0..2500).map(|_| Record::value(&other).key("other")));
    let last = value(MINE, SIZE);
    kafka.produce(&topic, Record::value(&last).key("mine"));

    // Its log begins after all of this.
    let mut server = server(&kafka).run().await;
    let path = format!("/keys/{topic}/mine");
    let mut clients = Vec::new();
    for number in 0..1000 {
        // More is left to each than sockets and buffers hold: 800 kB at the least.
        let at = number % (MINE / 3);
        let get = server.get(&path).last_event_id(id(&[(0, at)])).receive_buffer(32 * 1024);
        clients.push((at, Bulk { stream: get.open().await, unread: BytesMut::new() }));
    }
    for (at, client) in &mut clients {
        assert_eq!(client.number().await, *at);
    }
    let stalled = server.process().most_resident_kib();
    assert!(stalled < STALLED_KIB, "{stalled} KiB");
    let mut reading = JoinSet::new();
    for (at, mut client) in clients {
        reading.spawn(async move {
            for expected in at + 1..=MINE {
                assert_eq!(client.number().await, expected, "after {at}");
            }
        });
    }
    while let Some(read) = reading.join_next().await {
        read.expect("it has everything");
    }
    let most = server.process().most_resident_kib();
    assert!(most < STALLED_KIB, "{most} KiB");
}
