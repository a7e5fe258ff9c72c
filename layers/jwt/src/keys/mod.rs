use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use crate::keys::location::Location;
use crate::keys::redacted::Redacted;
use crate::keys::set::KeySet;
use crate::{Error, Fetch, Jwk};

pub(crate) mod algorithm;
pub(crate) mod fetch;
#[cfg(feature = "fetch")]
pub(crate) mod http_fetch;
pub(crate) mod jwk;
mod key;
pub(crate) mod location;
pub(crate) mod redacted;
mod redirect;
pub(crate) mod remote;
pub(crate) mod set;

/// The keys of a guard: a list, or the location of a key set.
#[derive(Clone)]
pub struct Keys(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    List(Arc<KeySet>),
    Remote { location: Location, fetch: Arc<dyn Fetch> },
}

impl Keys {
    /// A list of keys.
    ///
    /// # Errors
    /// [`Error::Key`] for the first key that is not usable.
    pub fn list(jwks: impl IntoIterator<Item = Jwk>) -> Result<Self, Error> {
        KeySet::strict(jwks).map(|keys| Self(Source::List(Arc::new(keys))))
    }

    /// The key set at this URL. [`HttpFetch`](crate::HttpFetch) fetches it and trusts the certificates of
    /// the system.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not an absolute `http` or `https` URL.
    #[cfg(feature = "fetch")]
    pub fn url(uri: Uri) -> Result<Self, Error> {
        Self::url_with(uri, crate::HttpFetch::new())
    }

    /// The key set at this URL, with another [`Fetch`].
    ///
    /// # Errors
    /// [`Error::Url`] if it is not an absolute `http` or `https` URL.
    pub fn url_with(uri: Uri, fetch: impl Fetch) -> Result<Self, Error> {
        if !is_absolute(&uri) {
            return Err(Error::Url(Redacted(&uri).to_string()));
        }
        Ok(Self(Source::Remote { location: Location::Url(uri), fetch: Arc::new(fetch) }))
    }

    /// The key set of an issuer. [`HttpFetch`](crate::HttpFetch) fetches it and trusts the certificates of
    /// the system.
    ///
    /// The key set is at [`well_known`](Self::well_known). If there is none, it is at the `jwks_uri` of
    /// `<issuer>/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, 4). That configuration must
    /// name the same issuer. A `jwks_uri` without TLS is accepted only if the URL of the issuer has none.
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is not an absolute `http` or `https` URL.
    #[cfg(feature = "fetch")]
    pub fn issuer(issuer: &str) -> Result<Self, Error> {
        Self::issuer_with(issuer, crate::HttpFetch::new())
    }

    /// The key set of an [issuer](Self::issuer), with another [`Fetch`].
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is not an absolute `http` or `https` URL.
    pub fn issuer_with(issuer: &str, fetch: impl Fetch) -> Result<Self, Error> {
        let location = Location::Issuer {
            keys: Self::well_known(issuer)?,
            configuration: below(issuer, "openid-configuration")?,
            issuer: issuer.into(),
        };
        Ok(Self(Source::Remote { location, fetch: Arc::new(fetch) }))
    }

    /// The usual URL of an issuer's key set: `<issuer>/.well-known/jwks.json`.
    ///
    /// ```
    /// let url = tailwater_jwt::Keys::well_known("https://auth.example.com/")?;
    /// assert_eq!(url, "https://auth.example.com/.well-known/jwks.json");
    /// assert!(tailwater_jwt::Keys::well_known("tailwater").is_err());
    /// # Ok::<_, tailwater_jwt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is not a URL.
    pub fn well_known(issuer: &str) -> Result<Uri, Error> {
        below(issuer, "jwks.json")
    }
}

/// `<issuer>/.well-known/<name>`. The issuer may end in a slash.
fn below(issuer: &str, name: &str) -> Result<Uri, Error> {
    let text = format!("{}/.well-known/{name}", issuer.trim_end_matches('/'));
    text.parse().ok().filter(is_absolute).ok_or(Error::Url(text))
}

/// Whether the URI is an absolute `http` or `https` URL.
pub(crate) fn is_absolute(uri: &Uri) -> bool {
    let scheme = uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    scheme && uri.host().is_some_and(|host| !host.is_empty())
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::List(keys) => f.debug_tuple("Keys").field(keys).finish(),
            Source::Remote { location, .. } => {
                f.debug_tuple("Keys").field(&format_args!("{location}")).finish()
            }
        }
    }
}
