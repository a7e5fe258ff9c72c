//! Properties of any events, wherever a connection is lost.

mod support;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use support::{STREAM, header, server_with_pipe};
use tailwater_client::EventSource;
use tailwater_sse::{EventRef, Item, Message, Parser, encode_comment, encode_event};

/// Bytes, most of which have a meaning in the grammar.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(&b"\r\n\0 :\xEF\xBB\xBF"[..]),
        3 => prop::sample::select(&b"dateivn"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..16)
}

/// An event without its id, and comments before it.
fn event() -> impl Strategy<Value = (Option<Vec<u8>>, Vec<u8>, Option<Vec<u8>>)> {
    (option::of(field()), field(), option::of(field()))
}

/// The events that a parser reads in one go.
fn messages(stream: &[u8]) -> Vec<Message> {
    let mut parser = Parser::new();
    parser.push(stream);
    std::iter::from_fn(|| parser.pull().expect("within the limits"))
        .filter_map(|item| match item {
            Item::Message(message) => Some(message),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_event_comes_once_wherever_connections_are_lost(
        events in vec(event(), 0..12),
        // The place where each connection but the last is lost, in hundredths of its body, and whether it
        // ends cleanly.
        cuts in vec((0..=100_usize, any::<bool>()), 0..8),
        pipe_bytes in prop_oneof![Just(1_usize), Just(5), Just(4096)],
        bom in any::<bool>(),
    ) {
        let blocks: Vec<Vec<u8>> = events
            .iter()
            .enumerate()
            .map(|(at, (event, data, comment))| {
                let mut out = Vec::new();
                if let Some(comment) = comment {
                    encode_comment(comment, &mut out);
                }
                let id = at.to_string();
                let event = EventRef {
                    event: event.as_deref(),
                    data: Some(data),
                    id: Some(id.as_bytes()),
                    timestamp: None,
                };
                encode_event(event, &mut out);
                out
            })
            .collect();
        let expected = messages(&blocks.concat());
        prop_assert_eq!(expected.len(), events.len());

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (connector, mut server) = server_with_pipe(pipe_bytes);
        let uri = "http://events.test/".parse().unwrap();
        let mut source = EventSource::builder(uri).connector(connector).build().unwrap();

        let serve = async {
            for (cut, clean) in cuts.iter().copied().chain([(100, true)]) {
                let mut peer = server.request().await;
                let seen = header(&peer.request, "last-event-id").map(|id| id.parse::<usize>().unwrap());
                let mut body = if bom { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
                body.extend(blocks.get(seen.map_or(0, |seen| seen + 1)..).unwrap().concat());
                body.truncate(body.len() * cut / 100);
                // A clean end, or one in the middle of a body with a length.
                let head = if clean { STREAM.to_owned() } else {
                    STREAM.replace("\r\n\r\n", "\r\ncontent-length: 1000000\r\n\r\n")
                };
                peer.send(head).await;
                peer.send(body).await;
            }
            server.stop().await;
        };
        let follow = async {
            let mut got = Vec::new();
            while let Some(event) = source.next().await {
                got.push(event.unwrap());
            }
            got
        };
        let (got, ()) = runtime.block_on(async { tokio::join!(follow, serve) });
        prop_assert_eq!(got, expected);
    }
}
