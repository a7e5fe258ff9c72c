use http::StatusCode;
use tailwater_sse::Rejection;

/// The reason why a query is not served, or why a cluster can not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of the request names no valid topic, or one of Kafka's internal topics.
    #[error("a request may not name the topic `{0}`")]
    TopicName(String),
    /// The request does not have the value of a variable in a template, such as a claim of its token.
    #[error("the request has no {0}")]
    Unfilled(String),
    /// The query of the request has an invalid start. The response to the client says so.
    #[error("the query does not say where to begin: expected {0}")]
    Start(&'static str),
    /// There is no room for another topic. The cluster holds
    /// [`ClusterOptions::max_topics`](crate::ClusterOptions::max_topics) that Kafka has, or
    /// [`max_missing_topics`](crate::ClusterOptions::max_missing_topics) that it does not have.
    #[error("there is no room for the topic `{0}`")]
    TooManyTopics(String),
    /// Kafka does not permit to describe or read the topic. It may not even exist.
    #[error("kafka does not permit the topic `{0}`")]
    Forbidden(String),
    /// TLS to Kafka has no authority to trust: no certificates are given, and the system has none.
    #[error("tls to kafka needs an authority to trust")]
    NoAuthority,
    /// librdkafka rejects a property.
    #[error("librdkafka rejects the property `{name}`: {reason}")]
    Property {
        /// The property's name.
        name: String,
        /// The reason of librdkafka.
        reason: String,
    },
    /// A query to Kafka failed, or librdkafka can not start.
    #[error(transparent)]
    Kafka(std::sync::Arc<dyn std::error::Error + Send + Sync>),
    /// A partition has no leader that knows its offsets.
    #[error("no leader knows the offsets of topic `{topic}`")]
    NoOffset {
        /// The topic's name.
        topic: String,
    },
    /// Kafka does not answer the query for the configuration of topics.
    #[error("kafka does not answer the query for the configuration of topics")]
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
