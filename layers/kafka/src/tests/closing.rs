use std::pin::pin;

use super::*;
use crate::broker::model::{Call, Spoilt};

#[tokio::test]
async fn a_cluster_has_closed_when_nothing_uses_kafka_any_more() {
    let model = kafka(1);
    fill(&model, 0, 1);
    let backend = model.backend(1, 5);
    let used = Arc::downgrade(&backend);
    let cluster = instance().over(backend);
    let mut client = open(&cluster, query()).await;
    client.events(1).await;
    let other = cluster.clone();

    let cx = &mut Context::from_waker(Waker::noop());
    let mut closing = pin!(cluster.close());
    assert!(closing.as_mut().poll(cx).is_pending(), "a clone and a stream are left");
    drop(other);
    assert!(closing.as_mut().poll(cx).is_pending(), "a stream is left");
    drop(client);
    tokio::time::timeout(IN_VAIN, closing).await.unwrap();
    assert_eq!(used.strong_count(), 0);
}

/// An inspection was repeated for as long as Kafka did not answer, also of a cluster that was dropped.
#[tokio::test]
async fn a_cluster_closes_during_an_inspection() {
    let model = kafka(1);
    fill(&model, 0, 3);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(3).await;
    model.hold_history(true);
    model.spoil(TOPIC, 0, &["a"], Spoilt::Batch);
    model.wait_calls(Call::FetchHistory, 1);
    drop(client);
    tokio::time::timeout(IN_VAIN, cluster.close()).await.unwrap();
}
