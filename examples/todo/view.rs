//! What the service knows of tasks and commands. It follows both topics, so it is a moment behind the processor.

use std::thread;
use std::time::Duration;

use rdkafka::Offset;
use tokio::sync::watch;
use tracing::warn;

use crate::kafka::Reader;
use crate::tasks::{COMMANDS, REMEMBERED, State, TASKS};

/// The state, and how many of the topics were read to their end.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) state: State,
    at_end: usize,
}

impl View {
    /// Whether all is there that was in Kafka when the service started.
    pub(crate) fn is_complete(&self) -> bool {
        self.at_end == 2
    }
}

/// A view that follows Kafka until its last receiver is dropped.
pub(crate) fn follow(servers: &str) -> watch::Receiver<View> {
    let (sender, view) = watch::channel(View::default());
    let remembered = i64::try_from(REMEMBERED).unwrap_or(i64::MAX);
    for (topic, from) in [(TASKS, Offset::Beginning), (COMMANDS, Offset::OffsetTail(remembered))] {
        let (sender, servers) = (sender.clone(), servers.to_owned());
        thread::spawn(move || read(&servers, topic, from, &sender));
    }
    view
}

fn read(servers: &str, topic: &str, from: Offset, view: &watch::Sender<View>) {
    let mut reader = loop {
        match Reader::new(servers, topic, from) {
            Ok(reader) => break reader,
            Err(error) => warn!(%error, topic, "a topic can't be opened, trying again"),
        }
        if view.is_closed() {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    };
    let mut is_at_end = false;
    while !view.is_closed() {
        if let Some(record) = reader.poll() {
            view.send_modify(|view| view.state.read(&record));
        }
        if reader.is_at_end() && !is_at_end {
            is_at_end = true;
            view.send_modify(|view| view.at_end += 1);
        }
    }
}
