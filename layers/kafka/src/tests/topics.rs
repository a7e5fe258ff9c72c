//! Topics that do not exist, are created or deleted, or are too many.

use futures_util::future::join_all;

use super::*;
use crate::broker::model::Call;

#[tokio::test]
async fn a_missing_topic_says_so_and_shows_its_first_record_when_it_is_created() {
    for live in [false, true] {
        let model = Model::default();
        let start = instance();
        let cluster = if live { start.live() } else { start }.of(&model);
        let mut client = open(&cluster, query()).await;
        assert_eq!(client.write().await, ":topic orders does not exist yet or is not permitted\n");
        let mut filtered = open(&cluster, key("k")).await;
        filtered.write().await;
        model.create(TOPIC, 2);
        fill_one(&model, 1, Some("k"), 0);
        assert_eq!(client.data().await, "1:0", "live: {live}");
        assert_eq!(filtered.data().await, "1:0", "live: {live}");
        fill_one(&model, 0, Some("k"), 0);
        assert_eq!(client.data().await, "0:0");
        assert_eq!(filtered.data().await, "0:0");
    }
}

#[tokio::test]
async fn missing_topics_share_one_refresh() {
    let model = Model::default();
    let mut slow = instance();
    slow.options.timing.retry = Duration::from_millis(100);
    let cluster = slow.of(&model);
    let mut clients = Vec::new();
    for number in 0..200 {
        clients.push(open(&cluster, Query::new(format!("missing-{number}"))));
    }
    let mut clients = join_all(clients).await;
    for client in &mut clients {
        client.write().await;
    }
    let before = model.calls(Call::Topics);
    model.wait_calls(Call::Topics, 2);
    assert!(model.calls(Call::Topics) <= before + 3);
    assert_eq!(model.calls(Call::Watermarks), 0);
}

#[tokio::test]
async fn topics_are_limited_and_one_without_streams_makes_room() {
    let model = Model::default();
    for name in ["one", "two", "three"] {
        model.create(name, 1);
        model.produce(name, 0, text(name));
    }
    // Their logs stay open for a minute.
    let cluster = instance().options(|options| options.max_topics(2)).of(&model);
    let one = open(&cluster, Query::new("one")).await;
    let mut two = open(&cluster, Query::new("two")).await;
    assert_eq!(two.data().await, "two");
    for _ in 0..2 {
        assert_full(&cluster, "three").await;
    }
    // A topic that is held already needs no more room.
    assert_eq!(open(&cluster, Query::new("one")).await.data().await, "one");
    assert!(two.is_idle());
    drop(one);
    assert_eq!(open(&cluster, Query::new("three")).await.data().await, "three");
    assert!(two.is_idle());
    assert_eq!(sorted(held(&cluster)), ["three", "two"]);
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

async fn assert_full(cluster: &Cluster, topic: &str) {
    let refused = try_open(cluster, Query::new(topic)).await;
    assert!(matches!(refused, Err(Error::TooManyTopics(_))), "{refused:?}");
}

#[tokio::test]
async fn names_that_kafka_does_not_have_take_no_room_from_topics() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.create("named", 1);
    model.produce("named", 0, text("1"));
    let limits =
        |options: ClusterOptions| options.max_topics(1).max_missing_topics(3).named_topic("named");
    let cluster = instance().options(limits).of(&model);
    let mut waiting = Vec::new();
    for number in 0..3 {
        let mut client = open(&cluster, Query::new(format!("name-{number}"))).await;
        client.write().await;
        waiting.push(client);
    }
    for number in 3..20 {
        assert_full(&cluster, &format!("name-{number}")).await;
    }
    assert_eq!(open(&cluster, Query::new("named")).await.data().await, "1");
    let client = &mut open(&cluster, query()).await;
    assert_eq!(client.data().await, "0:0");
    // Streams that wait take only the room for topics that do not exist.
    assert!(waiting.iter_mut().all(Client::is_idle));
    model.create("name-0", 1);
    let ended = waiting[0].write().await;
    assert!(ended.ends_with(b"\n:topic name-0 has no room here for now\n"), "{ended:?}");
    assert!(waiting[0].ends().await);
    drop(waiting.remove(0));
    // It freed its room.
    let mut client = open(&cluster, Query::new("name-3")).await;
    client.write().await;
}

#[tokio::test]
async fn names_that_nobody_could_ask_kafka_about_take_no_room_from_the_configuration() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.set_reachable(false);
    let limits =
        |options: ClusterOptions| options.max_topics(2).max_missing_topics(3).named_topic(TOPIC);
    let cluster = instance().options(limits).of(&model);
    let names = (0..5).map(|number| open(&cluster, Query::new(format!("name-{number}"))));
    let mut waiting = join_all(names).await;
    assert_full(&cluster, "name-5").await;
    let mut client = open(&cluster, query()).await;
    model.set_reachable(true);
    assert_eq!(client.data().await, "0:0");
    // Three of them wait on.
    let mut ended = 0;
    for client in &mut waiting {
        let said = client.write().await;
        if said.ends_with(b"has no room here for now\n") {
            assert!(client.ends().await);
            ended += 1;
        }
    }
    assert_eq!(ended, 2);
}

#[tokio::test]
async fn names_that_are_invented_have_kafka_asked_no_more_often() {
    // Each caused a list of all topics, twenty times a second.
    let model = kafka(1);
    let mut start = instance();
    start.options.timing.retry = Duration::from_secs(1);
    let cluster = start.of(&model);
    eventually(|| cluster.health().is_good()).await;
    let before = model.calls(Call::Topics);
    for number in 0..200 {
        // Kafka has answered then.
        open(&cluster, Query::new(format!("name-{number}"))).await.write().await;
    }
    let looks = model.calls(Call::Topics) - before;
    assert!(looks <= 10, "{looks} looks");
}

#[tokio::test]
async fn a_configured_topic_is_released_when_no_stream_reads_it_and_keeps_its_room() {
    let model = kafka(1);
    fill(&model, 0, 1);
    let cluster = instance()
        .idle_timeout(Duration::ZERO)
        .options(|options| options.named_topic(TOPIC))
        .of(&model);
    for round in 0..3 {
        let mut client = open(&cluster, query()).await;
        assert_eq!(client.data().await, "0:0");
        drop(client);
        eventually(|| cluster.head(TOPIC).is_none()).await;
        assert_eq!(held(&cluster), [TOPIC], "{round}");
    }
}

#[tokio::test]
async fn a_topic_is_released_when_no_stream_reads_it_and_opened_again() {
    let model = kafka(1);
    fill(&model, 0, 3);
    let cluster = instance().idle_timeout(Duration::ZERO).of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(3).await;
    let id = client.last_event_id();
    drop(client);
    eventually(|| held(&cluster).is_empty()).await;
    fill(&model, 0, 2);
    let mut client = open(&cluster, query().last_event_id(id)).await;
    assert_eq!(client.events(2).await, ["0:3", "0:4"]);
}

#[tokio::test]
async fn a_preloaded_topic_is_read_before_the_first_stream_and_never_released() {
    let model = kafka(1);
    let cluster = instance()
        .idle_timeout(Duration::ZERO)
        .options(|options| options.preload_topic(TOPIC))
        .of(&model);
    eventually(|| model.calls(Call::Watermarks) > 0).await;
    open(&cluster, query()).await.is_idle();
    model.wait_calls(Call::Topics, 5);
    assert_eq!(held(&cluster), [TOPIC]);
}

#[tokio::test]
async fn names_that_nobody_waits_for_any_more_are_forgotten() {
    let model = Model::default();
    let cluster = instance().options(|options| options.max_missing_topics(3)).of(&model);
    for number in 0..50 {
        let mut client = open(&cluster, Query::new(format!("name-{number}"))).await;
        client.write().await;
    }
    eventually(|| held(&cluster).is_empty()).await;
}

#[tokio::test]
async fn names_that_nobody_waits_for_make_room_while_kafka_is_away() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.set_reachable(false);
    let cluster = instance().options(|options| options.max_topics(2)).of(&model);
    for number in 0..5 {
        drop(open(&cluster, Query::new(format!("name-{number}"))).await);
    }
    let mut client = open(&cluster, query()).await;
    model.set_reachable(true);
    assert_eq!(client.data().await, "0:0");
}

#[tokio::test]
async fn a_reopened_topic_keeps_to_its_share_of_the_memory() {
    const MEMORY: usize = 200_000;
    let model = kafka(1);
    model.create("other", 1);
    fill(&model, 0, 5);
    let mut start =
        instance().options(|options| options.memory_bytes(MEMORY).preload_topic("other"));
    start.options = start.options.preload_topic(TOPIC);
    // No refresh shares the memory again.
    start.options.timing.refresh = Duration::from_secs(3600);
    let cluster = start.of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(5).await;
    model.truncate(TOPIC, 0, 2);
    client.until(&["0:1"]).await;
    for _ in 0..500 {
        fill_one(&model, 0, None, 1000);
    }
    client.until(&["0:501"]).await;
    eventually(|| client.is_idle() && model.assigned_history() == 0).await;
    let bytes = cluster.bytes(TOPIC);
    // The newest chunk and its form are kept whatever the share.
    assert!(bytes > 0 && bytes < 3 * MEMORY / 4, "{bytes} bytes");
}

#[tokio::test]
async fn topics_share_the_memory_and_one_that_is_let_go_leaves_its_share() {
    const MEMORY: usize = 1_500_000;
    let names = ["one", "two", "three"];
    let model = Model::default();
    let cluster = instance()
        .idle_timeout(Duration::ZERO)
        .options(|options| options.memory_bytes(MEMORY))
        .of(&model);
    let value = " ".repeat(1000);
    let mut clients = Vec::new();
    for name in names {
        model.create(name, 1);
        clients.push(open(&cluster, Query::new(name)).await);
    }
    let write = |name: &str| {
        for _ in 0..500 {
            model.produce(name, 0, text(&value));
        }
    };
    for (name, client) in names.iter().zip(&mut clients) {
        // What comes before the log is open is not in it.
        while cluster.bytes(name) == 0 {
            model.produce(name, 0, text("1"));
            client.events(1).await;
        }
        write(name);
        client.events(500).await;
    }
    let all = |names: &[&str]| names.iter().map(|name| cluster.bytes(name)).sum::<usize>();
    // The newest chunk is kept whatever the share: a few records here.
    eventually(|| all(&names) <= MEMORY + names.len() * 20_000).await;
    assert!(names.iter().all(|name| cluster.bytes(name) > MEMORY / 6), "each has its share");

    clients.truncate(1);
    eventually(|| held(&cluster) == ["one"]).await;
    model.wait_calls(Call::Topics, 2);
    write("one");
    clients[0].events(500).await;
    assert!(cluster.bytes("one") > MEMORY / 2, "{} bytes", cluster.bytes("one"));
}

#[tokio::test]
async fn the_names_of_all_topics_are_listed_when_kafka_answers() {
    let model = kafka(1);
    model.create("a", 1);
    model.fail(Call::Topics, 3);
    let cluster = instance().of(&model);
    assert_eq!(cluster.topic_names().await.unwrap(), ["a", TOPIC]);
    assert!(!model.will_fail(Call::Topics));
    model.create("b", 1);
    assert_eq!(cluster.topic_names().await.unwrap(), ["a", "b", TOPIC]);
}
