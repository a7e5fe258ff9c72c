//! Topics that Kafka does not permit to be described or read.

use super::*;
use crate::TopicHealth;
use crate::broker::model::Call;

fn health(cluster: &Cluster, name: &str) -> Option<TopicHealth> {
    cluster.health().topics.into_iter().find(|topic| *topic.name == *name)
}

fn is_forbidden(cluster: &Cluster, name: &str) -> bool {
    health(cluster, name).is_some_and(|topic| topic.forbidden)
}

#[track_caller]
fn assert_forbidden<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Forbidden(_))), "{answer:?}");
}

async fn ask(cluster: &Cluster, topic: &str) -> Result<(), Error> {
    try_open(cluster, Query::new(topic)).await.map(drop)
}

/// The last write of a stream that is refused.
async fn assert_ends(client: &mut Client) {
    let text = String::from_utf8(client.write().await.to_vec()).unwrap();
    let retry = text
        .strip_prefix("retry:")
        .and_then(|text| text.strip_suffix("\n:topic orders does not exist or is not permitted\n"));
    let retry: u32 = retry.unwrap_or_else(|| panic!("{text:?}")).parse().unwrap();
    assert!((8_000..=12_000).contains(&retry), "{retry}");
    assert!(client.ends().await);
}

#[tokio::test]
async fn a_topic_that_may_not_be_read_ends_its_first_streams_and_refuses_others() {
    for live in [false, true] {
        let model = kafka(2);
        fill(&model, 0, 3);
        model.set_forbidden(TOPIC, true);
        if live {
            // A stream says where it begins unless its topic is known to be refused by then.
            model.fail(Call::Access, usize::MAX);
        }
        let start = instance().options(|options| options.default_offset("x", DefaultOffset::Live));
        let cluster = if live { start.live() } else { start }.of(&model);
        // Its offsets may be queried: only reading is refused, which may be known before the first stream begins.
        let mut clients = Vec::new();
        for query in [query(), key("k")] {
            match try_open(&cluster, query).await {
                Ok(client) => clients.push(client),
                Err(error) if !live => assert_forbidden::<()>(Err(error)),
                Err(error) => panic!("{error}"),
            }
        }
        for client in clients.iter_mut().filter(|_| live) {
            assert!(matches!(client.item().await, Item::Id(_)));
        }
        model.fail(Call::Access, 0);
        for client in &mut clients {
            assert_ends(client).await;
        }
        assert_forbidden(ask(&cluster, TOPIC).await);
        assert!(is_forbidden(&cluster, TOPIC));
        assert!(cluster.health().is_good(), "no other instance would do better");

        // It continues by itself, and no record is lost.
        model.set_forbidden(TOPIC, false);
        eventually(|| !is_forbidden(&cluster, TOPIC)).await;
        let mut client = open(&cluster, after(&[1, 0])).await;
        fill(&model, 1, 1);
        let events = client.events(3).await;
        assert_each_once(&events, &[values(0, 1..3), values(1, 0..1)]);
    }
}

#[tokio::test]
async fn a_topic_that_may_not_be_read_any_more_ends_its_streams_and_no_others() {
    let model = kafka(1);
    model.create("other", 1);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    let mut other = open(&cluster, Query::new("other")).await;
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:0");
    model.produce("other", 0, text("1"));
    assert_eq!(other.data().await, "1");
    model.set_forbidden(TOPIC, true);
    assert_ends(&mut client).await;
    fill(&model, 0, 1);
    model.produce("other", 0, text("2"));
    assert_eq!(other.data().await, "2");
    assert!(other.is_idle());
    model.set_forbidden(TOPIC, false);
    eventually(|| !is_forbidden(&cluster, TOPIC)).await;
    let mut client = client.resume(&cluster, query()).await;
    assert_eq!(client.data().await, "0:1");
}

#[tokio::test]
async fn a_topic_that_may_not_be_described_is_refused_before_its_stream_begins() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.set_hidden(TOPIC, true);
    let cluster = instance().of(&model);
    for _ in 0..2 {
        assert_forbidden(ask(&cluster, TOPIC).await);
    }
    model.set_hidden(TOPIC, false);
    eventually(|| !is_forbidden(&cluster, TOPIC)).await;
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.data().await, "0:0");
    // And any more.
    model.set_hidden(TOPIC, true);
    assert_ends(&mut client).await;
    assert_forbidden(ask(&cluster, TOPIC).await);
}

#[tokio::test]
async fn a_topic_that_the_configuration_names_is_looked_at_without_a_stream() {
    let names = ["orders", "hidden", "unreadable", "missing"];
    let model = kafka(1);
    for name in ["hidden", "unreadable"] {
        model.create(name, 1);
    }
    model.set_hidden("hidden", true);
    model.set_forbidden("unreadable", true);
    let cluster = instance()
        .options(|options| names.iter().fold(options, |all, name| all.named_topic(*name)));
    let cluster = cluster.of(&model);
    let told = |name: &str| {
        let health = health(&cluster, name).expect("it is held");
        assert!(health.named);
        (health.missing, health.forbidden)
    };
    let all = || names.map(told);
    let bad = [(false, false), (false, true), (false, true), (true, false)];
    eventually(|| all() == bad).await;
    assert!(cluster.health().is_good());
    assert_eq!(model.calls(Call::Watermarks), 0, "no log is opened for nobody");
    assert_forbidden(ask(&cluster, "hidden").await);
    assert_forbidden(ask(&cluster, "unreadable").await);

    model.set_hidden("hidden", false);
    model.set_forbidden("unreadable", false);
    model.create("missing", 1);
    eventually(|| all() == [(false, false); 4]).await;
    assert_eq!(model.calls(Call::Watermarks), 0);
}

#[tokio::test]
async fn names_that_kafka_does_not_list_are_refused_and_take_no_room() {
    let model = kafka(1);
    model.hide_missing();
    fill(&model, 0, 1);
    let cluster = instance().options(|options| options.max_missing_topics(3).max_topics(2));
    let cluster = cluster.of(&model);
    for number in 0..20 {
        assert_forbidden(ask(&cluster, &format!("name-{number}")).await);
    }
    assert_eq!(open(&cluster, query()).await.data().await, "0:0");
    assert!(held(&cluster).len() <= 4, "{:?}", held(&cluster));
}

#[tokio::test]
async fn whether_a_topic_may_be_read_is_asked_again_until_it_is_known() {
    for panics in [false, true] {
        let model = kafka(1);
        model.set_forbidden(TOPIC, true);
        match panics {
            true => model.panic_at(Call::Access),
            false => model.fail(Call::Access, 3),
        }
        let cluster = instance().of(&model);
        // It may be known before the stream begins.
        match try_open(&cluster, query()).await {
            Ok(mut client) => assert_ends(&mut client).await,
            Err(error) => assert_forbidden::<()>(Err(error)),
        }
        assert!(!model.will_panic() && !model.will_fail(Call::Access));
    }
}
