//! Records that can't be read, and records that are too large: streams get gaps in their place.

use super::*;
use crate::broker::model::Spoilt;

const EACH: [Spoilt; 4] = [Spoilt::Batch, Spoilt::Checksum, Spoilt::Panics, Spoilt::TooLarge];
const KEYS: [&str; 3] = ["a", "b", "c"];

/// The gaps of these three records of partition 0.
fn gaps(how: Spoilt, from: i64) -> Vec<String> {
    let gap = |from, to, reason| {
        format!(r#"gap {{"from":{from},"partition":0,"reason":"{reason}","to":{to}}}"#)
    };
    match how {
        Spoilt::TooLarge => {
            (from..from + 3).map(|offset| gap(offset, offset + 1, "too_large")).collect()
        }
        Spoilt::Batch | Spoilt::Checksum | Spoilt::Panics => {
            vec![gap(from, from + 3, "unreadable")]
        }
    }
}

/// The events of partition 0 up to this one.
async fn until(client: &mut Client, last: &str) -> Vec<String> {
    client.until(&[last]).await
}

#[tokio::test]
async fn all_streams_get_a_gap_for_what_can_not_be_read_and_go_on() {
    for how in EACH {
        let model = kafka(1);
        fill(&model, 0, 2);
        model.spoil(TOPIC, 0, &KEYS, how);
        fill(&model, 0, 2);
        let cluster = instance().of(&model);
        // Of the past, with a filter, and from within.
        let mut all = open(&cluster, query()).await;
        let expected = [values(0, 0..2), gaps(how, 2), values(0, 5..7)].concat();
        assert_eq!(until(&mut all, "0:6").await, expected, "{how:?}");
        let mut keyed = open(&cluster, key("x")).await;
        assert_eq!(keyed.events(gaps(how, 2).len()).await, gaps(how, 2), "{how:?}");
        let mut resumed = open(&cluster, after(&[2])).await;
        let expected = [gaps(how, 2), values(0, 5..7)].concat();
        assert_eq!(until(&mut resumed, "0:6").await, expected, "{how:?}");
        let mut behind = open(&cluster, after(&[5])).await;
        assert_eq!(behind.events(2).await, values(0, 5..7), "{how:?}");
        // Live.
        model.spoil(TOPIC, 0, &KEYS, how);
        fill(&model, 0, 1);
        for client in [&mut all, &mut resumed, &mut behind] {
            let expected = [gaps(how, 7), values(0, 10..11)].concat();
            assert_eq!(until(client, "0:10").await, expected, "{how:?}");
        }
        assert_eq!(keyed.events(gaps(how, 7).len()).await, gaps(how, 7), "{how:?}");
        // A client that got the gap does not get it again.
        let mut keyed = keyed.resume(&cluster, key("x")).await;
        assert!(keyed.is_idle(), "{how:?}");
        let health = cluster.health();
        let topic = &health.topics[0];
        let count = if how == Spoilt::TooLarge { topic.too_large } else { topic.unreadable };
        assert_eq!(count, 2 * gaps(how, 0).len() as u64, "{how:?}");
        assert!(health.is_good() && health.panics == 0, "{how:?}: {health:?}");
    }
}

#[tokio::test]
async fn what_follows_in_other_partitions_and_topics_is_not_held_up() {
    for how in EACH {
        let model = kafka(2);
        model.create("others", 1);
        let cluster = instance().live().of(&model);
        let mut client = open(&cluster, query()).await;
        let mut other = open(&cluster, Query::new("others")).await;
        client.item().await;
        for round in 0..20 {
            model.spoil(TOPIC, 0, &KEYS, how);
            let offset = fill_one(&model, 0, None, 0);
            let mine = fill_one(&model, 1, None, 0);
            model.produce("others", 0, text(&format!("{round}")));
            // There are holes, too.
            model.skip("others", 0, 1);
            assert_eq!(other.data().await, format!("{round}"));
            let last = [format!("0:{offset}"), format!("1:{mine}")];
            let events = client.until(&[&last[0], &last[1]]).await;
            let found: Vec<_> =
                events.into_iter().filter(|event| event.starts_with("gap")).collect();
            assert_eq!(found, gaps(how, 4 * round), "{how:?}");
        }
    }
}

#[tokio::test]
async fn unreadable_records_hold_up_no_transactions_of_others() {
    let model = kafka(12);
    model.create("others", 1);
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    let mut other = open(&cluster, Query::new("others")).await;
    client.item().await;
    for round in 0..10 {
        for partition in 0..11 {
            model.spoil(TOPIC, partition, &KEYS, Spoilt::Batch);
        }
        // The end of a transaction is a hole.
        model.skip(TOPIC, 11, 1);
        fill_one(&model, 11, None, 0);
        model.produce("others", 0, text(&format!("{round}")));
        model.skip("others", 0, 1);
        assert_eq!(other.data().await, format!("{round}"));
    }
    let gap = |partition, from, to| {
        format!(r#"gap {{"from":{from},"partition":{partition},"reason":"unreadable","to":{to}}}"#)
    };
    let mut reached = [0; 11];
    let mut committed = 0;
    while committed < 10 || reached != [30; 11] {
        let event = client.data().await;
        if event == format!("11:{}", 2 * committed + 1) {
            committed += 1;
            continue;
        }
        // Ranges that follow each other may be one gap.
        let of = |partition: usize| reached[partition];
        let ends = (0..11).flat_map(|partition| (1..=10).map(move |round| (partition, 3 * round)));
        let found =
            ends.into_iter().find(|(partition, to)| event == gap(*partition, of(*partition), *to));
        let (partition, to) = found.unwrap_or_else(|| panic!("{event}"));
        reached[partition] = to;
    }
    let health = cluster.health();
    assert!(health.is_good() && health.restarts == 0, "{health:?}");
}

#[tokio::test]
async fn nothing_is_passed_over_while_kafka_is_away_or_slow() {
    let model = kafka(1);
    fill(&model, 0, 10);
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    client.item().await;
    model.spoil(TOPIC, 0, &KEYS, Spoilt::Batch);
    model.set_reachable(false);
    fill(&model, 0, 5);
    model.wait_calls(crate::broker::model::Call::Fetch, 20);
    assert!(client.is_idle());
    model.set_reachable(true);
    let expected = [gaps(Spoilt::Batch, 10), values(0, 13..18)].concat();
    assert_eq!(until(&mut client, "0:17").await, expected);
}

#[tokio::test]
async fn single_records_between_batches_that_can_not_be_read_are_delivered() {
    let model = kafka(1);
    let mut expected = Vec::new();
    for round in 0..8 {
        model.spoil(TOPIC, 0, &KEYS, Spoilt::Batch);
        expected.extend(gaps(Spoilt::Batch, 4 * round));
        expected.push(format!("0:{}", fill_one(&model, 0, None, 0)));
    }
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(until(&mut client, "0:31").await, expected);
    // Batches without anything between them are one gap.
    for _ in 0..3 {
        model.spoil(TOPIC, 0, &KEYS, Spoilt::Batch);
    }
    fill(&model, 0, 1);
    let gap = r#"gap {"from":32,"partition":0,"reason":"unreadable","to":41}"#;
    assert_eq!(client.events(2).await, [gap, "0:41"]);
}

#[tokio::test]
async fn a_compacted_topic_shows_no_older_record_for_one_that_is_too_large() {
    for how in EACH {
        let model = kafka(1);
        model.compacted(TOPIC, vec![0]);
        for key in KEYS {
            fill_one(&model, 0, Some(key), 0);
        }
        model.spoil(TOPIC, 0, &["a", "b"], how);
        fill_one(&model, 0, Some("b"), 0);
        let cluster = instance().of(&model);
        let mut client = open(&cluster, query()).await;
        let events = until(&mut client, "0:5").await;
        let expected: &[&str] = match how {
            Spoilt::TooLarge => {
                &["0:2", r#"gap {"from":3,"partition":0,"reason":"too_large","to":4}"#, "0:5"]
            }
            // Their keys are not known.
            _ => &[
                "0:0",
                "0:2",
                r#"gap {"from":3,"partition":0,"reason":"unreadable","to":5}"#,
                "0:5",
            ],
        };
        assert_eq!(events, expected, "{how:?}");
    }
}
