//! The end of the process.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{LOOK, Record, Server, Version, kafka, server, soon};

async fn ends_cleanly_on(signal: Signal) {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = server(&kafka).retry(1000).arguments(&["--drain", "6"]).run().await;
    let mut streams = Vec::new();
    for number in 0..20 {
        let get = server.get(&format!("/all/{topic}")).over(Version::BOTH[number % 2]);
        let mut stream = get.open().await;
        assert!((800..=1200).contains(&stream.retry().await));
        streams.push(stream);
    }
    kafka.produce_values(&topic, (0..100).map(|number| format!("{number}\n{number}")));
    let received = Instant::now();
    server.process().signal(signal);
    refused(&server).await;
    assert!(server.process().is_running(), "refused while streams go on");
    for stream in &mut streams {
        let (blocks, clean, left) = stream.end().await;
        assert!(clean, "the last chunk, or END_STREAM");
        assert_eq!(left.escape_ascii().to_string(), "", "it ends at an event's end");
        assert!(blocks.iter().all(|block| block.starts_with(b"data:")), "{blocks:?}");
        // At least as late as the configuration says, and spread over what is left of the window.
        let retry = stream.retry().await;
        assert!((800..=1200 + 6000).contains(&retry), "{retry}");
    }
    let status = server.process().ended().await;
    assert_eq!(status.code(), Some(0));
    // What the window is, and some time for a loaded machine.
    assert!(received.elapsed() < Duration::from_secs(6 + 10), "{:?}", received.elapsed());
}

/// Waits until connections are refused.
async fn refused(server: &Server) {
    let refused = async {
        while TcpStream::connect(server.address()).await.is_ok() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("connections are refused", refused).await;
}

#[tokio::test]
async fn sigterm_ends_streams_at_the_end_of_an_event() {
    ends_cleanly_on(Signal::TERM).await;
}

#[tokio::test]
async fn sigint_ends_streams_at_the_end_of_an_event() {
    ends_cleanly_on(Signal::INT).await;
}

#[tokio::test]
async fn a_server_without_streams_ends_at_once() {
    let kafka = kafka().await;
    let mut server = server(&kafka).arguments(&["--drain", "3600"]).run().await;
    server.get("/nothing").send().await;
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = server(&kafka).arguments(&["--drain", "3600"]).run().await;
    let mut streams = Vec::new();
    for version in Version::BOTH {
        streams.push(server.get(&format!("/all/{topic}")).over(version).open().await);
    }
    server.process().signal(Signal::TERM);
    // Within a second it is the same command, twice.
    server.stderr().says("received a signal to stop").await;
    let received = Instant::now();
    tokio::time::sleep_until(received + Duration::from_millis(1100)).await;
    server.process().signal(Signal::INT);
    server.stderr().says("received a second signal").await;
    assert_eq!(server.process().ended().await.code(), Some(0));
}

/// `timeout` of coreutils signals the process, and then its group.
#[tokio::test]
async fn two_signals_at_once_are_one() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server =
        server(&kafka).arguments(&["--drain", "2", "--log-level", "debug"]).run().await;
    let mut streams = Vec::new();
    for version in Version::BOTH {
        streams.push(server.get(&format!("/all/{topic}")).over(version).open().await);
    }
    server.process().signal(Signal::TERM);
    server.stderr().says("received a signal to stop").await;
    server.process().signal(Signal::TERM);
    for stream in &mut streams {
        let (_, clean, _) = stream.end().await;
        assert!(clean, "not dropped");
    }
    assert_eq!(server.process().ended().await.code(), Some(0));
    assert!(!server.stderr().all().await.contains("dropping open connections"));
}

/// SIGHUP ended the process without a drain: whoever rotates logs sends it, and a terminal that is closed.
#[tokio::test]
async fn signals_that_ask_for_nothing_end_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server =
        server(&kafka).arguments(&["--drain", "2", "--log-level", "debug"]).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    for (signal, said) in [
        (Signal::HUP, "nothing has changed"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, ""),
    ] {
        server.process().signal(signal);
        server.stderr().says(said).await;
        kafka.produce(&topic, Record::value("on"));
        assert!(stream.next().await.starts_with("data:on\n"), "{signal:?}");
    }
    server.process().signal(Signal::TERM);
    server.stderr().says("received a signal to stop").await;
    server.process().signal(Signal::HUP);
    server.process().signal(Signal::USR1);
    let (_, clean, _) = stream.end().await;
    assert!(clean, "while it drains, either");
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_outlast_the_drain() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let value = "x".repeat(500_000);
    for _ in 0..40 {
        kafka.produce(&topic, Record::value(&value));
    }
    let mut server = server(&kafka).arguments(&["--drain", "1"]).run().await;
    let mut socket = TcpStream::connect(server.address()).await.expect("a connection");
    let request = format!("GET /all/{topic} HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("it is written");
    socket.read_u8().await.expect("an answer");
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
}
