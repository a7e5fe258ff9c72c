use std::time::Duration;

use http::StatusCode;

use crate::catalog::SchemaId;
use crate::{MAX_DEPTH, MAX_REFERENCES, MAX_SCHEMA_BYTES};

/// The maximum number of redirects in a row.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// The reason why a registry cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The URL is not an absolute `http` or `https` URL. The text is without user and query.
    #[error("`{0}` is not an absolute http or https URL of a registry")]
    Url(String),
    /// The URL has a query or a fragment, which requests could not keep. The text is without them.
    #[error("`{0}` has a query or a fragment")]
    Query(String),
    /// The registry was given no runtime, and its own could not be started.
    #[error("the thread of a schema registry cannot be started")]
    Runtime(#[source] std::io::Error),
}

/// The reason why a schema could not be fetched. No text in it is a credential or a part of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The registry did not answer in time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// There is no connection, or it broke.
    #[error("no answer: {0}")]
    Transport(String),
    /// The answer has a status that says nothing about the schema: a server error, a missing permission, too many
    /// requests, a 404 that a proxy may have sent.
    #[error("answer has the status {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// How long the answer asks to wait.
        retry_after: Option<Duration>,
    },
    /// The registry says that it has no such schema.
    #[error("registry has no such schema (status {status}, error code {code})")]
    NoSchema {
        /// The status.
        status: StatusCode,
        /// The registry's own code.
        code: i64,
    },
    /// The registry has nothing at this path: its URL is wrong, or it does not have this part of the API.
    #[error("registry has nothing at this path (status {status}): is its URL right?")]
    NoApi {
        /// The status.
        status: StatusCode,
    },
    /// Subject, group or version cannot be part of a URL, or the registry has no ids of this kind.
    #[error("registry cannot be asked for it")]
    NoRequest,
    /// The answer redirects to another scheme, host or port.
    #[error("answer redirects to `{0}`, which has another scheme, host or port")]
    CrossOrigin(String),
    /// The answer redirects more often than five times.
    #[error("answer redirects more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
    /// The answer is larger than [`MAX_SCHEMA_BYTES`].
    #[error("answer has more than {MAX_SCHEMA_BYTES} bytes")]
    TooLarge,
    /// The answer is a web page, or is no JSON where it should be: it may be a proxy's, or that of a page to log in.
    #[error("answer is not that of a registry: is it a proxy's?")]
    Foreign,
    /// The answer is not of the form that it should have.
    #[error("answer is no {0}")]
    Format(&'static str),
    /// The registry names a type of schema that is not known here. The text is escaped and may be cut.
    #[error("schema is of the type `{0}`, which is not supported")]
    Kind(String),
    /// A schema refers to itself, through others perhaps.
    #[error("schema with {0} refers to itself")]
    Cycle(SchemaId),
    /// A schema has more references than [`MAX_REFERENCES`].
    #[error("schema refers to more than {MAX_REFERENCES} others")]
    TooManyReferences,
    /// References are nested deeper than [`MAX_DEPTH`].
    #[error("references are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A schema has, with all that it refers to, more text than [`MAX_SCHEMA_BYTES`].
    #[error("schema and its references have more than {MAX_SCHEMA_BYTES} bytes")]
    TooMuchText,
    /// A schema that this one refers to could not be fetched.
    #[error("reference `{name}`")]
    Reference {
        /// What the schema calls it, escaped, and perhaps cut.
        name: String,
        /// The reason.
        #[source]
        reason: Box<FetchError>,
    },
    /// The runtime of the registry has ended.
    #[error("runtime of the registry has ended")]
    Stopped,
}

impl FetchError {
    /// Whether another attempt may have another result soon, because the registry has not answered the question:
    /// it is away, or too busy, or does not permit it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout(_)
            | Self::Transport(_)
            | Self::Status { .. }
            | Self::NoApi { .. }
            | Self::Foreign
            | Self::Stopped => true,
            Self::Reference { reason, .. } => reason.is_transient(),
            Self::NoSchema { .. }
            | Self::NoRequest
            | Self::CrossOrigin(_)
            | Self::TooManyRedirects
            | Self::TooLarge
            | Self::Format(_)
            | Self::Kind(_)
            | Self::Cycle(_)
            | Self::TooManyReferences
            | Self::TooDeep
            | Self::TooMuchText => false,
        }
    }

    /// How long the registry asks to wait before the next request.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Reference { reason, .. } => reason.retry_after(),
            _ => None,
        }
    }
}
