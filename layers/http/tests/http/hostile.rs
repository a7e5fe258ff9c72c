//! HTTP/2 frames that no client sends, written by hand (RFC 9113, 4.1).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Server, connection, layer, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http:/` by the static table of HPACK (RFC 7541, appendix A).
const GET: &[u8] = &[0x82, 0x86, 0x84];
const ENHANCE_YOUR_CALM: u8 = 11;
const SECOND: Duration = Duration::from_secs(1);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn start() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The frames in these bytes, as kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push((head[3], payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// Sends these bytes to a server until it closes, and returns the error code of its GOAWAY.
async fn goaway_of(flood: Vec<u8>) -> Option<u8> {
    let server = Server::start(layer());
    let mut client = server.connect().await;
    let (mut reader, mut writer) = client.io.split();
    let mut read = Vec::new();
    // Both fail if the server closes before it has read everything.
    let _ = soon(async {
        tokio::join!(
            async { writer.write_all(&[start(), flood].concat()).await },
            reader.read_to_end(&mut read)
        )
    })
    .await;
    drop(client);
    assert_eq!(server.connections.counts().panicked, 0);
    server.end().await;
    let goaway = frames(&read).into_iter().rfind(|(kind, _)| *kind == GOAWAY)?;
    goaway.1.get(7).copied()
}

/// The same head on many streams, one after the other.
fn heads(block: &[u8], count: u32) -> impl Iterator<Item = (u32, Vec<u8>)> {
    let ids = (0..count).map(|number| number * 2 + 1);
    ids.map(move |id| (id, frame(HEADERS, END_STREAM | END_HEADERS, id, block)))
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let cancel = 8_u32.to_be_bytes();
    let flood = heads(GET, 10_000)
        .flat_map(|(id, head)| [head, frame(RST_STREAM, 0, id, &cancel)].concat())
        .collect();
    assert_eq!(goaway_of(flood).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn many_stream_errors_end_the_connection() {
    // `content-length: 1` of a request without a body (RFC 9113, 8.1.1), literal with an indexed name.
    let malformed = [GET, &[0x0f, 13, 1, b'1']].concat();
    let flood = heads(&malformed, 1000).flat_map(|(_, head)| head).collect();
    assert_eq!(goaway_of(flood).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    // A literal that continues in the next frame and never ends.
    let field = [&[0, 1, b'x', 0x7f, 0xff, 0xff, 0x7f][..], &[b'y'; 8 * 1024]].concat();
    for piece in [&b""[..], b"y", &[b'y'; 16 * 1024]] {
        let mut flood = frame(HEADERS, END_STREAM, 1, &[GET, &field].concat());
        for _ in 0..2000 {
            flood.extend(frame(CONTINUATION, 0, 1, piece));
        }
        assert!(goaway_of(flood).await.is_some_and(|code| code != 0), "{} bytes", piece.len());
    }
}

#[tokio::test]
async fn a_head_that_is_large_when_it_is_decompressed_ends_the_connection() {
    // A field of 4000 bytes is put into the dynamic table, and then referenced 10 000 times by one byte.
    let field = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let block = [GET, &field, &[0xbe; 10_000]].concat();
    let flood = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    assert_eq!(goaway_of(flood).await, Some(ENHANCE_YOUR_CALM));
}

/// The server reads no further from a client that does not take the answers, so that no memory fills.
#[tokio::test(start_paused = true)]
async fn floods_of_ping_and_settings_wait_for_their_answers() {
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])] {
        let (mut client, task) = connection(layer());
        client.write_all(&start()).await.unwrap();
        let mut taken = 0;
        let flooding = async {
            while client.write_all(&flood).await.is_ok() {
                taken += flood.len();
            }
        };
        assert!(timeout(10 * SECOND, flooding).await.is_err(), "{taken}");
        assert!(taken < 256 * 1024, "{taken}");
        assert!(!task.is_finished());
    }
}

async fn read_all(mut reader: impl AsyncRead + Unpin) {
    let mut piece = [0; 1024];
    while reader.read(&mut piece).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test(start_paused = true)]
async fn pings_are_no_requests() {
    let layer = || layer().first_request_timeout(10 * SECOND).idle_timeout(20 * SECOND);
    let get = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    // After one idle timeout GOAWAY is sent, and after another one the connection is dropped.
    for (requests, expected) in [(Vec::new(), 9..12), (get, 19..62)] {
        let (client, task) = connection(layer());
        let (reader, mut writer) = split(client);
        let reading = tokio::spawn(read_all(reader));
        let start_of_it = Instant::now();
        writer.write_all(&[start(), requests].concat()).await.unwrap();
        while writer.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_ok() {
            sleep(SECOND).await;
            assert!(start_of_it.elapsed() < 600 * SECOND, "it lasts for ever");
        }
        let _ = task.await.unwrap();
        reading.await.unwrap();
        let lasted = start_of_it.elapsed().as_secs();
        assert!(expected.contains(&lasted), "{lasted} s, expected {expected:?}");
    }
}
