use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tailwater_hub::Hub;
use tokio::sync::watch;

use crate::positions::Positions;
use crate::records::Records;

/// A topic that somebody asked for, whether Kafka has it or not.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) streams: AtomicUsize,
    /// How many partitions the topic is known to have.
    pub(crate) partitions: AtomicUsize,
    /// How often it was gone.
    pub(crate) epoch: AtomicU64,
    /// Held whether it has streams or not.
    pub(crate) kept: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Kafka has not been asked yet, or does not answer.
    Unknown,
    /// Kafka does not have it.
    Missing,
    Open(Arc<Opened>),
}

/// The live log of a topic. It ends when something happens that a log can't show: offsets that went
/// back, a position that is gone. Streams then look for their place anew.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) hub: Hub<Records>,
    /// Differs between a topic and another one of the same name that was created later.
    pub(crate) epoch: u64,
    /// Where the topic began when its log was opened.
    pub(crate) origin: Positions,
    pub(crate) tombstone_retention: OnceLock<Option<Duration>>,
}

impl Topic {
    pub(crate) fn new(name: Arc<str>, kept: bool) -> Self {
        let state = watch::Sender::new(State::Unknown);
        let (streams, partitions) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { name, state, streams, partitions, epoch: AtomicU64::new(0), kept }
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(*self.state.borrow(), State::Missing)
    }

    pub(crate) fn is_used(&self) -> bool {
        self.kept || self.streams.load(Ordering::Acquire) > 0
    }

    pub(crate) fn opened(&self) -> Option<Arc<Opened>> {
        match &*self.state.borrow() {
            State::Open(opened) => Some(Arc::clone(opened)),
            State::Unknown | State::Missing => None,
        }
    }

    /// Waits for the topic's log; the flag says whether the topic was missing meanwhile.
    pub(crate) async fn wait_opened(&self) -> (Arc<Opened>, bool) {
        let mut state = self.state.subscribe();
        let mut missing = false;
        loop {
            match &*state.borrow_and_update() {
                State::Open(opened) if !opened.hub.is_closed() => {
                    return (Arc::clone(opened), missing);
                }
                State::Missing => missing = true,
                State::Open(_) | State::Unknown => {}
            }
            state.changed().await.expect("the sender is in `self`");
        }
    }
}
