//! The simplest server: axum's `Sse` over `tokio::sync::broadcast`, fed by a consumer of the topic. The id of an event
//! is its offset. Connections are served by hyper-util's server for HTTP/1.1 and HTTP/2, as `axum::serve` does, and
//! over TLS by tokio-rustls.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::cli::AxumOptions;
use crate::tls;

#[derive(Debug)]
struct Record {
    offset: String,
    value: String,
}

type Records = broadcast::Sender<Arc<Record>>;

pub(crate) fn serve(options: &AxumOptions) -> Result<()> {
    super::end_with_parent();
    let (records, _) = broadcast::channel(options.capacity);
    let consumer = consumer(options)?;
    let sender = records.clone();
    thread::spawn(move || {
        if let Err(error) = consume(&consumer, &sender) {
            eprintln!("axum: {error}");
            std::process::exit(1);
        }
    });
    let store = options.store.as_ref();
    let tls = store.map(|store| tls::server(store, &["h2", "http/1.1"])).transpose()?;
    Runtime::new()?.block_on(async {
        let app = Router::new().route("/events", get(events)).with_state(records);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            // As in tailwater, a small event must not wait for the acknowledgement of the event before.
            socket.set_nodelay(true)?;
            let app = app.clone();
            match tls.clone() {
                None => drop(tokio::spawn(serve_connection(socket, app))),
                Some(tls) => drop(tokio::spawn(async move {
                    // The check whether this server listens performs no handshake.
                    if let Ok(socket) = TlsAcceptor::from(tls).accept(socket).await {
                        serve_connection(socket, app).await;
                    }
                })),
            }
        }
    })
}

async fn serve_connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
) {
    let service = TowerToHyperService::new(app);
    // Clients notice an error.
    let _ =
        Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

async fn events(
    State(records): State<Records>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold(records.subscribe(), |mut records| async move {
        // A client that lagged has lost events. Its stream ends, and the run fails.
        let record = records.recv().await.ok()?;
        Some((Ok(Event::default().data(&record.value).id(&record.offset)), records))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn consumer(options: &AxumOptions) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.kafka)
        .set("group.id", "tailwater-load")
        .set("enable.auto.commit", "false")
        // tailwater sets the same options, so that latency is comparable.
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&options.topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn consume(consumer: &BaseConsumer, records: &Records) -> Result<()> {
    loop {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        // It fails while there is no receiver.
        let _ = records.send(Arc::new(Record { offset: message.offset().to_string(), value }));
    }
}
