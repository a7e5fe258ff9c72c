//! Transactions: streams get committed records and no others.

use super::*;

#[tokio::test]
async fn nothing_of_an_open_transaction_is_shown_until_it_is_committed() {
    let model = kafka(2);
    fill(&model, 0, 2);
    model.begin(TOPIC, 0);
    model.produce_in(TOPIC, 0, text("0:2"));
    // Behind it is a record without a transaction, which waits for Kafka's order.
    model.produce(TOPIC, 0, text("0:3"));
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.events(2).await, ["0:0", "0:1"]);
    fill(&model, 1, 1);
    assert_eq!(client.data().await, "1:0");
    assert!(client.is_idle());
    model.end(TOPIC, 0, true);
    assert_eq!(client.events(2).await, ["0:2", "0:3"]);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:5", "the marker took an offset");
}

#[tokio::test]
async fn a_live_stream_that_began_meanwhile_gets_what_is_committed_later() {
    let model = kafka(1);
    fill(&model, 0, 2);
    model.begin(TOPIC, 0);
    model.produce_in(TOPIC, 0, text("0:2"));
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.item().await, Item::Id(id_of(&[2]).into()));
    model.produce_in(TOPIC, 0, text("0:3"));
    let mut resumed = open(&cluster, query().last_event_id(client.last_event_id())).await;
    model.end(TOPIC, 0, true);
    assert_eq!(client.events(2).await, ["0:2", "0:3"]);
    assert_eq!(resumed.events(2).await, ["0:2", "0:3"]);
}

#[tokio::test]
async fn what_was_aborted_is_a_hole() {
    let model = kafka(1);
    fill(&model, 0, 2);
    model.begin(TOPIC, 0);
    model.produce_in(TOPIC, 0, text("never"));
    let live = instance().live().of(&model);
    let mut waiting = open(&live, query()).await;
    waiting.item().await;
    model.end(TOPIC, 0, false);
    fill(&model, 0, 1);
    assert_eq!(waiting.data().await, "0:4");
    let mut late = open(&instance().of(&model), query()).await;
    assert_eq!(late.events(3).await, ["0:0", "0:1", "0:4"]);
    // The history of a partition may end with a marker.
    model.begin(TOPIC, 0);
    model.produce_in(TOPIC, 0, text("never"));
    model.end(TOPIC, 0, false);
    let cluster = instance().of(&model);
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.events(3).await, ["0:0", "0:1", "0:4"]);
    let mut none = open(&cluster, after(&[5])).await;
    fill(&model, 0, 1);
    assert_eq!(late.data().await, "0:7");
    assert_eq!(none.data().await, "0:7");
}
