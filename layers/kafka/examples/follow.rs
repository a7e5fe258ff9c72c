//! How does a program follow a topic, and go on where it was?
//!
//! `cargo run -p tailwater-kafka --features embedded --example follow` shows it on a Kafka in this
//! process; with `-- localhost:9092 orders` it follows a topic of a real one until Ctrl-C.
#![expect(clippy::print_stdout, reason = "the terminal is its client")]

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tailwater_kafka::embedded::{EmbeddedKafka, Message};
use tailwater_kafka::{Cluster, ClusterOptions, Filter, Query, Stream};
use tailwater_sse::{BoxError, Events as _};
use tower::ServiceExt as _;

/// The next events as they stand on the wire, 64 KiB at the most.
async fn next(stream: &mut Pin<Box<Stream>>) -> Result<Bytes, BoxError> {
    let events = poll_fn(|cx| stream.as_mut().poll_events(cx, 64 * 1024)).await;
    events.ok_or("the stream ended")?.map(tailwater_sse::Encoded::into_bytes)
}

async fn follow(servers: &str, topic: &str) -> Result<(), BoxError> {
    let cluster = Cluster::new(ClusterOptions::new([servers]))?;
    let mut stream = Box::pin(cluster.oneshot(Query::new(topic)).await?);
    loop {
        std::io::stdout().write_all(&next(&mut stream).await?)?;
    }
}

async fn show() -> Result<(), BoxError> {
    let kafka = EmbeddedKafka::start()?;
    kafka.create_topic("quotes", 1)?;
    for value in ["1.0873", "1.0875", "1.0871"] {
        kafka.produce(&Message::new("quotes").key(b"EURUSD").value(value.as_bytes()))?;
        kafka.produce(&Message::new("quotes").key(b"GBPUSD").value(b"1.2710"))?;
    }
    let cluster = Cluster::new(ClusterOptions::new([kafka.servers()]))?;
    let query = || Query::new("quotes").filter(Filter::any().key("EURUSD"));

    println!("All quotes of EURUSD:\n");
    let mut stream = Box::pin(cluster.clone().oneshot(query()).await?);
    let mut events = next(&mut stream).await?.to_vec();
    while events.windows(2).filter(|end| end == b"\n\n").count() < 3 {
        events.extend_from_slice(&next(&mut stream).await?);
    }
    print!("{}", String::from_utf8_lossy(&events));
    drop(stream);

    println!("Those after the first one, whose id is AQIAAg==:\n");
    let resumed = query().last_event_id(Some(Bytes::from_static(b"AQIAAg==")));
    let mut stream = Box::pin(cluster.clone().oneshot(resumed).await?);
    print!("{}", String::from_utf8_lossy(&next(&mut stream).await?));
    drop(stream);
    // The process exits next, and threads of the cluster must not run by then.
    cluster.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(servers), Some(topic)) => follow(&servers, &topic).await,
        (None, _) => tokio::time::timeout(Duration::from_secs(30), show()).await?,
        (Some(_), None) => Err("give a server and a topic, or neither".into()),
    }
}
