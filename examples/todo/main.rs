//! How does an application keep its state in a compacted topic, with commands over HTTP and an event stream for reading?
//!
//! `cargo run --example todo`, then open the address that it prints, in several windows. The Kafka is one in this
//! process. With `--kafka HOST:9092` it is the one there. With `--guarded` each user has tasks of their own.
//! `docs/tutorial/todo.md` explains it step by step. Ctrl-C ends the streams within three seconds.
//!
//! - `commands.rs`: requests become commands in the topic `task-commands`
//! - `processor.rs`: commands become tasks in the topic `tasks`
//! - `tasks.rs`: what both topics hold, and what a command does to a task
//! - `view.rs`: what the service knows of both topics
//! - `kafka.rs`, `issuer.rs`: clients of Kafka, tokens
//! - `page`: the page, which reads the topic `tasks` as an event stream

mod commands;
mod issuer;
mod kafka;
mod processor;
mod tasks;
mod view;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get, get_service};
use bytes::Bytes;
use clap::Parser;
use http::Extensions;
use serde_json::json;
use tailwater::http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve};
use tailwater::jwt::{Credentials, JwtLayer, Session};
use tailwater::kafka::embedded::EmbeddedKafka;
use tailwater::kafka::{
    Cluster, ClusterOptions, DefaultOffset, EventIdFormat, FilterTemplate, KafkaSourceLayer,
    Mapping, StreamOptions, Template, Variable,
};
use tailwater::session_lease;
use tailwater::sse::SseLayer;
use tower::{Layer as _, ServiceBuilder};
use tower_http::services::ServeDir;

use crate::commands::Service;
use crate::issuer::{GUARD, Issuer};
use crate::kafka::Producer;
use crate::tasks::{COMMANDS, TASKS};

const DRAIN: Duration = Duration::from_secs(3);

#[derive(Parser)]
struct Arguments {
    /// Where to listen
    #[arg(default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// A Kafka, in place of the one in this process
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Where `tailwater start -c examples/todo/zilla.yaml` streams the tasks, in place of this process
    #[arg(long, value_name = "URL", conflicts_with = "guarded")]
    streams: Option<String>,
    /// Gives each user tasks of their own
    #[arg(long)]
    guarded: bool,
    /// For how many seconds a token is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    token_life: u64,
}

/// The topic of the tasks as event streams: of all tasks, or of those that the user of the token owns.
fn streams(
    servers: &str,
    guarded: bool,
    shutdown: &Shutdown,
) -> Result<MethodRouter<Service>, Box<dyn Error>> {
    // The page tells by key and etag what each event is about.
    let options = StreamOptions::new().event_id_format(EventIdFormat::KeyAndEtag);
    let mut mapping = Mapping::new(Template::literal(TASKS)).options(options);
    let mut sse = SseLayer::new().drain(&tailwater::drain(shutdown));
    if guarded {
        let owner = format!("${{guarded['{GUARD}'].identity}}").parse()?;
        mapping = mapping.filter(FilterTemplate::any().header("owner", owner));
        // A stream ends with its token, unless the page has answered the challenge.
        sse = sse.lease(session_lease(|_| true));
    }
    let cluster = ClusterOptions::new([servers]).default_offset(TASKS, DefaultOffset::Historical);
    let service = ServiceBuilder::new()
        .layer(sse)
        .layer(KafkaSourceLayer::new(mapping).variables(identity))
        .service(Cluster::new(cluster)?);
    Ok(get_service(service))
}

/// The values of the variables in the filter.
fn identity(variable: &Variable, extensions: &Extensions) -> Option<Bytes> {
    let session = extensions.get::<Session>()?;
    match variable {
        Variable::Identity { .. } => session.token().identity().map(|name| name.to_owned().into()),
        _ => None,
    }
}

/// The page, the modules of the browser client, and what the page has to know.
fn pages(streams: &str, guarded: bool) -> Router {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = json!({ "streams": streams, "guarded": guarded }).to_string();
    Router::new()
        .route("/config.json", get(move || std::future::ready(config.clone())))
        .nest_service("/tailwater-client", ServeDir::new(root.join("clients/browser/src")))
        .fallback_service(ServeDir::new(root.join("examples/todo/page")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { address, kafka, streams: elsewhere, guarded, token_life } = Arguments::parse();
    // The Kafka in this process has no configuration of topics, which is worth no warning.
    let filter = "warn,tailwater_kafka::broker::configuration=error";
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    raise_open_files()?;

    let (servers, embedded) = match kafka {
        Some(servers) => {
            kafka::create_topics(&servers).await?;
            (servers, None)
        }
        None => {
            let kafka = EmbeddedKafka::start()?;
            kafka.create_topic(TASKS, 1)?;
            kafka.create_topic(COMMANDS, 1)?;
            (kafka.servers(), Some(kafka))
        }
    };

    eprintln!("Kafka: {servers}");

    let shutdown = Shutdown::new();
    let stream = match &elsewhere {
        Some(_) => MethodRouter::new(),
        None => streams(&servers, guarded, &shutdown)?,
    };
    let service = Service { producer: Producer::new(&servers)?, view: view::follow(&servers) };
    let mut tasks = commands::router(service, stream);
    let mut router = pages(elsewhere.as_deref().unwrap_or("/tasks"), guarded);
    if guarded {
        let issuer = Issuer::new(Duration::from_secs(token_life))?;
        // It also answers the responses to challenges, which go to the path of the stream.
        tasks = tasks.layer(JwtLayer::new(issuer.guard()?, Credentials::bearer()));
        router = router.merge(issuer.router());
    }
    let service = HttpLayer::new().shutdown(shutdown.clone()).layer(router.merge(tasks));

    let stop = Arc::new(AtomicBool::new(false));
    let processor = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || processor::run(&servers, &stop))
    };
    let listener = ListenOptions::new().bind(address)?;
    eprintln!("http://{}/", listener.local_address()?);
    let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));

    tokio::signal::ctrl_c().await?;
    stop.store(true, Ordering::Relaxed);
    // The streams end one by one. Connections that are open after this time are dropped.
    shutdown.begin(DRAIN);
    server.await?;
    // The processor leaves its group, so that another one takes over at once. Without Kafka it can't.
    let leaves = async {
        while !processor.is_finished() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN, leaves).await;
    drop(embedded);
    Ok(())
}
