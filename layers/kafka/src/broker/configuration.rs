//! The configuration of topics: whether they are compacted, and for how long they keep tombstones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;
use tracing::warn;

use super::context::Context;
use super::librdkafka::refused;
use crate::Error;

/// How long a topic's configuration is waited for, and not asked for again where none came.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
const UNANSWERED: Duration = Duration::from_secs(60);

/// How long one handle asks for configurations. It keeps all errors of its connections: rust-rdkafka
/// empties its queue of answers only.
const ADMIN_AGE: Duration = Duration::from_secs(600);

type Admin = AdminClient<Context>;

/// Asks for the configuration of topics.
pub(super) struct Configurations {
    config: ClientConfig,
    context: Context,
    /// The handle that asks, and since when.
    admin: Mutex<Option<(Instant, Arc<Admin>)>>,
    /// When the configuration of a topic was refused, or (`None`) of any was waited for in vain.
    unanswered: Mutex<HashMap<Option<String>, Instant>>,
}

impl Configurations {
    /// `query_config`: the configuration of handles that only ask.
    pub(super) fn new(query_config: &ClientConfig, context: Context) -> Self {
        let mut config = query_config.clone();
        for consumer_only in CONSUMER_ONLY {
            config.remove(consumer_only);
        }
        Self { config, context, admin: Mutex::default(), unanswered: Mutex::default() }
    }

    /// Has the handle connect before it is needed. Why there is none is told when one is needed.
    pub(super) fn connect(&self) {
        let _ = self.admin();
    }

    /// Drops the handle if it is old.
    pub(super) fn expire(&self) {
        self.drop_admin(ADMIN_AGE);
    }

    /// `delete.retention.ms` of a compacted topic; `None` if the topic is not compacted. The broker that is
    /// `known` is asked, and `another` one where that does not answer.
    pub(super) fn tombstone_retention(
        &self,
        topic: &str,
        known: Option<i32>,
        another: impl FnOnce() -> Result<i32, Error>,
    ) -> Result<Option<Duration>, Error> {
        if self.was_unanswered(topic) {
            return Err(Error::NoConfiguration);
        }
        // Any broker knows. The controller, which librdkafka asks unless it is told whom, is waited for
        // in vain, for the timeout's whole length, where there is none: the mock cluster says so.
        let answer =
            known.map_or(Err(Error::NoConfiguration), |broker| self.describe(topic, broker));
        let answer = answer.or_else(|_| {
            // It may know brokers that are gone.
            self.drop_admin(Duration::ZERO);
            self.describe(topic, another()?)
        });
        let message =
            "configuration can't be read: taken as not compacted, and asked for again in a minute";
        let answer = match answer {
            Err(error) => {
                self.unanswered().insert(None, Instant::now());
                self.drop_admin(Duration::ZERO);
                warn!(%error, "{message}");
                return Err(error);
            }
            Ok(answer) => answer,
        };
        if let Err(error) = &answer {
            self.unanswered().insert(Some(topic.to_owned()), Instant::now());
            warn!(%error, topic, "{message}");
        }
        let value = |name| {
            let entries = answer.as_ref().ok().into_iter().flatten();
            entries.filter(|entry| entry.name == name).find_map(|entry| entry.value.as_deref())
        };
        let policy = value("cleanup.policy").unwrap_or_default();
        let compacted = policy.split(',').any(|policy| policy.trim() == "compact");
        let retention = value("delete.retention.ms").and_then(|value| value.parse().ok());
        let retention = retention.filter(|_| compacted).map(Duration::from_millis);
        answer.map(|_| retention).map_err(Error::kafka)
    }

    /// The topic's configuration, or why it is refused; an error if nobody answered.
    fn describe(
        &self,
        topic: &str,
        broker: i32,
    ) -> Result<Result<Vec<ConfigEntry>, RDKafkaErrorCode>, Error> {
        let admin = self.admin()?;
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).broker_id(broker);
        let topics = [ResourceSpecifier::Topic(topic)];
        let answer = futures_executor::block_on(admin.describe_configs(&topics, &options));
        let resource = answer.map_err(Error::kafka)?.pop().ok_or(Error::NoConfiguration)?;
        Ok(resource.map(|resource| resource.entries))
    }

    fn admin(&self) -> Result<Arc<Admin>, Error> {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, admin)) = &*kept {
            return Ok(Arc::clone(admin));
        }
        let admin = Admin::from_config_and_context(&self.config, self.context.clone())
            .map_err(|error| refused(&self.config, error))?;
        let admin = Arc::new(admin);
        *kept = Some((Instant::now(), Arc::clone(&admin)));
        Ok(admin)
    }

    /// Another one is made when it is asked for next, if this one is so old.
    fn drop_admin(&self, age: Duration) {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let old = kept.take_if(|(since, _)| since.elapsed() >= age);
        drop(kept);
        // It waits for its threads.
        drop(old);
    }

    fn unanswered(&self) -> MutexGuard<'_, HashMap<Option<String>, Instant>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the topic's configuration, or any, was asked for in vain a moment ago.
    fn was_unanswered(&self, topic: &str) -> bool {
        let mut unanswered = self.unanswered();
        unanswered.retain(|_, since| since.elapsed() < UNANSWERED);
        [None, Some(topic.to_owned())].iter().any(|of| unanswered.contains_key(of))
    }
}

/// Properties that librdkafka warns about on a handle that does not consume.
const CONSUMER_ONLY: [&str; 10] = [
    "check.crcs",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "isolation.level",
    "auto.offset.reset",
    "fetch.wait.max.ms",
    "fetch.max.bytes",
    "fetch.queue.backoff.ms",
    "allow.auto.create.topics",
];
