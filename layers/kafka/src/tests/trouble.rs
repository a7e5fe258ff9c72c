//! Faults: Kafka is unreachable, or any call fails.

use tokio::time::Instant;

use super::*;
use crate::broker::model::Call;

const CALLS: [Call; 6] =
    [Call::Consumer, Call::Topics, Call::Watermarks, Call::Ends, Call::Fetch, Call::FetchHistory];

#[tokio::test]
async fn kafka_may_be_absent_at_start() {
    for live in [false, true] {
        let model = kafka(1);
        fill(&model, 0, 2);
        model.set_reachable(false);
        let start = instance();
        let cluster = if live { start.live() } else { start }.of(&model);
        let mut client = open(&cluster, query()).await;
        model.wait_calls(Call::Topics, 2);
        assert!(client.is_idle(), "nobody knows yet whether the topic exists");
        model.set_reachable(true);
        match live {
            true => assert_eq!(client.item().await, Item::Id(id_of(&[2]).into())),
            false => assert_eq!(client.events(2).await, ["0:0", "0:1"]),
        }
        fill(&model, 0, 1);
        assert_eq!(client.data().await, "0:2");
    }
}

#[tokio::test]
async fn errors_at_any_call_lose_and_repeat_nothing() {
    for call in CALLS {
        for failures in [1, 2, 5] {
            let model = kafka(2);
            fill(&model, 0, 20);
            fill(&model, 1, 20);
            model.fail(call, failures);
            let cluster =
                instance().watched().options(|options| options.memory_bytes(1024)).of(&model);
            let mut client = open(&cluster, query()).await;
            let mut late = open(&cluster, query()).await;
            let mut events = client.events(30).await;
            model.fail(call, failures);
            fill(&model, 0, 20);
            fill(&model, 1, 20);
            let mut resumed = open(&cluster, after(&[20, 20])).await;
            assert_each_once(&resumed.events(40).await, &[values(0, 20..40), values(1, 20..40)]);
            model.fail(call, failures);
            events.extend(client.events(50).await);
            assert_each_once(&events, &[values(0, 0..40), values(1, 0..40)]);
            let events = late.events(80).await;
            assert_each_once(&events, &[values(0, 0..40), values(1, 0..40)]);
        }
    }
}

#[tokio::test]
async fn a_reader_of_history_without_a_consumer_tries_again_after_a_while() {
    // The reader began one backfill after the other and ended each at once.
    let model = kafka(1);
    fill(&model, 0, 2);
    model.fail(Call::Consumer, 1_000_000);
    let begun = Instant::now();
    let cluster = instance().options(|options| options.history_readers(1)).of(&model);
    let mut client = open(&cluster, query()).await;
    let looks = model.calls(Call::Topics);
    eventually(|| client.is_idle() && model.calls(Call::Topics) > looks + 20).await;
    // An attempt is made every 10 ms.
    let attempts = model.calls(Call::Consumer) as u128;
    let most = 50 + begun.elapsed().as_millis() / 10;
    assert!(attempts < most, "{attempts} attempts, {most} at most");
    model.fail(Call::Consumer, 0);
    assert_eq!(client.events(2).await, ["0:0", "0:1"]);
}

#[tokio::test]
async fn handles_are_made_before_they_are_needed_and_drained_meanwhile() {
    // The first stream waited until the consumer of its reader was created and connected.
    let model = kafka(1);
    let cluster = instance().options(|options| options.history_readers(1)).of(&model);
    // By the reader's consumer, though there is no stream.
    model.wait_calls(Call::DrainEventsHistory, 3);
    model.wait_calls(Call::DrainEvents, 3);
    model.panic_at(Call::DrainEventsHistory);
    eventually(|| !model.will_panic()).await;
    model.wait_calls(Call::DrainEventsHistory, 3);
    drop(cluster);
    model.wait_no_consumers();
}

#[tokio::test]
async fn a_topic_that_metadata_forgets_for_a_moment_goes_on() {
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    for round in 0..5 {
        fill(&model, 0, 1);
        assert_eq!(client.data().await, format!("0:{round}"));
        // A broker that has just started answers before it knows its topics.
        model.forget_topics(5);
        model.wait_calls(Call::Topics, 7);
    }
    assert!(client.is_idle());
}

#[tokio::test]
async fn a_topic_that_can_not_be_read_for_a_while_goes_on() {
    // During an election of leaders the topic was taken for deleted, and afterwards for another one.
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    fill(&model, 0, 1);
    client.events(1).await;
    model.set_unreadable(TOPIC, true);
    let mut other = open(&instance().of(&model), query()).await;
    model.wait_calls(Call::Topics, 20);
    assert!(client.is_idle() && other.is_idle(), "nobody says that it does not exist");
    model.set_unreadable(TOPIC, false);
    fill(&model, 0, 1);
    assert_eq!(client.write().await, "data:0:1:\nid:AQIABA==\n\n");
    assert_eq!(other.events(2).await, ["0:0", "0:1"]);
}

#[tokio::test]
async fn a_topic_that_may_not_be_described_for_a_moment_goes_on() {
    // A broker that has just started does not know the permissions yet.
    let model = kafka(1);
    let mut start = instance();
    start.options.timing.retry = Duration::from_secs(2);
    let cluster = start.of(&model);
    let mut client = open(&cluster, query()).await;
    fill(&model, 0, 1);
    client.events(1).await;
    model.set_described(TOPIC, false);
    model.wait_calls(Call::Topics, 1);
    assert!(client.is_idle(), "nobody says that it is gone");
    model.set_described(TOPIC, true);
    fill(&model, 0, 1);
    assert_eq!(client.write().await, "data:0:1:\nid:AQIABA==\n\n");
}

#[tokio::test]
async fn refreshes_in_quick_succession_take_no_topic_for_gone() {
    // Each id that names one more partition causes a refresh.
    let model = kafka(1);
    let mut start = instance();
    start.options.timing.retry = Duration::from_secs(3600);
    let cluster = start.of(&model);
    let mut client = open(&cluster, query()).await;
    fill(&model, 0, 1);
    client.events(1).await;
    model.delete(TOPIC);
    for partition in 1..10 {
        let before = model.calls(Call::Topics);
        let mut other = open(&cluster, after(&vec![1; partition + 1])).await;
        assert!(other.is_idle());
        eventually(|| model.calls(Call::Topics) > before).await;
    }
    assert!(client.is_idle());
    assert_eq!(model.calls(Call::Presence), 0);
}

#[tokio::test]
async fn topics_without_leaders_hold_up_no_other_topic() {
    // Each refresh asked for all of them, one after the other, before any stream was answered.
    const BAD: usize = 30;
    let model = kafka(1);
    fill(&model, 0, 3);
    model.fail_after(Duration::from_millis(100));
    let cluster = instance().of(&model);
    assert!(open(&cluster, after(&[3])).await.is_idle());
    eventually(|| model.calls(Call::Watermarks) > 0).await;
    let mut waiting = Vec::new();
    for number in 0..BAD {
        let name = format!("bad-{number}");
        model.create(&name, 1);
        model.set_leaderless(&name, 0, true);
        let mut client = open(&cluster, Query::new(name)).await;
        assert!(client.is_idle());
        waiting.push(client);
    }
    model.wait_calls(Call::Watermarks, 2);
    let before = model.calls(Call::Watermarks);
    assert_eq!(open(&cluster, query()).await.events(3).await, ["0:0", "0:1", "0:2"]);
    let others = model.calls(Call::Watermarks) - before - 1;
    assert!(others <= 3, "{others} of {BAD} topics came first");
    for number in 0..BAD {
        model.set_leaderless(&format!("bad-{number}"), 0, false);
        model.produce(&format!("bad-{number}"), 0, text("1"));
    }
    for client in &mut waiting {
        assert_eq!(client.data().await, "1");
    }
}

#[tokio::test]
async fn a_topic_without_a_leader_is_asked_for_less_and_less() {
    let model = kafka(1);
    model.set_leaderless(TOPIC, 0, true);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    let looks = model.calls(Call::Topics);
    eventually(|| client.is_idle() && model.calls(Call::Topics) >= looks + 50).await;
    // Ten milliseconds, twenty, forty, and so on.
    let asked = model.calls(Call::Watermarks);
    assert!((2..=15).contains(&asked), "{asked} questions in 50 looks");
    model.set_leaderless(TOPIC, 0, false);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:0");
}

#[tokio::test]
async fn what_failed_while_kafka_was_away_is_tried_at_once() {
    let model = kafka(1);
    fill(&model, 0, 1);
    let mut start = instance();
    start.options.timing.max_retry = Duration::from_secs(3600);
    let cluster = start.of(&model);
    model.set_leaderless(TOPIC, 0, true);
    let mut client = open(&cluster, query()).await;
    // The next pause would be longer than this test waits.
    eventually(|| client.is_idle() && model.calls(Call::Watermarks) >= 9).await;
    model.set_reachable(false);
    model.wait_calls(Call::Topics, 2);
    model.set_leaderless(TOPIC, 0, false);
    model.set_reachable(true);
    let since = tokio::time::Instant::now();
    assert_eq!(client.data().await, "0:0");
    assert!(since.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_thread_that_panics_is_restarted() {
    // Streams waited in vain for a thread that had ended, or repeated their requests without a pause.
    for call in CALLS {
        let model = kafka(2);
        fill(&model, 0, 20);
        fill(&model, 1, 20);
        // Readers of history have theirs from the start.
        let at_start = call == Call::Consumer;
        if at_start {
            model.panic_at(call);
        }
        let cluster = instance().watched().options(|options| options.memory_bytes(1024)).of(&model);
        let mut early = open(&cluster, after(&[20, 20])).await;
        // The log begins at its position: no history is read yet.
        model.wait_calls(Call::Fetch, 1);
        fill(&model, 0, 1);
        assert_eq!(early.data().await, "0:20");
        if !at_start {
            model.panic_at(call);
        }
        let mut late = open(&cluster, query()).await;
        assert_each_once(&late.events(41).await, &[values(0, 0..21), values(1, 0..20)]);
        eventually(|| !model.will_panic()).await;
        for client in [&mut early, &mut late] {
            assert!(client.is_idle(), "{call:?}");
        }
        fill(&model, 0, 20);
        fill(&model, 1, 20);
        for client in [&mut early, &mut late] {
            let events = client.events(40).await;
            assert_each_once(&events, &[values(0, 21..41), values(1, 20..40)]);
        }
        drop((cluster, early, late));
        model.wait_no_consumers();
    }
}

#[tokio::test]
async fn threads_end_with_the_last_stream() {
    let model = kafka(1);
    fill(&model, 0, 1);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    drop(cluster);
    assert_eq!(client.data().await, "0:0", "a stream keeps what it needs");
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:1");
    drop(client);
    model.wait_no_consumers();
}
