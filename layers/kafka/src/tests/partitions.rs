//! Partitions that are added, and topics that have many.

use super::*;
use crate::broker::model::Call;

#[tokio::test]
async fn a_partition_added_under_a_running_stream_is_read_from_its_beginning() {
    for live in [false, true] {
        let model = kafka(1);
        fill(&model, 0, 2);
        let start = instance();
        let cluster = if live { start.live() } else { start }.of(&model);
        let mut client = open(&cluster, query()).await;
        let mut filtered = open(&cluster, key("k")).await;
        match live {
            true => drop((client.item().await, filtered.item().await)),
            false => drop(client.events(2).await),
        }
        model.grow(TOPIC, 3);
        for partition in 1..3 {
            fill_one(&model, partition, Some("k"), 0);
            fill_one(&model, partition, Some("k"), 0);
        }
        let events = client.events(4).await;
        assert_each_once(&events, &[vec![], values(1, 0..2), values(2, 0..2)]);
        let events = filtered.events(4).await;
        assert_each_once(&events, &[vec![], values(1, 0..2), values(2, 0..2)]);
        assert_eq!(client.last_event_id(), Some(id_of(&[2, 2, 2]).into()));
    }
}

#[tokio::test]
async fn a_partition_added_while_the_client_was_away_is_read_from_its_beginning() {
    let model = kafka(1);
    fill(&model, 0, 3);
    let mut client = open(&instance().of(&model), query()).await;
    client.events(3).await;
    let id = client.last_event_id();
    drop(client);
    model.grow(TOPIC, 2);
    fill(&model, 1, 3);
    fill(&model, 0, 1);
    for start in [instance(), instance().live()] {
        let mut resumed = open(&start.of(&model), query().last_event_id(id.clone())).await;
        let events = resumed.events(4).await;
        assert_each_once(&events, &[values(0, 3..4), values(1, 0..3)]);
    }
}

#[tokio::test]
async fn what_retention_took_of_a_partition_before_it_was_noticed_is_a_gap() {
    let model = kafka(1);
    fill(&model, 0, 2);
    let mut slow = instance();
    slow.options.timing.refresh = Duration::from_secs(3600);
    let cluster = slow.of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(2).await;
    // In the log, so that its position is before the new partition.
    fill(&model, 0, 1);
    client.events(1).await;
    model.grow(TOPIC, 2);
    fill(&model, 1, 10);
    model.expire(TOPIC, 1, 8);
    // A request for a topic refreshes the metadata of all topics.
    model.create("other", 1);
    let _other = open(&cluster, Query::new("other")).await;
    assert_eq!(client.events(2).await, ["1:8", "1:9"]);
    let mut behind = open(&cluster, after(&[3, 3])).await;
    let gap = r#"gap {"from":3,"partition":1,"reason":"retention","to":8}"#;
    assert_eq!(behind.events(3).await, [gap, "1:8", "1:9"]);
}

#[tokio::test]
async fn an_id_that_names_a_partition_which_an_instance_does_not_know_yet_is_no_gap() {
    // An instance may learn of a partition later than the one that gave the id, and Kafka may not answer its
    // query.
    for failures in [0, 1, 3] {
        for call in [Call::Topics, Call::Watermarks] {
            let model = kafka(1);
            fill(&model, 0, 2);
            let mut slow = instance();
            slow.options.timing.refresh = Duration::from_secs(3600);
            let cluster = slow.of(&model);
            open(&cluster, query()).await.events(2).await;
            model.grow(TOPIC, 2);
            fill(&model, 1, 4);
            model.fail(call, failures);
            let mut client = open(&cluster, after(&[2, 3])).await;
            assert_eq!(client.data().await, "1:3", "{call:?} failed {failures} times");
            fill(&model, 0, 1);
            assert_eq!(client.data().await, "0:2");
        }
    }
}

#[tokio::test]
async fn each_id_of_a_stream_names_the_partitions_of_the_one_before() {
    // The log did not know the partition before it was added, nor did its ids.
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    assert!(client.is_idle());
    eventually(|| cluster.head(TOPIC).is_some()).await;
    fill(&model, 0, 3);
    client.events(3).await;
    model.grow(TOPIC, 2);
    eventually(|| cluster.head(TOPIC).is_some_and(|head| head.len() == 2)).await;
    for query in [after(&[1, 0]), after(&[1, 0]).filter(Filter::any())] {
        let mut client = open(&cluster, query).await;
        for next in 2..4 {
            client.data().await;
            assert_eq!(client.last_event_id(), Some(id_of(&[next, 0]).into()));
        }
    }
    fill(&model, 1, 1);
    client.events(1).await;
    assert_eq!(client.last_event_id(), Some(id_of(&[3, 1]).into()));
}

/// Because of a broker that did not know the partition yet, an id with it counted as one of another topic.
#[tokio::test]
async fn an_id_that_names_a_partition_is_good_although_the_first_broker_asked_does_not_know_it_yet()
{
    let model = kafka(1);
    fill(&model, 0, 2);
    let mut slow = instance();
    slow.options.timing.refresh = Duration::from_secs(3600);
    // The next broker is asked long before the decision.
    slow.options.timing.retry = Duration::from_secs(1);
    let cluster = slow.of(&model);
    open(&cluster, query()).await.events(2).await;
    model.grow(TOPIC, 2);
    fill(&model, 1, 4);
    model.be_stale(1, 1);
    let mut client = open(&cluster, after(&[2, 3])).await;
    assert_eq!(client.data().await, "1:3");
    let mut unread = open(&cluster, after(&[2, 0])).await;
    assert_eq!(unread.events(4).await, values(1, 0..4));
}

/// Kafka is asked once for all streams that wait, beside the refreshes.
#[tokio::test]
async fn an_id_with_unknown_partitions_waits_until_kafka_has_confirmed_the_count() {
    let model = kafka(1);
    fill(&model, 0, 2);
    let cluster = instance().of(&model);
    open(&cluster, query()).await.events(2).await;
    model.fail(Call::Presence, 2);
    let asked = model.calls(Call::Presence);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = open(&cluster, after(&[2, 3])).await;
        assert!(client.is_idle());
        clients.push(client);
    }
    for client in &mut clients {
        assert!(client.data().await.starts_with("gap "));
        assert_eq!(client.events(2).await, values(0, 0..2));
    }
    let asked = model.calls(Call::Presence) - asked;
    assert!((3..10).contains(&asked), "{asked} questions for 20 streams");
}

#[tokio::test]
async fn a_partition_added_while_a_stream_is_in_the_past_is_read_from_its_beginning() {
    // A backfill reads the partitions with which it began. It did not end when the log removed records of a new
    // partition, so its streams never saw them.
    let model = kafka(1);
    fill(&model, 0, 50);
    let cluster = instance().options(|options| options.memory_bytes(2000)).of(&model);
    let mut live = open(&cluster, after(&[50])).await;
    assert!(live.is_idle());
    fill(&model, 0, 1);
    live.events(1).await;
    model.hold_history(true);
    let mut late = open(&cluster, query()).await;
    eventually(|| late.is_idle() && cluster.carried() == 1).await;
    model.grow(TOPIC, 2);
    for _ in 0..100 {
        // One by one: the small log would leave this one behind as well.
        fill(&model, 1, 1);
        live.events(1).await;
    }
    model.hold_history(false);
    assert_each_once(&late.events(151).await, &[values(0, 0..51), values(1, 0..100)]);
}

#[tokio::test]
async fn a_long_id_stands_on_the_last_event_of_each_write_and_resumes() {
    const MANY: usize = 200;
    let model = kafka(MANY);
    for partition in 0..MANY as i32 {
        for _ in 0..5 {
            model.skip(TOPIC, partition, 200_000_000);
            fill(&model, partition, 1);
        }
    }
    let high: Vec<i64> = (0..MANY as i32).map(|partition| model.high(TOPIC, partition)).collect();
    let expected: Vec<Vec<String>> = (0..MANY as i32)
        .map(|partition| values(partition, (1..=5).map(|n| n * 200_000_001 - 1)))
        .collect();
    let total = 5 * MANY;
    for batch in [5, 500] {
        let first = instance().batch(batch).of(&model);
        let other = instance().batch(batch).seed(7).of(&model);
        let mut client = open(&first, query()).await;
        client.limit = 4 * 1024;
        let mut events = Vec::new();
        let mut writes = 0;
        let mut long_ids = 0;
        while events.len() < total {
            let write = client.write().await;
            assert!(write.ends_with(b"\n\n"));
            let lines = || write.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let long = lines().filter(|line| line.len() > 3 + 1024).count();
            assert!(lines().next_back().unwrap().starts_with(b"id:"), "a write can be the last");
            assert!(long <= 1, "{}", String::from_utf8_lossy(&write));
            long_ids += long;
            while let Some(item) = client.parser.pull().unwrap() {
                let Item::Message(message) = item else { panic!("{item:?}") };
                let data = String::from_utf8(message.data.to_vec()).unwrap();
                events.push(data.trim_end_matches(':').to_owned());
            }
            writes += 1;
            if writes % 3 == 0 && events.len() < total {
                let on = if writes % 2 == 0 { &first } else { &other };
                client = client.resume(on, query()).await;
                client.limit = 4 * 1024;
            }
        }
        assert_each_once(&events, &expected);
        assert!(long_ids > 1);
        assert_eq!(client.last_event_id(), Some(id_of(&high).into()));
    }
}
