//! Records that are too large to be encoded with their chunk.

use super::*;

const MIB: usize = 1024 * 1024;

fn lines(mark: u8) -> Vec<u8> {
    [&[mark][..], &b"\n".repeat(MIB / 2), &vec![mark; MIB]].concat()
}

fn produce(model: &Model, key: Option<&str>, value: &[u8]) {
    let key = key.map(str::as_bytes);
    model.produce(TOPIC, 0, Message { key, value: Some(value), ..Message::default() });
}

/// The next event's data, of writes that are no larger than what was asked for and a little.
async fn large(client: &mut Client) -> Vec<u8> {
    loop {
        if let Some(Item::Message(message)) = client.parser.pull().unwrap() {
            return message.data.to_vec();
        }
        let write = client.write().await;
        assert!(write.len() <= client.limit + 1024, "{}", write.len());
    }
}

#[tokio::test]
async fn a_large_record_comes_in_parts_from_a_backfill_the_log_and_a_position_ahead_of_it() {
    let model = kafka(2);
    let first = lines(b'a');
    let second = lines(b'b');
    fill(&model, 1, 3);
    produce(&model, Some("k"), &first);
    fill_one(&model, 0, Some("k"), 0);
    let cluster = instance().of(&model);
    let mut past = open(&cluster, key("k")).await;
    assert!(large(&mut past).await == first);
    assert_eq!(past.data().await, "0:1");
    let mut all = open(&cluster, query()).await;
    let mut live = open(&cluster, after(&[2, 3])).await;
    assert!(live.is_idle());
    all.until(&["0:1", "1:2"]).await;
    produce(&model, Some("k"), &second);
    fill_one(&model, 0, Some("k"), 0);
    // One that is ahead of the log where it stands, from another instance.
    fill(&model, 1, 1);
    let mut ahead = open(&instance().seed(3).of(&model), after(&[2, 4])).await;
    for client in [&mut past, &mut all, &mut live, &mut ahead] {
        loop {
            let data = large(client).await;
            if data == second {
                break;
            }
            assert!(data.starts_with(b"1:"));
        }
        // The id of a large event is that of any.
        let id = client.last_event_id();
        let mut resumed = open(&cluster, key("k").last_event_id(id)).await;
        assert_eq!(resumed.data().await, "0:3");
        client.until(&["0:3"]).await;
    }
}

/// It was kept as long as its topic was open, whatever the share of it.
#[tokio::test]
async fn a_large_record_is_not_kept_where_there_is_no_room_for_it_and_every_stream_has_it() {
    let model = kafka(1);
    let cluster = instance().options(|options| options.memory_bytes(MIB)).of(&model);
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = open(&cluster, query()).await;
        assert!(client.is_idle());
        clients.push(client);
    }
    eventually(|| cluster.head(TOPIC).is_some()).await;
    for mark in [b'a', b'b'] {
        let value = lines(mark);
        produce(&model, None, &value);
        fill(&model, 0, 1);
        for client in &mut clients {
            assert!(large(client).await == value);
            client.data().await;
        }
        assert!(cluster.bytes(TOPIC) <= MIB, "{}", cluster.bytes(TOPIC));
        eventually(|| !cluster.is_read()).await;
        assert!(cluster.remaining_bytes() <= 1024, "{}", cluster.remaining_bytes());
    }
}

#[tokio::test]
async fn a_tombstone_with_a_large_key_comes_in_pieces() {
    let model = kafka(1);
    let key = "k".repeat(2 * MIB);
    let tombstone = Message { key: Some(key.as_bytes()), ..Message::default() };
    model.produce(TOPIC, 0, tombstone);
    fill(&model, 0, 1);
    let mut client = open(&instance().of(&model), query()).await;
    let expected =
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, key.as_bytes());
    assert!(large(&mut client).await == expected.as_bytes());
    assert_eq!(client.data().await, "0:1");
}
