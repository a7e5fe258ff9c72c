//! The state of a topic that streams and threads share. It starts no thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::data::gap::Truncation;
use crate::data::positions::Positions;
use crate::topic::conversion::Converter;
use crate::topic::health::TopicHealth;
use crate::topic::losses::Losses;

pub(crate) mod conversion;
pub(crate) mod counts;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod inspection;
mod log;
pub(crate) mod losses;
pub(crate) mod registry;
pub(crate) mod requests;
pub(crate) mod retired;
pub(crate) mod share;
pub(crate) mod snapshot;
pub(crate) mod streams;
pub(crate) mod table;
pub(crate) mod totals;

pub(crate) use log::TopicLog;

/// A topic that a request or the configuration names, whether it exists or not.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) streams: AtomicUsize,
    /// How many partitions the topic is known to have.
    pub(crate) partitions: AtomicUsize,
    truncations: Mutex<Truncations>,
    /// The configuration names it: topics of requests take no room from it.
    pub(crate) named: bool,
    /// It is read whether it has streams or not.
    pub(crate) pinned: bool,
    health: Mutex<TopicHealth>,
    /// The ends that Kafka reported last, while the log is open.
    ends: Mutex<Option<Positions>>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) converter: Option<Arc<Converter>>,
}

/// The most truncations that are kept. Older ones are merged, so a stream that missed more gets the lowest end.
const MAX_TRUNCATIONS: usize = 16;

#[derive(Debug, Default)]
struct Truncations {
    epoch: u64,
    /// The last truncation ended the epoch before this one.
    last: VecDeque<Truncation>,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Kafka has not been asked for the topic yet, or does not answer.
    Unknown,
    /// The topic does not exist.
    Missing,
    /// Kafka does not permit to describe or to read the topic.
    Forbidden,
    /// There is no room for the topic. It is not held any more.
    NoRoom,
    /// The topic exists, and its log is not open.
    Found,
    Open(Arc<TopicLog>),
}

/// Why the streams of a topic are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Forbidden,
    NoRoom,
}

impl State {
    pub(crate) fn refused(&self) -> Option<Refused> {
        match self {
            Self::Forbidden => Some(Refused::Forbidden),
            Self::NoRoom => Some(Refused::NoRoom),
            Self::Unknown | Self::Missing | Self::Found | Self::Open(_) => None,
        }
    }
}

impl Topic {
    /// A topic that a request names.
    pub(crate) fn new(name: Arc<str>) -> Self {
        let state = watch::Sender::new(State::Unknown);
        let streams = AtomicUsize::new(0);
        let partitions = AtomicUsize::new(0);
        let health = Mutex::new(TopicHealth::new(Arc::clone(&name)));
        let ends = Mutex::default();
        let truncations = Mutex::default();
        let losses = Arc::default();
        let named = false;
        let pinned = false;
        let converter = None;
        Self {
            name,
            state,
            streams,
            partitions,
            truncations,
            named,
            pinned,
            health,
            ends,
            losses,
            converter,
        }
    }

    /// Of the cluster that has this name in the log.
    pub(crate) fn of_cluster(self, name: &Arc<str>) -> Self {
        Self { losses: Arc::new(Losses::new(Arc::clone(name))), ..self }
    }

    /// With a converter of its records.
    pub(crate) fn converted_by(self, converter: Option<Arc<Converter>>) -> Self {
        Self { converter, ..self }
    }

    /// A topic that the configuration names. `pinned`: read whether it has streams or not.
    pub(crate) fn named(name: Arc<str>, pinned: bool) -> Self {
        let mut topic = Self { named: true, pinned, ..Self::new(name) };
        topic.health.get_mut().unwrap_or_else(PoisonError::into_inner).named = true;
        topic
    }

    /// The findings of the watchdog.
    pub(crate) fn health(&self) -> MutexGuard<'_, TopicHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The health of the topic.
    pub(crate) fn report_health(&self) -> TopicHealth {
        let missing = self.is_missing();
        let forbidden = self.is_forbidden();
        let mut health = TopicHealth { missing, forbidden, ..self.health().clone() };
        self.losses.report(&mut health);
        if let Some(converter) = &self.converter {
            converter.report(&mut health);
        }
        health
    }

    /// Kafka has reported these ends.
    pub(crate) fn set_ends(&self, ends: Positions) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    /// How many records the log still has to reach, as far as Kafka has reported its ends.
    pub(crate) fn behind(&self) -> Option<u64> {
        let head = self.log()?.hub.head();
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.as_ref().map(|ends| head.offsets_until(ends))
    }

    fn truncations(&self) -> MutexGuard<'_, Truncations> {
        self.truncations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.truncations().epoch
    }

    /// Notes a truncation. The next log is of another epoch.
    pub(crate) fn truncate(&self, truncation: Truncation) {
        self.losses.forget();
        if let Some(converter) = &self.converter {
            converter.forget();
        }
        let mut truncations = self.truncations();
        truncations.epoch += 1;
        truncations.last.push_back(truncation);
        if truncations.last.len() > MAX_TRUNCATIONS
            && let (Some(first), Some(second)) =
                (truncations.last.pop_front(), truncations.last.pop_front())
        {
            truncations.last.push_front(first.and(&second));
        }
    }

    /// The truncations from one epoch until another, as one.
    pub(crate) fn truncation_between(&self, since: u64, until: u64) -> Truncation {
        let truncations = self.truncations();
        let ended = (0..truncations.epoch).rev().zip(truncations.last.iter().rev());
        let oldest = truncations.epoch.saturating_sub(truncations.last.len() as u64);
        let of = ended.filter(|(epoch, _)| since.max(oldest) <= *epoch && *epoch < until);
        of.fold(Truncation::default(), |all, (_, truncation)| all.and(truncation))
    }

    pub(crate) fn is_missing(&self) -> bool {
        matches!(*self.state.borrow(), State::Missing)
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(*self.state.borrow(), State::Forbidden)
    }

    /// Whether Kafka has not been asked for the topic yet.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(*self.state.borrow(), State::Unknown)
    }

    /// Whether the topic is known to exist and Kafka permits it.
    pub(crate) fn exists(&self) -> bool {
        matches!(*self.state.borrow(), State::Found | State::Open(_))
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        self.state.borrow().refused()
    }

    pub(crate) fn is_used(&self) -> bool {
        self.pinned || self.streams.load(Ordering::Acquire) > 0
    }

    pub(crate) fn log(&self) -> Option<Arc<TopicLog>> {
        match &*self.state.borrow() {
            State::Open(log) => Some(Arc::clone(log)),
            State::Unknown | State::Missing | State::Forbidden | State::NoRoom | State::Found => {
                None
            }
        }
    }

    /// Waits until Kafka has been asked for the topic.
    pub(crate) async fn wait_known(&self) {
        self.wait_for(|state| !matches!(state, State::Unknown)).await;
    }

    /// Waits until the streams of the topic are refused.
    pub(crate) async fn wait_refused(&self) {
        self.wait_for(|state| state.refused().is_some()).await;
    }

    async fn wait_for(&self, holds: impl FnMut(&State) -> bool) {
        self.state.subscribe().wait_for(holds).await.expect("the sender is in `self`");
    }

    /// Waits for the topic's log. The flag says whether the topic was missing meanwhile.
    pub(crate) async fn wait_open(&self) -> (Arc<TopicLog>, bool) {
        let mut state = self.state.subscribe();
        let mut missing = false;
        loop {
            match &*state.borrow_and_update() {
                State::Open(log) if !log.hub.is_closed() => {
                    return (Arc::clone(log), missing);
                }
                State::Missing => missing = true,
                State::Unknown
                | State::Forbidden
                | State::NoRoom
                | State::Found
                | State::Open(_) => {}
            }
            state.changed().await.expect("the sender is in `self`");
        }
    }
}
