//! The location of a key set, and how to fetch the set from there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::escape::{Escaped, chain};
use crate::keys::is_absolute;
use crate::keys::redacted::{Redacted, redacted_text};
use crate::keys::redirect::{MAX_REDIRECTS, redirected};
use crate::keys::set::{KeySet, Skipped};
use crate::{Fetch, KeyError, MAX_KEY_SET_BYTES};

/// The timeout for a request with its redirects. A server that does not answer the first request of an
/// issuer's key set must not take the time of the others.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// The freshness of a key set comes from its response, within the first two limits, or is the default.
const MIN_FRESHNESS: Duration = Duration::from_secs(60);
const MAX_FRESHNESS: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_FRESHNESS: Duration = Duration::from_secs(60 * 60);
/// The maximum number of keys in a set. No issuer has more.
const MAX_KEYS: usize = 100;

/// The location of a key set.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    Url(Uri),
    /// The key set is at `keys`, or at the `jwks_uri` of the `configuration`.
    Issuer {
        issuer: Arc<str>,
        keys: Uri,
        configuration: Uri,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Redacted(self.uri()).fmt(f)
    }
}

/// A key set and its response.
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    pub(crate) skipped: Vec<Skipped>,
    /// The URL of the key set.
    pub(crate) uri: Uri,
    /// How long the key set may be used before it is fetched again.
    pub(crate) freshness: Duration,
}

/// The reason why a fetch has failed. Untrusted text in it is escaped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error("no answer: {0}")]
    Transport(String),
    #[error("answer has the status {0}")]
    Status(StatusCode),
    #[error("answer redirects to `{0}`, which has another scheme, host or port")]
    CrossOrigin(String),
    #[error("answer redirects more than {MAX_REDIRECTS} times")]
    TooManyRedirects,
    #[error("answer has more than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    #[error("answer is no key set")]
    Format,
    #[error("key set has more than {MAX_KEYS} keys")]
    TooMany,
    #[error("key set has no key that is usable")]
    Empty(Vec<Skipped>),
    #[error("answer has no `issuer` and `jwks_uri`")]
    NoConfiguration,
    #[error("answer is of another issuer: `{0}`")]
    Issuer(String),
    #[error("its `jwks_uri` is `{0}`, which is no https URL")]
    KeysUri(String),
    #[error("{0}; {1}; write the URL of the key set into `keys`")]
    NotFound(Box<FetchFailure>, Box<FetchFailure>),
}

/// A failed fetch and its URL.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", Redacted(uri))]
pub(crate) struct FetchFailure {
    pub(crate) uri: Uri,
    pub(crate) error: FetchError,
}

impl FetchError {
    /// Whether the response was no key set at all, not even an invalid one. It may be elsewhere then.
    fn is_no_key_set(&self) -> bool {
        match self {
            Self::TooMany => false,
            Self::Empty(skipped) => skipped.is_empty(),
            _ => true,
        }
    }
}

impl Location {
    /// The URL that is tried first.
    pub(crate) fn uri(&self) -> &Uri {
        match self {
            Self::Url(uri) | Self::Issuer { keys: uri, .. } => uri,
        }
    }

    /// Fetches the key set, within [`FETCH_TIMEOUT`] for each of three requests at most.
    pub(crate) async fn fetch(&self, fetch: &dyn Fetch) -> Result<Fetched, FetchFailure> {
        let failure = |uri: &Uri, error| FetchFailure { uri: uri.clone(), error };
        let first = match key_set(fetch, self.uri()).await {
            Ok(fetched) => return Ok(fetched),
            Err(error) => error,
        };
        let (issuer, keys, configuration) = match self {
            Self::Issuer { issuer, keys, configuration } if first.is_no_key_set() => {
                (issuer, keys, configuration)
            }
            _ => return Err(failure(self.uri(), first)),
        };
        let (uri, second) = match keys_uri(fetch, configuration, issuer).await {
            Ok(uri) => match key_set(fetch, &uri).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => (uri, error),
            },
            Err(error) => (configuration.clone(), error),
        };
        // A server that does not answer may do so next time.
        if second.is_no_key_set()
            && !matches!(second, FetchError::Transport(_) | FetchError::Timeout)
        {
            let first = Box::new(failure(keys, first));
            let second = Box::new(FetchFailure { uri, error: second });
            return Err(failure(keys, FetchError::NotFound(first, second)));
        }
        Err(FetchFailure { uri, error: second })
    }
}

async fn key_set(fetch: &dyn Fetch, uri: &Uri) -> Result<Fetched, FetchError> {
    /// RFC 7517, 5. Other members are ignored.
    #[derive(Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let answer = get(fetch, uri).await?;
    let text = text(&answer);
    let set: Set<'_> = serde_json::from_str(&text).map_err(|_| FetchError::Format)?;
    if set.keys.len() > MAX_KEYS {
        return Err(FetchError::TooMany);
    }
    // Each key by itself: an invalid one does not affect the others.
    let jwks = set.keys.iter().map(|key| {
        serde_json::from_str(key.get()).map_err(|error| KeyError::Format(error.to_string()))
    });
    let (keys, skipped) = KeySet::lenient(jwks);
    if keys.is_empty() {
        return Err(FetchError::Empty(skipped));
    }
    Ok(Fetched { keys, skipped, uri: uri.clone(), freshness: freshness(answer.headers()) })
}

/// The `jwks_uri` of an issuer's configuration (OpenID Connect Discovery 1.0, 4).
async fn keys_uri(fetch: &dyn Fetch, uri: &Uri, issuer: &str) -> Result<Uri, FetchError> {
    #[derive(Deserialize)]
    struct Configuration {
        issuer: String,
        jwks_uri: String,
    }
    let answer = get(fetch, uri).await?;
    let Configuration { issuer: known, jwks_uri } =
        serde_json::from_str(&text(&answer)).map_err(|_| FetchError::NoConfiguration)?;
    // 4.3: the configuration must be that of this issuer.
    if known != issuer {
        return Err(FetchError::Issuer(Escaped(&known).to_string()));
    }
    let plain = uri.scheme() == Some(&Scheme::HTTP);
    let keys: Option<Uri> = jwks_uri.parse().ok();
    let shown = match &keys {
        Some(keys) => Redacted(keys).to_string(),
        None => redacted_text(&jwks_uri),
    };
    keys.filter(is_absolute)
        .filter(|keys| plain || keys.scheme() == Some(&Scheme::HTTPS))
        .ok_or(FetchError::KeysUri(shown))
}

/// A response with status 200 within the limits.
async fn get(fetch: &dyn Fetch, uri: &Uri) -> Result<Response<Bytes>, FetchError> {
    let response = timeout(FETCH_TIMEOUT, follow(fetch, uri)).await;
    response.unwrap_or(Err(FetchError::Timeout))
}

async fn follow(fetch: &dyn Fetch, uri: &Uri) -> Result<Response<Bytes>, FetchError> {
    let mut uri = uri.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = fetch.fetch(&uri).await.map_err(|error| {
            let error: &(dyn std::error::Error + 'static) = &*error;
            FetchError::Transport(chain(error))
        })?;
        match redirected(&uri, &answer) {
            None if answer.status() != StatusCode::OK => {
                return Err(FetchError::Status(answer.status()));
            }
            None if answer.body().len() > MAX_KEY_SET_BYTES => return Err(FetchError::TooLarge),
            None => return Ok(answer),
            Some(target) => uri = target.map_err(FetchError::CrossOrigin)?,
        }
    }
    Err(FetchError::TooManyRedirects)
}

/// The body as text. Invalid UTF-8 is replaced and a byte order mark removed, so that the rest can be parsed.
fn text(answer: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(answer.body());
    text.trim_start_matches('\u{feff}').to_owned()
}

/// How long the response may be used (RFC 9111, 5.2.2).
fn freshness(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter();
    let directives = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut freshness = DEFAULT_FRESHNESS;
    for directive in directives.filter_map(|directive| str::from_utf8(directive).ok()) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            "no-cache" | "no-store" => return MIN_FRESHNESS,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse::<u32>();
                freshness =
                    seconds.map_or(freshness, |seconds| Duration::from_secs(seconds.into()));
            }
            _ => {}
        }
    }
    freshness.clamp(MIN_FRESHNESS, MAX_FRESHNESS)
}
