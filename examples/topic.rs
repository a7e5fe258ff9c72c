//! How does a server of one's own show a Kafka topic to browsers?
//!
//! `cargo run --example topic`, then `curl -N http://127.0.0.1:8080/quotes/EURUSD`; Ctrl-C ends the
//! streams within three seconds. The Kafka is one in this process. With `-- 127.0.0.1:8080 HOST:9092`
//! it is the one there, and has to have a topic `quotes`.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use std::{error::Error, thread};

use bytes::Bytes;
use http::Extensions;
use tailwater::http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve};
use tailwater::kafka::embedded::{EmbeddedKafka, Message, Producer};
use tailwater::kafka::{
    Cluster, ClusterOptions, DefaultOffset, FilterTemplate, KafkaSourceLayer, Mapping, Template,
    Variable,
};
use tailwater::route::{Matched, Pattern, RouteLayer, Routes};
use tailwater::sse::SseLayer;
use tower::ServiceBuilder;

const DRAIN: Duration = Duration::from_secs(3);

/// The values of the variables in the route's templates: the parameters that its path captured.
fn parameter(variable: &Variable, extensions: &Extensions) -> Option<Bytes> {
    match variable {
        Variable::Parameter(name) => {
            extensions.get::<Matched>()?.parameter(name).map(Bytes::copy_from_slice)
        }
        _ => None,
    }
}

/// A quote every half second, until the sender of `stop` is dropped.
fn tick(kafka: &Producer, stop: &Receiver<()>) {
    for (count, symbol) in (0..).zip(["EURUSD", "GBPUSD"].iter().cycle()) {
        let value = format!(r#"{{"symbol":"{symbol}","count":{count}}}"#);
        let message = Message::new("quotes").key(symbol.as_bytes()).value(value.as_bytes());
        if let Err(error) = kafka.produce(&message) {
            eprintln!("a quote is lost: {error}");
        }
        if stop.recv_timeout(Duration::from_millis(500)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let (ticking, stop) = channel();
    let (servers, _embedded) = match arguments.next() {
        Some(servers) => (servers, None),
        None => {
            let kafka = EmbeddedKafka::start()?;
            kafka.create_topic("quotes", 1)?;
            let producer = kafka.producer();
            let ticker = thread::spawn(move || tick(&producer, &stop));
            (kafka.servers(), Some((kafka, ticker)))
        }
    };
    raise_open_files()?;

    let routes = Routes::new().route([Pattern::new("/quotes/{symbol}")?], ());
    let mapping = Mapping::new(Template::literal("quotes"))
        .filter(FilterTemplate::any().key("${params.symbol}".parse()?));
    let cluster = ClusterOptions::new([servers]).default_offset("quotes", DefaultOffset::Live);
    let shutdown = Shutdown::new();
    let service = ServiceBuilder::new()
        // Deadlines for clients that say nothing or take nothing are here, and those of `serve`.
        .layer(HttpLayer::new().shutdown(shutdown.clone()))
        .layer(RouteLayer::new(routes))
        .layer(SseLayer::new().drain(&tailwater::drain(&shutdown)))
        .layer(KafkaSourceLayer::new(mapping).variables(parameter))
        .service(Cluster::new(cluster)?);

    let listener = ListenOptions::new().bind(address)?;
    eprintln!("curl -N http://{}/quotes/EURUSD", listener.local_address()?);
    let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));

    tokio::signal::ctrl_c().await?;
    drop(ticking);
    // The streams end one by one. Connections that are open after this time are dropped.
    shutdown.begin(DRAIN);
    server.await?;
    Ok(())
}
