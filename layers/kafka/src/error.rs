use http::StatusCode;
use tailwater_sse::Rejection;

/// Why a query is not served, or Kafka not reached.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of the request names something that is no topic, or one that is Kafka's own.
    #[error("`{0}` is no name of a topic that a path may ask for")]
    TopicName(String),
    /// A template asks for something that the request does not have, such as a claim of its token.
    #[error("the request has no {0}")]
    Unfilled(String),
    /// The query of the request asks to begin somewhere that is no place. The client is told so.
    #[error("the query does not say where to begin: expected {0}")]
    Start(&'static str),
    /// There is no room for another topic: [`ClusterOptions::max_topics`](crate::ClusterOptions::max_topics)
    /// that Kafka has are held, or [`max_missing_topics`](crate::ClusterOptions::max_missing_topics) that
    /// it does not have.
    #[error("there is no room for the topic `{0}`")]
    TooManyTopics(String),
    /// Kafka does not permit that the topic is described or read. It may not even exist.
    #[error("kafka does not permit the topic `{0}`")]
    Forbidden(String),
    /// TLS to Kafka, with no authority to trust: neither certificates nor the system's.
    #[error("tls to kafka needs an authority to trust")]
    NoAuthority,
    /// librdkafka does not take a property.
    #[error("property `{name}` of librdkafka can't be set: {reason}")]
    Property {
        /// The property's name.
        name: String,
        /// What librdkafka says of it.
        reason: String,
    },
    /// Kafka can't be asked, or librdkafka can't begin to work.
    #[error(transparent)]
    Kafka(std::sync::Arc<dyn std::error::Error + Send + Sync>),
    /// A partition has no leader that knows its offsets.
    #[error("no offsets of topic `{topic}` can be had")]
    NoOffset {
        /// The topic's name.
        topic: String,
    },
    /// Kafka does not say how its topics are configured.
    #[error("no configuration of topics can be had")]
    NoConfiguration,
}

impl Error {
    pub(crate) fn kafka(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Kafka(std::sync::Arc::new(error))
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Start(_) => {
                return Rejection::new(StatusCode::BAD_REQUEST, error).expose_reason();
            }
            Error::TopicName(_) => StatusCode::NOT_FOUND,
            Error::Unfilled(_) | Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::TooManyTopics(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::NoAuthority
            | Error::Property { .. }
            | Error::Kafka(_)
            | Error::NoOffset { .. }
            | Error::NoConfiguration => StatusCode::BAD_GATEWAY,
        };
        Rejection::new(status, error)
    }
}
