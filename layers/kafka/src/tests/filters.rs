//! The records that a filter selects, by the index and by a check of each record.

use super::*;

fn tagged<'a>(
    key: &'a str,
    value: &'a str,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
) -> Message<'a> {
    Message { headers, ..keyed(key, value) }
}

/// Records with two keys and three venues, partly before the log begins and partly after.
async fn check(cluster: Cluster, model: Model, filters: &[Filter], expected: &[&str]) {
    let produce = |round: usize| {
        for (at, (key, venue)) in
            [("a", "X"), ("b", "X"), ("a", "Y"), ("b", "Y"), ("a", "Z")].into_iter().enumerate()
        {
            let value = format!("{round}{key}{venue}");
            let headers =
                [("venue", None), ("other", Some(&b"X"[..])), ("venue", Some(venue.as_bytes()))];
            model.produce(TOPIC, (at % 2) as i32, tagged(key, &value, &headers));
        }
    };
    let finish = || {
        for partition in 0..2 {
            let headers = [("venue", Some(&b"X"[..])), ("venue", Some(b"Y")), ("end", Some(b""))];
            let value = format!("end {partition}");
            for key in ["a", "b"] {
                model.produce(TOPIC, partition, tagged(key, &value, &headers));
            }
        }
    };
    produce(0);
    let query = filters.iter().cloned().fold(query(), Query::filter);
    let mut client = open(&cluster, query).await;
    let mut warm = open(&cluster, super::query()).await;
    warm.events(5).await;
    produce(1);
    finish();
    let mut events = client.until(&["end 0", "end 1"]).await;
    events.retain(|event| !event.starts_with("end"));
    events.sort();
    assert_eq!(events, expected, "{filters:?}");
}

#[tokio::test]
async fn a_key_a_header_or_several_filters_select_their_records() {
    let any = Filter::any;
    let rows: [(&[Filter], &[&str]); 5] = [
        (&[any().key("a")], &["0aX", "0aY", "0aZ", "1aX", "1aY", "1aZ"]),
        (&[any().header("venue", "X")], &["0aX", "0bX", "1aX", "1bX"]),
        (&[any().key("b").header("venue", "Y")], &["0bY", "1bY"]),
        (
            &[any().key("a").header("venue", "X"), any().key("b").header("venue", "Y")],
            &["0aX", "0bY", "1aX", "1bY"],
        ),
        (
            &[any().key("b"), any().header("venue", "X")],
            &["0aX", "0bX", "0bY", "1aX", "1bX", "1bY"],
        ),
    ];
    for (filters, expected) in rows {
        for indexed in [false, true] {
            let change = |options: ClusterOptions| match indexed {
                true => options.index_header("venue"),
                false => options,
            };
            let model = kafka(2);
            let cluster = instance().options(change).of(&model);
            check(cluster, model, filters, expected).await;
        }
    }
}

#[tokio::test]
async fn two_keys_with_the_same_hash_are_told_apart() {
    for history in [true, false] {
        let model = kafka(1);
        let cluster = instance().index(Index::colliding([])).of(&model);
        let produce = || {
            for value in ["1", "2", "3"] {
                for key in ["mine", "yours"] {
                    model.produce(TOPIC, 0, keyed(key, &format!("{key} {value}")));
                }
            }
        };
        if history {
            produce();
        }
        let mut mine = open(&cluster, key("mine")).await;
        let mut yours = open(&cluster, key("yours")).await;
        if !history {
            produce();
        }
        assert_eq!(mine.events(3).await, ["mine 1", "mine 2", "mine 3"]);
        assert_eq!(yours.events(3).await, ["yours 1", "yours 2", "yours 3"]);
        let other = "others' records";
        model.produce(TOPIC, 0, keyed("other", other));
        model.produce(TOPIC, 0, keyed("mine", "mine 4"));
        assert_eq!(mine.data().await, "mine 4");
        assert!(yours.is_idle(), "only the other keys came");
    }
}

#[tokio::test]
async fn a_filtered_stream_that_matched_nothing_resumes_at_its_last_id() {
    for live in [false, true] {
        let model = kafka(2);
        for partition in 0..2 {
            for _ in 0..10 {
                fill_one(&model, partition, Some("other"), 0);
            }
        }
        let start = instance();
        let cluster = if live { start.live() } else { start }.of(&model);
        let mut client = open(&cluster, key("mine")).await;
        let mut all = open(&cluster, after(&[0, 0])).await;
        all.until(&["0:9", "1:9"]).await;
        if live {
            assert_eq!(client.item().await, Item::Id(id_of(&[10, 10]).into()));
        }
        for _ in 0..10 {
            fill_one(&model, 0, Some("other"), 0);
        }
        all.until(&["0:19"]).await;
        // The stream may not be in the live log yet: it gets the id of each position that it passes.
        let at_end = format!("id:{}\n\n", id_of(&[20, 10]));
        let mut told = None;
        eventually(|| {
            assert!(client.is_idle());
            told = client.idle().or(told.take());
            told.as_ref() == Some(&at_end)
        })
        .await;
        assert_eq!(client.idle(), None, "a place is told once");

        let served = model.served_history();
        fill_one(&model, 1, Some("mine"), 0);
        let mut resumed = client.resume(&cluster, key("mine")).await;
        assert_eq!(resumed.data().await, "1:10");
        assert_eq!(model.served_history(), served, "nothing is read again");
    }
}

#[tokio::test]
async fn a_large_log_is_looked_through_once_for_all_filters() {
    let model = kafka(1);
    let cluster = instance().batch(100).of(&model);
    let mut all = open(&cluster, query()).await;
    all.limit = usize::MAX;
    assert!(all.is_idle());
    // Records from before the log was opened are not in it.
    eventually(|| cluster.head(TOPIC).is_some()).await;
    for number in 0..500 {
        fill_one(&model, 0, Some(if number % 100 == 7 { "seven" } else { "other" }), 10_000);
    }
    all.until(&["0:499"]).await;
    assert!(cluster.bytes(TOPIC) > 4 * 1024 * 1024);
    let mut filtered = Vec::new();
    for _ in 0..3 {
        filtered.push(open(&cluster, key("seven")).await);
    }
    for client in &mut filtered {
        assert_eq!(client.events(5).await, values(0, [7, 107, 207, 307, 407]));
    }
    fill_one(&model, 0, Some("seven"), 0);
    for client in &mut filtered {
        assert_eq!(client.data().await, "0:500");
    }
}
