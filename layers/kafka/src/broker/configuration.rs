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

use crate::Error;
use crate::broker::context::Context;
use crate::broker::librdkafka::refused;

/// The timeout of a query for a topic's configuration, and the pause after one that failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
const UNANSWERED: Duration = Duration::from_secs(60);

/// The age at which the admin client is replaced. It keeps all errors of its connections, because rust-rdkafka
/// takes only answers from its queue.
const ADMIN_AGE: Duration = Duration::from_secs(600);

type Admin = AdminClient<Context>;

/// Queries the configuration of topics.
pub(super) struct Configurations {
    config: ClientConfig,
    context: Context,
    /// The admin client, and when it was created.
    admin: Mutex<Option<(Instant, Arc<Admin>)>>,
    /// When the query for a topic was refused, or, for `None`, when a query got no answer.
    unanswered: Mutex<HashMap<Option<String>, Instant>>,
}

impl Configurations {
    /// `query_config`: the configuration of query clients.
    pub(super) fn new(query_config: &ClientConfig, context: Context) -> Self {
        let mut config = query_config.clone();
        for consumer_only in CONSUMER_ONLY {
            config.remove(consumer_only);
        }
        Self { config, context, admin: Mutex::default(), unanswered: Mutex::default() }
    }

    /// Connects the client before it is needed. An error is reported when it is needed.
    pub(super) fn connect(&self) {
        let _ = self.admin();
    }

    /// Drops the client if it is old.
    pub(super) fn expire(&self) {
        self.drop_admin(ADMIN_AGE);
    }

    /// `delete.retention.ms` of a compacted topic. `None` if the topic is not compacted. The broker that is `known`
    /// is asked first, and `another` one if that does not answer.
    pub(super) fn tombstone_retention(
        &self,
        topic: &str,
        known: Option<i32>,
        another: impl FnOnce() -> Result<i32, Error>,
    ) -> Result<Option<Duration>, Error> {
        if self.was_unanswered(topic) {
            return Err(Error::NoConfiguration);
        }
        // Any broker can answer. By default, librdkafka asks the controller. Where there is none, as in the mock
        // cluster, it would wait for the whole timeout.
        let answer =
            known.map_or(Err(Error::NoConfiguration), |broker| self.describe(topic, broker));
        let answer = answer.or_else(|_| {
            // The client may know only brokers that are gone.
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

    /// The topic's configuration, or why it is refused. An error if no broker answered.
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

    /// Drops the client if it has this age. The next query creates another one.
    fn drop_admin(&self, age: Duration) {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let old = kept.take_if(|(since, _)| since.elapsed() >= age);
        drop(kept);
        // The drop waits for the threads of the client, so the lock is free by then.
        drop(old);
    }

    fn unanswered(&self) -> MutexGuard<'_, HashMap<Option<String>, Instant>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a query for this topic, or any query, failed a moment ago.
    fn was_unanswered(&self, topic: &str) -> bool {
        let mut unanswered = self.unanswered();
        unanswered.retain(|_, since| since.elapsed() < UNANSWERED);
        [None, Some(topic.to_owned())].iter().any(|of| unanswered.contains_key(of))
    }
}

/// Properties that librdkafka warns about on a client that does not consume.
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
