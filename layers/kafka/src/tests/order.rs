//! Every record once and in order, wherever a stream begins.

use super::*;

#[tokio::test]
async fn history_and_live_records_come_once_and_in_order_in_each_partition() {
    let model = kafka(3);
    for partition in 0..3 {
        fill(&model, partition, 50);
    }
    let mut client = open(&instance().of(&model), query()).await;
    let mut events = client.events(150).await;
    for partition in 0..3 {
        fill(&model, partition, 50);
    }
    events.extend(client.events(150).await);
    assert_each_once(&events, &[values(0, 0..100), values(1, 0..100), values(2, 0..100)]);
}

#[tokio::test]
async fn a_live_stream_begins_at_the_end_with_an_id_of_its_own() {
    let model = kafka(2);
    fill(&model, 0, 3);
    fill(&model, 1, 1);
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.write().await, "id:AQQABgIC\n\n");
    fill(&model, 0, 2);
    assert_eq!(client.events(2).await, ["0:3", "0:4"]);
}

#[tokio::test]
async fn what_comes_while_a_client_without_an_event_is_away_is_delivered() {
    let model = kafka(1);
    fill(&model, 0, 5);
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.item().await, Item::Id(id_of(&[5]).into()));
    fill(&model, 0, 3);
    let mut resumed = client.resume(&cluster, query()).await;
    assert_eq!(resumed.events(3).await, ["0:5", "0:6", "0:7"]);
}

#[tokio::test]
async fn a_client_that_resumes_in_the_middle_gets_the_rest() {
    let model = kafka(2);
    fill(&model, 0, 20);
    fill(&model, 1, 20);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.limit = 200; // few events a write
    let mut events = client.events(7).await;
    for _ in 0..11 {
        client = client.resume(&cluster, query()).await;
        events.extend(client.events(3).await);
    }
    assert_each_once(&events, &[values(0, 0..20), values(1, 0..20)]);
}

#[tokio::test]
async fn offsets_that_were_repeated_after_a_reconnect_are_shown_once() {
    let model = kafka(2);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    let mut events = Vec::new();
    for round in 0..20 {
        fill(&model, round % 2, 4);
        events.extend(client.events(4).await);
        model.set_reachable(false);
        model.set_reachable(true);
    }
    fill(&model, 0, 1);
    fill(&model, 1, 1);
    events.extend(client.events(2).await);
    assert_each_once(&events, &[values(0, 0..41), values(1, 0..41)]);
}

#[tokio::test]
async fn holes_in_the_offsets_are_no_gap() {
    let model = kafka(1);
    model.skip(TOPIC, 0, 3);
    fill(&model, 0, 4);
    model.remove(TOPIC, 0, |offset| offset == 4 || offset == 5);
    model.skip(TOPIC, 0, 2);
    let cluster = instance().of(&model);
    for from in 0..=9 {
        let mut client = open(&cluster, after(&[from])).await;
        let rest = [3, 6].into_iter().filter(|offset| *offset >= from);
        let expected = values(0, rest.clone());
        assert_eq!(client.events(expected.len()).await, expected, "after {from}");
    }
    let mut client = open(&cluster, after(&[4])).await;
    assert_eq!(client.events(1).await, ["0:6"]);
    fill(&model, 0, 1);
    assert_eq!(client.events(1).await, ["0:9"]);
}

#[tokio::test]
async fn without_positions_no_block_holds_an_id_alone() {
    let model = kafka(1);
    model.produce(TOPIC, 0, keyed("a", "0:0"));
    let cluster = instance().live().of(&model);
    let mut live =
        open(&cluster, query().options(StreamOptions::new().id_only_blocks(false))).await;
    let mut filtered =
        open(&cluster, key("b").options(StreamOptions::new().id_only_blocks(false))).await;
    let mut all = open(&cluster, query()).await;
    assert_eq!(all.item().await, Item::Id(id_of(&[1]).into()));
    assert!(live.is_idle() && filtered.is_idle(), "both are at the end by now");
    model.produce(TOPIC, 0, keyed("a", "0:1"));
    model.produce(TOPIC, 0, keyed("b", "0:2"));
    assert_eq!(live.events(2).await, ["0:1", "0:2"]);
    assert_eq!(filtered.write().await, "data:0:2\nid:AQIABg==\n\n");
    model.produce(TOPIC, 0, keyed("a", "0:3"));
    assert_eq!(live.data().await, "0:3");
    assert!(filtered.is_idle());
    assert_eq!((live.idle(), filtered.idle()), (None, None));
}
