//! What a cluster counts, and what a stream shows of itself.

use super::*;
use crate::{Counts, StreamProbe, StreamStart, StreamState, TopicCounts};

fn counts_of(cluster: &Cluster, name: &str) -> TopicCounts {
    let counts: Counts = cluster.counts();
    counts.topics.into_iter().find(|topic| *topic.name == *name).unwrap()
}

fn counts(cluster: &Cluster) -> TopicCounts {
    counts_of(cluster, TOPIC)
}

/// How many streams are in this state.
fn in_state(topic: &TopicCounts, state: StreamState) -> u64 {
    let at = StreamState::ALL.iter().position(|each| *each == state).unwrap();
    topic.streams.states[at]
}

fn probe(client: &Client) -> StreamProbe {
    client.stream.probe()
}

#[tokio::test]
async fn a_record_is_read_once_and_sent_to_each_client() {
    let model = kafka(2);
    let cluster = instance().live().of(&model);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = open(&cluster, query()).await;
        assert!(matches!(client.item().await, Item::Id(_)));
        clients.push(client);
    }
    fill(&model, 0, 4);
    fill(&model, 1, 3);
    for client in &mut clients {
        client.events(7).await;
        let seen = probe(client);
        assert_eq!((seen.events(), seen.gaps(), seen.state()), (7, 0, StreamState::Live));
        assert_eq!((seen.topic(), &**seen.label()), (TOPIC, TOPIC));
        assert_eq!(seen.position(), Some(id_of(&[4, 3])));
        assert_eq!(seen.lag().map(|lag| lag.records), Some(0));
        seen.note_sent_bytes(client.wire.len());
    }
    let topic = counts(&cluster);
    assert_eq!((topic.records_read, topic.events_sent), (7, 21));
    assert_eq!(topic.read_bytes, 7 * "0:0:".len() as u64);
    let wire: usize = clients.iter().map(|client| client.wire.len()).sum();
    assert_eq!(topic.sent_bytes, wire as u64);
    assert_eq!((topic.behind_records, topic.advances), (Some(0), Some(true)));
    assert!(topic.log_bytes > Some(0) && topic.delay.count() == 0, "records without a time");
    drop(clients.pop());
    eventually(|| in_state(&counts(&cluster), StreamState::Live) == 2).await;
    assert_eq!(counts(&cluster).events_sent, 21, "what was counted stays");
}

#[tokio::test]
async fn a_client_that_takes_nothing_falls_behind_in_records_and_in_seconds() {
    let model = kafka(1);
    let cluster = instance().live().of(&model);
    let mut client = open(&cluster, query()).await;
    client.item().await;
    let seen = probe(&client);
    fill(&model, 0, 12);
    eventually(|| seen.lag().is_some_and(|lag| lag.records == 12)).await;
    let age = seen.lag().unwrap().age;
    eventually(|| seen.lag().unwrap().age > age).await;
    assert_eq!(seen.last_lag_records(), None, "it is open");
    eventually(|| {
        let streams = counts(&cluster).streams;
        let at = streams.lag_records.limits.iter().position(|limit| *limit == 100.0).unwrap();
        streams.lag_records.counts[at] == 1 && streams.lag_records.sum == 12.0
    })
    .await;
    client.events(12).await;
    assert_eq!(seen.lag(), Some(crate::StreamLag::default()));
    fill(&model, 0, 3);
    eventually(|| seen.lag().is_some_and(|lag| lag.records == 3)).await;
    drop(client);
    assert_eq!((seen.lag(), seen.position(), seen.events()), (None, None, 12));
    assert_eq!(seen.last_lag_records(), Some(3));
}

#[tokio::test]
async fn gaps_are_counted_by_reason_and_are_no_events() {
    let model = kafka(1);
    fill(&model, 0, 6);
    model.expire(TOPIC, 0, 4);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, after(&[1])).await;
    client.until(&["0:5"]).await;
    let seen = probe(&client);
    assert_eq!((seen.start(), seen.events(), seen.gaps()), (StreamStart::Id, 2, 1));
    assert_eq!(seen.last_gap(), Some("retention"));
    let mut undecoded = open(&cluster, query().last_event_id(Some("?".into()))).await;
    undecoded.until(&["0:5"]).await;
    let seen = probe(&undecoded);
    assert_eq!((seen.start(), seen.last_gap()), (StreamStart::Id, Some("id")));
    let told: Vec<_> = counts(&cluster).gaps_told.into_iter().collect();
    assert_eq!(told, [("id", 1), ("retention", 1)]);
    assert_eq!(counts(&cluster).events_sent, 4);
}

#[tokio::test]
async fn a_name_that_a_client_made_up_is_no_label_and_a_stream_keeps_its_own() {
    let model = kafka(1);
    let named = instance().options(|options| options.named_topic("named"));
    let cluster = named.of(&model);
    let mut other = open(&cluster, Query::new("made-up")).await;
    let named = open(&cluster, Query::new("named")).await;
    let known = open(&cluster, query()).await;
    let label = |client: &Client| probe(client).label().to_string();
    assert_eq!([&other, &named, &known].map(label), ["_other_", "named", TOPIC]);
    let names = ["made-up", "named", TOPIC, "never asked for"];
    assert_eq!(names.map(|name| cluster.has_topic(name)), [false, true, true, false]);
    eventually(|| in_state(&counts_of(&cluster, "_other_"), StreamState::Seeking) == 1).await;

    model.create("made-up", 1);
    model.produce("made-up", 0, text("1"));
    assert_eq!(other.data().await, "1");
    assert_eq!(label(&other), "_other_");
    assert!(cluster.has_topic("made-up"), "Kafka has it now");
    let late = open(&cluster, Query::new("made-up")).await;
    assert_eq!(label(&late), "made-up");
    let names: Vec<_> = cluster.counts().topics.iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["made-up", "named", TOPIC, "_other_"]);
}

#[tokio::test]
async fn a_topic_of_the_configuration_is_told_though_it_is_missing_or_forbidden() {
    let model = kafka(1);
    model.set_forbidden(TOPIC, true);
    let named = |options: ClusterOptions| options.named_topic("missing").preload_topic(TOPIC);
    let cluster = instance().options(named).of(&model);
    eventually(|| {
        let (topic, missing) = (counts(&cluster), counts_of(&cluster, "missing"));
        topic.named && topic.forbidden && missing.named && missing.missing
    })
    .await;
    model.set_forbidden(TOPIC, false);
    model.create("missing", 1);
    eventually(|| !counts(&cluster).forbidden && !counts_of(&cluster, "missing").missing).await;
}

#[tokio::test]
async fn counters_stay_when_a_topic_is_released_and_opened_again() {
    let model = kafka(1);
    let cluster = instance().live().idle_timeout(Duration::ZERO).of(&model);
    for round in 1..=3 {
        let mut client = open(&cluster, query()).await;
        client.item().await;
        fill(&model, 0, 5);
        client.events(5).await;
        drop(client);
        eventually(|| held(&cluster).is_empty()).await;
        let topic = counts(&cluster);
        // A log that is opened while the last one ends may read a record again.
        assert_eq!((topic.records_read, topic.events_sent), (5 * round, 5 * round));
        assert_eq!((topic.behind_records, topic.log_bytes, topic.advances), (None, None, None));
    }
}

#[tokio::test]
async fn a_stream_in_history_is_behind_by_what_lies_before_the_live_head() {
    let model = kafka(1);
    fill(&model, 0, 40);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.limit = 1;
    let seen = probe(&client);
    assert_eq!(seen.start(), StreamStart::Beginning);
    assert_eq!((seen.state(), seen.lag()), (StreamState::Seeking, None));
    assert_eq!(client.data().await, "0:0");
    assert_eq!(seen.state(), StreamState::History);
    assert_eq!(seen.lag().map(|lag| lag.records), Some(39));
    assert_eq!(cluster.counts().history_passes_total, 1);
    client.until(&["0:39"]).await;
    fill(&model, 0, 1);
    client.until(&["0:40"]).await;
    assert_eq!(seen.state(), StreamState::Live);
    assert_eq!(counts(&cluster).records_read, 41);
    eventually(|| cluster.counts().history_passes == 0).await;
    // The next client reads the history again, which is read and not counted.
    let mut next = open(&cluster, query()).await;
    next.until(&["0:40"]).await;
    assert_eq!((cluster.counts().history_passes_total, counts(&cluster).records_read), (2, 41));
}

#[tokio::test]
async fn a_stream_of_a_compacted_topic_reads_a_snapshot() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    for number in 0..20 {
        model.produce(TOPIC, 0, keyed(&format!("{number}"), &format!("{number}")));
    }
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.limit = 1;
    let seen = probe(&client);
    assert_eq!(client.data().await, "0");
    assert_eq!(seen.state(), StreamState::Snapshot);
    assert_eq!(seen.lag().map(|lag| lag.records), Some(19));
    assert_eq!(counts(&cluster).snapshots, 1);
    client.until(&["19"]).await;
    model.produce(TOPIC, 0, keyed("new", "new"));
    assert_eq!(client.data().await, "new");
    assert_eq!(seen.state(), StreamState::Live);
}

#[tokio::test]
async fn a_stream_whose_client_is_ahead_of_its_cursor_is_live_once_that_has_caught_up() {
    let model = kafka(2);
    let cluster = instance().live().of(&model);
    let mut all = open(&cluster, query()).await;
    all.item().await;
    fill(&model, 0, 3);
    all.events(3).await;
    fill(&model, 1, 3);
    all.events(3).await;
    // It has the last records of the log, and not the first ones.
    let mut client = open(&cluster, after(&[0, 3])).await;
    client.limit = 1;
    let seen = probe(&client);
    assert_eq!(client.data().await, "0:0");
    assert_eq!((seen.state(), seen.position()), (StreamState::Ahead, Some(id_of(&[1, 3]))));
    assert_eq!(client.events(2).await, ["0:1", "0:2"]);
    eventually(|| client.is_idle() && seen.state() == StreamState::Live).await;
    assert_eq!((seen.events(), seen.position()), (3, Some(id_of(&[3, 3]))));
}

#[tokio::test]
async fn how_a_stream_starts_is_known() {
    let model = kafka(1);
    let cluster = instance().live().of(&model);
    let since = crate::Start::Since(std::time::SystemTime::UNIX_EPOCH);
    for (query, start, name) in [
        (query(), StreamStart::Live, "live"),
        (Query::new("x"), StreamStart::Beginning, "beginning"),
        (query().start(since.clone()), StreamStart::Since, "since"),
        (query().start(crate::Start::Live), StreamStart::From, "from"),
        (query().start(since).last_event_id(Some("x".into())), StreamStart::Id, "id"),
    ] {
        let seen = probe(&open(&cluster, query).await);
        assert_eq!((seen.start(), seen.start().name()), (start, name));
    }
}

#[tokio::test]
async fn all_of_many_streams_are_counted() {
    let model = kafka(1);
    let cluster = instance().live().of(&model);
    let mut clients = Vec::new();
    for _ in 0..2500 {
        clients.push(open(&cluster, query()).await);
    }
    for client in &mut clients {
        client.item().await;
    }
    eventually(|| in_state(&counts(&cluster), StreamState::Live) == 2500).await;
    assert_eq!(counts(&cluster).streams.lag_seconds.count(), 2500);
    clients.truncate(3);
    eventually(|| counts(&cluster).streams.states == [0, 0, 0, 0, 3]).await;
}
