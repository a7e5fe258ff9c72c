//! Logs that do not advance although Kafka does, and logs that only seem so.

use super::*;
use crate::broker::model::{Call, Stall};
use crate::{Contact, TopicHealth};

fn health(cluster: &Cluster) -> TopicHealth {
    let of = |topic: &TopicHealth| *topic.name == *TOPIC;
    cluster.health().topics.into_iter().find(of).expect("the topic is held")
}

#[tokio::test]
async fn a_log_that_gets_no_records_is_restarted_and_no_record_is_lost() {
    // One assignment of librdkafka stalls, then the whole consumer.
    for stall in [Stall::Assignment, Stall::Consumer] {
        let model = kafka(3);
        let cluster = instance().watched().live().of(&model);
        let mut client = open(&cluster, query()).await;
        let mut filtered = open(&cluster, key("k")).await;
        for stream in [&mut client, &mut filtered] {
            assert!(matches!(stream.item().await, Item::Id(_)));
        }
        model.stall(TOPIC, 1, stall);
        fill_one(&model, 1, Some("k"), 0);
        fill(&model, 0, 2);
        assert_eq!(client.events(2).await, ["0:0", "0:1"]);
        assert_eq!(client.data().await, "1:0", "{stall:?}");
        assert_eq!(filtered.data().await, "1:0", "{stall:?}");
        fill(&model, 1, 2);
        fill(&model, 2, 1);
        assert_each_once(&client.events(3).await, &[values(1, 1..3), values(2, 0..1)]);
        eventually(|| cluster.health().is_good()).await;
        let restarts = if stall == Stall::Consumer { 2 } else { 1 };
        assert_eq!(health(&cluster).restarts, restarts, "{stall:?}");
        assert_eq!(cluster.health().restarts, restarts);
        let counted: Vec<_> = cluster.counts().topics.iter().map(|topic| topic.restarts).collect();
        assert_eq!(counted, [restarts, 0], "the topic and all others");
    }
}

#[tokio::test]
async fn a_log_whose_head_expired_is_restarted_although_its_consumer_is_elsewhere() {
    // The consumer was past a hole, so its position was not out of range, and the log was not checked.
    let model = kafka(1);
    fill(&model, 0, 2);
    let cluster = instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(2).await;
    model.skip(TOPIC, 0, 3);
    model.wait_calls(Call::Fetch, 3);
    // Behind its back.
    model.set_leaderless(TOPIC, 0, true);
    model.truncate(TOPIC, 0, 2);
    fill(&model, 0, 3);
    model.expire(TOPIC, 0, 3);
    model.set_leaderless(TOPIC, 0, false);
    let gap = r#"gap {"from":2,"partition":0,"reason":"retention","to":3}"#;
    assert_eq!(client.events(3).await, [gap, "0:3", "0:4"]);
    eventually(|| cluster.health().is_good()).await;
}

#[tokio::test]
async fn a_truncation_is_a_gap_although_the_consumer_reports_nothing() {
    let model = kafka(1);
    let cluster = instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    assert!(client.is_idle());
    fill(&model, 0, 2);
    client.events(2).await;
    model.stall(TOPIC, 0, Stall::Assignment);
    model.truncate(TOPIC, 0, 1);
    let gap = r#"gap {"from":2,"partition":0,"reason":"truncation","to":0}"#;
    assert_eq!(client.events(2).await, [gap, "0:0"]);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:1");
}

#[tokio::test]
async fn a_log_that_restarts_do_not_help_is_reported_and_seldom_restarted() {
    let model = kafka(2);
    let cluster = instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && model.calls(Call::Ends) > 0).await;
    assert!(cluster.health().is_good());
    model.stall(TOPIC, 0, Stall::Always);
    let mut written = 0;
    // The other partition advances meanwhile, and backfills deliver what each new log does not have.
    while model.calls(Call::Ends) < 60 {
        fill(&model, 0, 1);
        fill(&model, 1, 1);
        written += 2;
        model.wait_calls(Call::Ends, 1);
    }
    eventually(|| !cluster.health().is_good()).await;
    // The log may be opened anew at any time.
    let mut health_now = health(&cluster);
    eventually(|| {
        health_now = health(&cluster);
        !health_now.advances
    })
    .await;
    // After 4, 8, 16 and 32 checks, and a few until the log is late.
    assert!((1..=5).contains(&health_now.restarts), "{health_now:?}");
    let events = client.events(written / 2).await;
    assert!(events.iter().any(|event| event.starts_with("0:")), "{events:?}");
    eventually(|| !health(&cluster).advances).await;
    // The log of a topic that is gone is not late.
    model.delete(TOPIC);
    eventually(|| cluster.health().is_good()).await;
}

#[tokio::test]
async fn what_ends_with_a_marker_or_an_aborted_record_does_advance() {
    // The head of the log is right after its last record, and Kafka's end is behind it.
    let model = kafka(2);
    let cluster = instance().watched().options(|options| options.history_readers(1)).of(&model);
    let mut client = open(&cluster, query()).await;
    assert!(client.is_idle());
    model.wait_calls(Call::Ends, 1);
    let mut next = 0;
    for commit in [true, false, true] {
        fill(&model, 0, 1);
        assert_eq!(client.data().await, format!("0:{next}"));
        model.begin(TOPIC, 0);
        model.produce_in(TOPIC, 0, text("x"));
        model.end(TOPIC, 0, commit);
        if commit {
            assert_eq!(client.data().await, "x");
        }
        next += 3;
        // It is probed once, and then no more.
        let probes = model.calls(Call::FetchHistory);
        model.wait_calls(Call::Ends, 6);
        let probed = model.calls(Call::FetchHistory);
        assert!(probed > probes, "the hole was looked at");
        model.wait_calls(Call::Ends, 10);
        assert_eq!(model.calls(Call::FetchHistory), probed);
    }
    assert!(cluster.health().is_good());
    assert_eq!(health(&cluster).restarts, 0);
    // A partition that stalls behind a hole is found all the same.
    model.stall(TOPIC, 0, Stall::Assignment);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, format!("0:{next}"));
    assert_eq!(health(&cluster).restarts, 1);
}

#[tokio::test]
async fn a_hanging_transaction_is_reported_and_no_log_is_restarted() {
    let model = kafka(2);
    let mut start = instance().watched();
    start.options.timing.hanging = Duration::from_millis(50);
    let cluster = start.of(&model);
    let mut client = open(&cluster, query()).await;
    model.begin(TOPIC, 1);
    model.produce_in(TOPIC, 1, text("1:0"));
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:0");
    eventually(|| health(&cluster).hanging == [1]).await;
    model.wait_calls(Call::Ends, 10);
    let told = health(&cluster);
    assert!(told.advances && told.restarts == 0, "{told:?}");
    assert!(cluster.health().is_good(), "no instance could do better");
    model.end(TOPIC, 1, true);
    assert_eq!(client.data().await, "1:0");
    eventually(|| health(&cluster).hanging.is_empty()).await;
}

#[tokio::test]
async fn an_unreachable_kafka_is_reported_and_no_log_is_restarted() {
    let model = kafka(1);
    model.set_reachable(false);
    let cluster = instance().watched().of(&model);
    model.wait_calls(Call::Topics, 3);
    assert_eq!(cluster.health().contact, Contact::Never);
    assert!(!cluster.health().is_good(), "nobody knows whether its address is right");
    model.set_reachable(true);
    // No stream has named a topic yet.
    eventually(|| cluster.health().contact == Contact::Made).await;
    let mut client = open(&cluster, query()).await;
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:0");
    fill(&model, 0, 1);
    model.set_reachable(false);
    eventually(|| cluster.health().contact == Contact::Lost).await;
    assert!(cluster.health().is_good());
    model.set_leaderless(TOPIC, 0, true);
    model.set_reachable(true);
    fill(&model, 0, 1);
    eventually(|| cluster.health().contact == Contact::Made).await;
    model.wait_calls(Call::Topics, 10);
    assert_eq!(cluster.health().restarts, 0, "who is late is Kafka");
    model.set_leaderless(TOPIC, 0, false);
    client.until(&["0:2"]).await;
}

#[tokio::test]
async fn each_of_many_topics_has_its_turn() {
    // No check has time for more than one of them.
    let model = kafka(1);
    let mut start = instance().watched();
    start.options.timing.watch = Duration::from_nanos(1);
    let cluster = start.of(&model);
    let mut clients = Vec::new();
    for number in 0..20 {
        let name = format!("topic-{number}");
        model.create(&name, 1);
        let mut client = open(&cluster, Query::new(name.clone())).await;
        model.produce(&name, 0, text("1"));
        assert_eq!(client.data().await, "1");
        clients.push((name, client));
    }
    for (name, client) in &mut clients {
        model.stall(name, 0, Stall::Assignment);
        model.produce(name, 0, text("2"));
        assert_eq!(client.data().await, "2", "{name}");
    }
}

#[tokio::test]
async fn the_one_stalled_partition_of_five_hundred_is_found() {
    const MANY: usize = 500;
    let model = kafka(MANY);
    let cluster = instance().watched().batch(1000).of(&model);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && model.calls(Call::Ends) > 0).await;
    model.stall(TOPIC, 499, Stall::Assignment);
    for partition in 0..MANY as i32 {
        fill(&model, partition, 1);
        // Each has a hole at its end, and there are more than one probe reads.
        model.skip(TOPIC, partition, 1);
    }
    let expected: Vec<_> = (0..MANY as i32).map(|partition| values(partition, 0..1)).collect();
    let events = client.events(MANY).await;
    assert_each_once(&events, &expected);
    assert_eq!(health(&cluster).restarts, 1);
    // An id of all of them resumes on another instance.
    let mut resumed = client.resume(&instance().batch(1000).of(&model), query()).await;
    fill(&model, 499, 1);
    assert_eq!(resumed.data().await, "499:2");
}
