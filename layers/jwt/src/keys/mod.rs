use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use crate::foreign::Foreign;
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::location::Location;
use crate::{Error, Fetch, Jwk, Unusable};

pub(crate) mod algorithm;
pub(crate) mod fetch;
#[cfg(feature = "fetch")]
pub(crate) mod http_fetch;
pub(crate) mod jwk;
mod key;
pub(crate) mod location;
mod redirect;
pub(crate) mod remote;

/// The keys of a guard: a list, or where one can be fetched.
#[derive(Clone)]
pub struct Keys(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    List(Arc<KeySet>),
    Remote { location: Location, fetch: Arc<dyn Fetch> },
}

impl Keys {
    /// These keys.
    ///
    /// # Errors
    /// [`Error::Key`] for the first that is not usable.
    pub fn list(jwks: impl IntoIterator<Item = Jwk>) -> Result<Self, Error> {
        KeySet::strict(jwks).map(|keys| Self(Source::List(Arc::new(keys))))
    }

    /// The key set at this URL, fetched by [`HttpFetch`](crate::HttpFetch) with the certificates of
    /// the system.
    ///
    /// # Errors
    /// [`Error::Url`] if it is no absolute `http` or `https` URL.
    #[cfg(feature = "fetch")]
    pub fn url(uri: Uri) -> Result<Self, Error> {
        Self::fetched(uri, crate::HttpFetch::new())
    }

    /// The key set at this URL, fetched by something else.
    ///
    /// # Errors
    /// [`Error::Url`] if it is no absolute `http` or `https` URL.
    pub fn fetched(uri: Uri, fetch: impl Fetch) -> Result<Self, Error> {
        if !is_absolute(&uri) {
            return Err(Error::Url(Shown(&uri).to_string()));
        }
        Ok(Self(Source::Remote { location: Location::Url(uri), fetch: Arc::new(fetch) }))
    }

    /// The key set of an issuer, fetched by [`HttpFetch`](crate::HttpFetch) with the certificates of
    /// the system: at [`well_known`](Self::well_known), or, where that is none, at the `jwks_uri` of
    /// `<issuer>/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, 4). What is there
    /// has to name this very issuer; a URL without TLS counts only if the issuer has none.
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is no absolute `http` or `https` URL.
    #[cfg(feature = "fetch")]
    pub fn issuer(issuer: &str) -> Result<Self, Error> {
        Self::issuer_fetched(issuer, crate::HttpFetch::new())
    }

    /// The key set of an [issuer](Self::issuer), fetched by something else.
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is no absolute `http` or `https` URL.
    pub fn issuer_fetched(issuer: &str, fetch: impl Fetch) -> Result<Self, Error> {
        let location = Location::Issuer {
            keys: Self::well_known(issuer)?,
            configuration: below(issuer, "openid-configuration")?,
            issuer: issuer.into(),
        };
        Ok(Self(Source::Remote { location, fetch: Arc::new(fetch) }))
    }

    /// Where the key set of an issuer is: `<issuer>/.well-known/jwks.json`.
    ///
    /// ```
    /// let url = tailwater_jwt::Keys::well_known("https://auth.example.com/")?;
    /// assert_eq!(url, "https://auth.example.com/.well-known/jwks.json");
    /// assert!(tailwater_jwt::Keys::well_known("tailwater").is_err());
    /// # Ok::<_, tailwater_jwt::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Url`] if the issuer is no URL.
    pub fn well_known(issuer: &str) -> Result<Uri, Error> {
        below(issuer, "jwks.json")
    }
}

/// `<issuer>/.well-known/<name>`, which has one slash there whether the issuer ends in one or not.
fn below(issuer: &str, name: &str) -> Result<Uri, Error> {
    let text = format!("{}/.well-known/{name}", issuer.trim_end_matches('/'));
    text.parse().ok().filter(is_absolute).ok_or(Error::Url(text))
}

/// Whether something can be fetched from there.
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

/// A URL without what may be a secret in it: its user and its query.
pub(crate) struct Shown<'a>(pub(crate) &'a Uri);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.0.scheme() {
            write!(f, "{scheme}://")?;
        }
        f.write_str(self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        Foreign(self.0.path()).fmt(f)
    }
}

/// Keys, each usable.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// What they were made from, to see whether another set is a change.
    jwks: Vec<Jwk>,
}

/// A key of a set that is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Its place in the set, counted from 1.
    pub(crate) place: usize,
    pub(crate) kid: Option<String>,
    pub(crate) reason: Unusable,
}

impl KeySet {
    fn strict(jwks: impl IntoIterator<Item = Jwk>) -> Result<Self, Error> {
        let (set, skipped) = Self::lenient(jwks.into_iter().map(Ok));
        match skipped.into_iter().next() {
            None => Ok(set),
            Some(Skipped { place, kid, reason }) => {
                Err(Error::Key { kid: kid.unwrap_or_else(|| place.to_string()), reason })
            }
        }
    }

    /// Those keys that are usable, and the others. One that is there already is neither.
    pub(crate) fn lenient(
        jwks: impl IntoIterator<Item = Result<Jwk, Unusable>>,
    ) -> (Self, Vec<Skipped>) {
        let mut set = Self::default();
        let mut skipped = Vec::new();
        for (index, jwk) in jwks.into_iter().enumerate() {
            let mut skip = |kid, reason| skipped.push(Skipped { place: index + 1, kid, reason });
            let jwk = match jwk {
                Ok(jwk) => jwk,
                Err(reason) => {
                    skip(None, reason);
                    continue;
                }
            };
            if set.jwks.contains(&jwk) {
                continue;
            }
            match Key::new(&jwk) {
                Ok(key) => {
                    set.keys.push(key);
                    set.jwks.push(jwk);
                }
                Err(reason) => skip(jwk.kid, reason),
            }
        }
        (set, skipped)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.jwks == other.jwks
    }

    /// Whether a key has this name.
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that may have made the signature of a token: those that its `kid` names, then those
    /// without a name; without a `kid` all, and of all those that are for its `alg`. Several may have
    /// one `kid`: for each algorithm one, or the next one of a rotation.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Key> {
        let named = self.keys.iter().filter(move |key| match (kid, &key.kid) {
            (Some(kid), Some(known)) => **known == *kid,
            (None, Some(_)) => true,
            (_, None) => false,
        });
        let nameless = self.keys.iter().filter(|key| key.kid.is_none());
        named.chain(nameless).filter(move |key| key.accepts(algorithm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_user_and_its_query() {
        for (uri, shown) in [
            ("https://auth.example.com/keys", "https://auth.example.com/keys"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            (
                "https://name:secret@auth.example.com:8443/a/b?c",
                "https://auth.example.com:8443/a/b",
            ),
            ("https://auth.example.com?token=secret", "https://auth.example.com/"),
            ("/keys?token=secret", "/keys"),
            ("auth.example.com", "auth.example.com"),
            ("https://auth.example.com/\u{202e}", r"https://auth.example.com/\u{202e}"),
        ] {
            assert_eq!(Shown(&uri.parse().unwrap()).to_string(), shown, "{uri}");
        }
    }
}
