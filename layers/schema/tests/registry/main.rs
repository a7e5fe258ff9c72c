//! Registries over sockets.

mod apicurio;
mod hostile;
mod models;
mod requests;
mod stub;
mod tls;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tailwater_schema::catalog::registry::{Confluent, Protocol, Registry, RegistryOptions};
use tailwater_schema::catalog::{Catalog, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};

fn options(url: &str, protocol: impl Into<Protocol>) -> RegistryOptions {
    let url = url.parse().expect("a url");
    RegistryOptions::new(url, protocol).runtime(Handle::current())
}

fn confluent(url: &str) -> Registry {
    Registry::new(options(url, Confluent::new())).expect("a registry")
}

fn id(id: u32) -> SchemaRef {
    SchemaRef::Id(SchemaId::Confluent(id))
}

/// Looks up until there is a result. `None` if the schema is missing.
async fn result(registry: &Registry, schema: &SchemaRef) -> Option<Arc<SchemaText>> {
    let looking = async {
        loop {
            match registry.look_up(schema, SchemaKind::Avro) {
                Lookup::Known(found) => return Some(found),
                Lookup::Missing => return None,
                Lookup::Pending(waiter) => waiter.await,
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(Duration::from_secs(60), looking).await.expect("a result within a minute")
}

async fn text(registry: &Registry, schema: &SchemaRef) -> String {
    result(registry, schema).await.expect("a schema").text().to_owned()
}

/// What this thread logs, at all levels.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, (DefaultGuard, Dispatch)) {
        // tracing caches whether a line of code is enabled. With a single subscriber, a line that another
        // test's thread reaches first would be disabled for all threads.
        let another = Dispatch::new(NoSubscriber::new());
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, (set_default(subscriber), another))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
