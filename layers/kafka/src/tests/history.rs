//! Streams that begin before the live log.

use super::*;
use crate::broker::model::Call;
use crate::topic::retired::RETIRED_BYTES;

/// Reads all records of one partition, and adds them to those that were read before.
async fn read_all(client: &mut Client, mut events: Vec<String>, count: i64) {
    while events.len() < count as usize {
        events.push(client.data().await);
    }
    assert_eq!(events, values(0, 0..count));
}

#[tokio::test]
async fn a_slow_stream_falls_off_the_log_and_joins_it_again() {
    let model = kafka(1);
    let cluster = instance().options(|options| options.memory_bytes(4096)).of(&model);
    let mut fast = open(&cluster, query()).await;
    let mut slow = open(&cluster, query()).await;
    fill(&model, 0, 1);
    let mut events = slow.events(1).await;
    fast.events(1).await;
    for round in 0..5 {
        fill(&model, 0, 500);
        fast.until(&[&format!("0:{}", 500 * (round + 1))]).await;
        slow.limit = 500;
        events.extend(slow.events(100).await);
    }
    assert!(model.served_history() > 0, "the log is too small for that");
    read_all(&mut slow, events, 2501).await;
    // Both are in the live log: no more history is read.
    eventually(|| slow.is_idle() && model.assigned_history() == 0).await;
    let served = model.served_history();
    fill(&model, 0, 3);
    assert_eq!(slow.events(3).await, values(0, 2501..2504));
    assert_eq!(model.served_history(), served);
}

#[tokio::test]
async fn a_thousand_slow_streams_at_different_positions_lose_nothing() {
    let model = kafka(2);
    fill(&model, 0, 300);
    fill(&model, 1, 300);
    let cluster = instance().batch(50).options(|options| options.memory_bytes(8192)).of(&model);
    let mut clients = Vec::new();
    for number in 0..1000 {
        let from = [number % 300, (7 * number) % 300];
        let mut client = open(&cluster, after(&from)).await;
        client.limit = 256;
        // Each takes some records or none, and waits.
        let events = client.events(number as usize % 3).await;
        clients.push((from, client, events));
    }
    fill(&model, 0, 20);
    fill(&model, 1, 20);
    let alone = |(from, ..): &([i64; 2], Client, Vec<String>)| 640 - from[0] - from[1];
    let read = |(from, mut client, mut events): ([i64; 2], Client, Vec<String>)| async move {
        client.limit = 64 * 1024;
        let expected = [values(0, from[0]..320), values(1, from[1]..320)];
        let total = expected[0].len() + expected[1].len();
        events.extend(client.events(total - events.len()).await);
        assert_each_once(&events, &expected);
    };
    let served = model.served_history();
    let alone = clients.iter().map(alone).sum::<i64>();
    let tasks: Vec<_> = clients.into_iter().map(|client| tokio::spawn(read(client))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let served = model.served_history() - served;
    assert!((served as i64) < alone / 2, "{served} records of {alone}: little was shared");
}

#[tokio::test]
async fn a_hundred_streams_from_the_beginning_cost_two_readings_at_the_most() {
    let model = kafka(3);
    for partition in 0..3 {
        fill(&model, partition, 1000);
    }
    let cluster = instance().batch(100).of(&model);
    model.hold_history(true);
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(open(&cluster, query()).await);
    }
    eventually(|| {
        assert!(clients.iter_mut().all(Client::is_idle));
        cluster.carried() == 100
    })
    .await;
    model.hold_history(false);
    for client in &mut clients {
        let events = client.events(3000).await;
        assert_each_once(&events, &[values(0, 0..1000), values(1, 0..1000), values(2, 0..1000)]);
    }
    assert!(model.served_history() <= 2 * 3000, "{} records", model.served_history());
}

#[tokio::test]
async fn a_stalled_stream_does_not_stop_the_others_of_its_backfill() {
    let model = kafka(1);
    for _ in 0..60 {
        fill_one(&model, 0, None, 500_000);
    }
    let cluster = instance().options(|options| options.history_readers(1)).of(&model);
    let mut stalled = open(&cluster, query()).await;
    let mut running = open(&cluster, query()).await;
    let first = stalled.events(1).await;
    running.limit = 1024;
    read_all(&mut running, Vec::new(), 60).await;
    assert!(model.served_history() >= 60);
    stalled.limit = 1024;
    read_all(&mut stalled, first, 60).await;
}

#[tokio::test]
async fn a_slow_stream_does_not_pace_the_others_of_its_backfill() {
    // A stream that took any record within a second kept its backfill at its own pace.
    const RECORDS: i64 = 3000;
    let model = kafka(1);
    for _ in 0..RECORDS {
        fill_one(&model, 0, None, 10_000);
    }
    model.hold_history(true);
    let cluster = instance().batch(100).of(&model);
    let mut slow = open(&cluster, query()).await;
    slow.limit = 1;
    let mut fast = open(&cluster, query()).await;
    eventually(|| slow.is_idle() && fast.is_idle() && cluster.carried() == 2).await;
    model.hold_history(false);
    // A fifth of a megabyte each second, where more than one is due.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut events = Vec::new();
    let mut taken = Vec::new();
    while events.len() < RECORDS as usize {
        tokio::select! {
            event = fast.data() => events.push(event),
            _ = pace.tick() => taken.push(slow.data().await),
        }
    }
    assert_eq!(events, values(0, 0..RECORDS));
    // At its pace, two thousand were taken before the others had all.
    assert!(taken.len() < 1000, "{} records", taken.len());
    slow.limit = 64 * 1024;
    read_all(&mut slow, taken, RECORDS).await;
}

#[tokio::test]
async fn streams_that_are_all_slow_stay_together() {
    // Where a server delivers to very many at once each of them is slow. They were left behind one
    // after the other, and read all of it again.
    const RECORDS: i64 = 500;
    let model = kafka(1);
    for _ in 0..RECORDS {
        fill_one(&model, 0, None, 10_000);
    }
    model.hold_history(true);
    let mut start = instance().batch(100);
    start.options.timing.stall = Duration::from_secs(1);
    let cluster = start.of(&model);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = open(&cluster, query()).await;
        client.limit = 1;
        clients.push((client, Vec::new()));
    }
    eventually(|| {
        assert!(clients.iter_mut().all(|(client, _)| client.is_idle()));
        cluster.carried() == 3
    })
    .await;
    model.hold_history(false);
    // 200 KB each second for each, where 256 KiB are due of one that holds up others.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for number in 0..RECORDS {
        if number < 60 {
            pace.tick().await;
        }
        for (client, events) in &mut clients {
            events.push(client.data().await);
        }
    }
    assert!(clients.iter().all(|(_, events)| *events == values(0, 0..RECORDS)));
    assert_eq!(model.served_history(), RECORDS as usize, "nothing is read twice");
}

#[tokio::test]
async fn a_stream_that_stalls_alone_is_waited_for() {
    let model = kafka(1);
    for _ in 0..60 {
        fill_one(&model, 0, None, 500_000);
    }
    let mut start = instance().options(|options| options.history_readers(1));
    start.options.timing.stall = Duration::from_millis(1);
    let cluster = start.of(&model);
    let mut stalls = open(&cluster, query()).await;
    stalls.limit = 1024;
    let first = stalls.events(1).await;
    eventually(|| model.served_history() * 500_000 > 4 * 1024 * 1024).await;
    model.wait_calls(Call::Topics, 10);
    assert_eq!(cluster.carried(), 1);
    read_all(&mut stalls, first, 60).await;
    assert_eq!(model.served_history(), 60, "nothing is read twice");
}

#[tokio::test]
async fn a_reader_is_free_again_after_its_streams_left() {
    let model = kafka(1);
    for _ in 0..60 {
        fill_one(&model, 0, None, 500_000);
    }
    let cluster = instance().options(|options| options.history_readers(1)).of(&model);
    let mut leaves = open(&cluster, query()).await;
    leaves.data().await;
    drop(leaves);
    model.create("other", 1);
    model.produce("other", 0, text("1"));
    let mut client = open(&cluster, Query::new("other")).await;
    assert_eq!(client.data().await, "1");
}

#[tokio::test]
async fn a_partition_without_a_leader_keeps_no_reader_from_others() {
    // A backfill that waited for it kept its reader, whatever came from other partitions.
    let model = kafka(2);
    fill(&model, 0, 5);
    fill(&model, 1, 5);
    let cluster = instance().options(|options| options.history_readers(1)).of(&model);
    model.hold_history(true);
    let mut stuck = open(&cluster, query()).await;
    eventually(|| stuck.is_idle() && cluster.carried() == 1).await;
    model.set_leaderless(TOPIC, 0, true);
    model.hold_history(false);
    let mut events = stuck.events(5).await;
    assert_each_once(&events, &[vec![], values(1, 0..5)]);
    model.create("other", 1);
    model.produce("other", 0, text("1"));
    let mut other = open(&cluster, Query::new("other")).await;
    let mut written = 5;
    eventually(|| {
        fill(&model, 1, 1);
        written += 1;
        !other.is_idle()
    })
    .await;
    model.set_leaderless(TOPIC, 0, false);
    events.extend(stuck.events(written as usize).await);
    assert_each_once(&events, &[values(0, 0..5), values(1, 0..written)]);
}

#[tokio::test]
async fn a_backfill_ends_although_the_last_records_of_a_partition_were_compacted() {
    // The log has come by offsets that are holes by now: a backfill that waited for them would keep its
    // reader until something is written there.
    let model = kafka(2);
    let cluster =
        instance().options(|options| options.history_readers(1).memory_bytes(2000)).of(&model);
    let mut live = open(&cluster, query()).await;
    fill(&model, 0, 1);
    live.events(1).await;
    fill(&model, 0, 19);
    live.events(19).await;
    fill(&model, 1, 200);
    live.events(200).await;
    model.remove(TOPIC, 0, |offset| offset > 5);
    let mut late = open(&cluster, query()).await;
    let events = late.events(206).await;
    assert_each_once(&events, &[values(0, 0..6), values(1, 0..200)]);
    eventually(|| late.is_idle() && model.assigned_history() == 0).await;
    fill(&model, 0, 1);
    assert_eq!(late.data().await, "0:20");
}

#[tokio::test]
async fn records_of_several_partitions_are_merged_by_time() {
    let model = kafka(2);
    for offset in 0..10 {
        for partition in 0..2 {
            let value = format!("{partition}:{offset}");
            let timestamp = Some(10 * offset + i64::from(partition));
            model.produce(TOPIC, partition, Message { timestamp, ..text(&value) });
        }
    }
    // All records come with one poll.
    let mut client = open(&instance().batch(100_000).of(&model), query()).await;
    let by_time: Vec<_> = (0..20).map(|at| format!("{}:{}", at % 2, at / 2)).collect();
    assert_eq!(client.events(20).await, by_time);
}

/// Each stream could keep a backfill of its own.
#[tokio::test]
async fn streams_that_stall_one_after_the_other_keep_no_more_than_the_limit() {
    const RECORDS: usize = 40;
    let model = kafka(1);
    for _ in 0..RECORDS {
        fill_one(&model, 0, None, 50_000);
    }
    let cluster = instance().of(&model);
    let mut stalled = Vec::new();
    for _ in 0..15 {
        let mut client = open(&cluster, query()).await;
        // It reads one record, and the backfill is over.
        client.write().await;
        eventually(|| !cluster.is_read()).await;
        stalled.push(client);
        assert!(cluster.remaining_bytes() <= RETIRED_BYTES, "{} bytes", cluster.remaining_bytes());
    }
    // With room for the encoded events.
    assert!(cluster.remaining_bytes() > RETIRED_BYTES / 4, "{} bytes", cluster.remaining_bytes());
    for client in &mut stalled {
        assert_eq!(client.events(RECORDS).await, values(0, 0..RECORDS as i64));
    }
    drop(stalled);
    assert_eq!(cluster.remaining_bytes(), 0);
}

/// It does not know yet what was committed, and ends before it for a moment.
#[tokio::test]
async fn what_a_new_leader_does_not_show_yet_is_not_taken_for_a_hole() {
    let model = kafka(2);
    fill(&model, 0, 10);
    fill(&model, 1, 3);
    let cluster = instance().of(&model);
    let mut other = open(&cluster, query()).await;
    other.events(13).await;
    // The next one has a backfill of its own.
    eventually(|| !cluster.is_read()).await;
    model.hold_history(true);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && model.assigned_history() == 2).await;
    model.lag(TOPIC, 0, Some(6));
    model.hold_history(false);
    assert_each_once(&client.events(9).await, &[values(0, 0..6), values(1, 0..3)]);
    model.wait_calls(Call::Ends, 2);
    assert!(client.is_idle());
    model.lag(TOPIC, 0, None);
    assert_eq!(client.events(4).await, values(0, 6..10));
}

/// A stream of a topic with so many records of 50 KB that takes the first of them, and then nothing.
async fn stalled(model: &Model, cluster: &Cluster, topic: &str, records: usize) -> Client {
    model.create(topic, 1);
    let value = " ".repeat(50_000);
    for _ in 0..records {
        model.produce(topic, 0, text(&value));
    }
    let mut client = open(cluster, Query::new(topic)).await;
    client.limit = 1;
    client.data().await;
    client.limit = 64 * 1024;
    client
}

/// More bytes than a backfill reads ahead.
const MANY: usize = 200;

fn readers(readers: usize) -> Instance {
    instance().batch(100).options(|options| options.history_readers(readers))
}

#[tokio::test]
async fn slow_streams_keep_no_reader_from_other_topics() {
    // They had both readers until they had read all, or a second each.
    let model = kafka(1);
    fill(&model, 0, 3);
    let cluster = readers(2).of(&model);
    let mut slow = Vec::new();
    for topic in ["a", "b"] {
        slow.push(stalled(&model, &cluster, topic, MANY).await);
    }
    let mut bystander = open(&cluster, query()).await;
    assert_eq!(bystander.events(3).await, values(0, 0..3));
    for client in &mut slow {
        client.events(MANY - 1).await;
    }
    assert_eq!(model.served_history(), 3 + 2 * MANY, "nothing is read twice");
}

#[tokio::test]
async fn streams_that_take_nothing_keep_no_reader_from_anybody() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.create("keys", 1);
    model.compacted("keys", vec![0]);
    model.produce("keys", 0, keyed("a", "1"));
    let cluster = readers(1).of(&model);
    let mut slow = Vec::new();
    for number in 0..10 {
        slow.push(stalled(&model, &cluster, &format!("slow-{number}"), MANY).await);
    }
    let mut bystander = open(&cluster, query()).await;
    assert_eq!(bystander.data().await, "0:0");
    let mut bystander = open(&cluster, Query::new("keys")).await;
    assert_eq!(bystander.data().await, "1");
    // Nor from their own topics.
    let mut bystander = open(&cluster, Query::new("slow-3")).await;
    bystander.events(MANY).await;
    drop(slow);
    eventually(|| !cluster.is_read()).await;
}

#[tokio::test]
async fn backfills_that_wait_for_their_streams_keep_no_more_than_the_limit() {
    const STREAMS: usize = 150;
    let model = Model::default();
    let cluster = readers(2).of(&model);
    let mut slow = Vec::new();
    for number in 1..=STREAMS {
        // The more backfills there are, the less each reads ahead.
        let records = 5 + MANY / number;
        let client = stalled(&model, &cluster, &format!("slow-{number}"), records).await;
        slow.push((client, records));
        assert!(cluster.remaining_bytes() <= RETIRED_BYTES, "{} bytes", cluster.remaining_bytes());
    }
    assert!(cluster.remaining_bytes() > RETIRED_BYTES / 8, "{} bytes", cluster.remaining_bytes());
    for (client, records) in &mut slow {
        client.events(*records - 1).await;
        eventually(|| client.is_idle()).await;
    }
    drop(slow);
    assert_eq!(cluster.remaining_bytes(), 0);
}

#[tokio::test]
async fn a_stream_that_waits_joins_a_backfill_that_reaches_it() {
    let model = kafka(1);
    fill(&model, 0, 3000);
    let mut start = instance().batch(5).options(|options| options.history_readers(1));
    start.options.timing.coalesce_offsets = 10;
    // The first backfill has its turn until all have come.
    start.options.timing.turn = Duration::from_secs(3600);
    (start.options.timing.retry, start.options.timing.stalled_read) = (IN_VAIN, IN_VAIN);
    let cluster = start.of(&model);
    model.hold_history(true);
    let mut clients = Vec::new();
    for start in (0..3000).step_by(100) {
        let mut client = open(&cluster, after(&[start])).await;
        // A stream that has not requested history yet would come too late for the backfill.
        let others = clients.len();
        eventually(|| client.is_idle() && cluster.carried() == 1 && cluster.waiting() == others)
            .await;
        clients.push((start, client));
    }
    model.hold_history(false);
    for (start, client) in &mut clients {
        assert_eq!(client.events(3000 - *start as usize).await, values(0, *start..3000));
    }
    // One backfill for each would read the whole topic 15 times.
    assert_eq!(model.served_history(), 3000, "nothing is read twice");
}
