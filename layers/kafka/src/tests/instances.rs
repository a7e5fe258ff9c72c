//! Ids from another instance or from Zilla.

use super::*;
use crate::Start;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// An id with these pairs in this order.
fn id(pairs: &[(i64, i64)]) -> Bytes {
    let mut binary = vec![1];
    let mut push = |value: i64| {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            binary.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        binary.push(rest as u8);
    };
    push(pairs.len() as i64);
    for (partition, next) in pairs {
        push(*partition);
        push(*next);
    }
    URL_SAFE.encode(binary).into()
}

#[tokio::test]
async fn any_instance_goes_on_from_the_ids_of_any_other() {
    for keyed in [false, true] {
        let model = kafka(3);
        let fill = |count| {
            for _ in 0..count {
                for partition in 0..3 {
                    fill_one(&model, partition, Some("k"), 0);
                    model.produce(TOPIC, partition, super::keyed("other", "hidden"));
                }
            }
        };
        let query = || if keyed { key("k") } else { query() };
        let instances: Vec<_> =
            (0..3).map(|seed| instance().seed(seed).batch(3 + seed as usize).of(&model)).collect();
        let mut client = open(&instances[0], query()).await;
        let mut events = Vec::new();
        for round in 1..=3 {
            fill(20);
            let total = if keyed { 60 } else { 120 } * round;
            while events.len() < total {
                client.limit = 120; // one or two events
                let count = 5.min(total - events.len());
                events.extend(client.events(count).await);
                client = client.resume(&instances[events.len() % 3], query()).await;
            }
        }
        let shown: Vec<_> = events.iter().filter(|event| *event != "hidden").cloned().collect();
        let of = |partition| values(partition, (0..120).step_by(2));
        assert_each_once(&shown, &[of(0), of(1), of(2)]);
        assert_eq!(events.len(), if keyed { 180 } else { 360 });
    }
}

#[tokio::test]
async fn ids_of_zilla_name_no_offset_and_any_order() {
    let model = kafka(3);
    for partition in 0..3 {
        fill(&model, partition, 4);
    }
    type Row = (&'static [(i64, i64)], [i64; 3]);
    let rows: [Row; 7] = [
        (&[(0, -2), (1, 1), (2, 4)], [0, 1, 4]),
        (&[(2, 3), (0, 1), (1, -1)], [1, 0, 3]),
        (&[(1, 2)], [0, 2, 0]),
        (&[(2, 0), (1, 4)], [0, 4, 0]),
        (&[(0, -1), (1, -1), (2, -1)], [0, 0, 0]),
        (&[(2, 4), (1, 4), (0, 3)], [3, 4, 4]),
        (&[], [0, 0, 0]),
    ];
    let old = instance().of(&model);
    open(&old, query()).await.events(12).await;
    for (pairs, from) in rows {
        for cluster in [&old, &instance().seed(5).of(&model)] {
            let mut client = open(cluster, query().last_event_id(Some(id(pairs)))).await;
            let expected: Vec<_> = (0..3).map(|at| values(at, from[at as usize]..4)).collect();
            let events = client.events(expected.iter().map(Vec::len).sum()).await;
            assert_each_once(&events, &expected);
        }
    }
}

/// The stream began at today's end: records that came while its client was away were lost without a gap.
#[tokio::test]
async fn an_id_at_the_end_of_an_empty_partition_resumes_what_came_while_its_client_was_away() {
    let model = kafka(2);
    fill(&model, 0, 4);
    let old = instance().live().of(&model);
    let mut live = open(&old, query()).await;
    live.item().await;
    let zilla = id(&[(0, 2), (1, -1)]);
    let queries = || {
        let from = Start::Id(crate::EventId::decode(&zilla).unwrap());
        [query().last_event_id(Some(zilla.clone())), query().start(from)]
    };
    fill(&model, 1, 2);
    live.events(2).await;
    for query in queries() {
        for cluster in [&old, &instance().seed(3).of(&model)] {
            let mut client = open(cluster, query.clone()).await;
            let events = client.events(4).await;
            assert_each_once(&events, &[values(0, 2..4), values(1, 0..2)]);
        }
    }

    // The client gets a gap for what is gone already.
    fill(&model, 1, 3);
    model.expire(TOPIC, 1, 4);
    for query in queries() {
        let mut client = open(&instance().of(&model), query).await;
        let gap = r#"gap {"from":0,"partition":1,"reason":"retention","to":4}"#;
        assert_eq!(client.data().await, gap);
        assert_each_once(&client.events(3).await, &[values(0, 2..4), values(1, 4..5)]);
    }
}
