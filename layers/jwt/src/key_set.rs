use std::{fmt, sync::Arc};

use http::{Uri, uri::Scheme};

use crate::{Error, Fetch, Jwk, Rejection, Unusable, algorithm::Algorithm, key::Key};

/// The keys of a guard: a list, or where one can be fetched.
#[derive(Clone)]
pub struct Keys(pub(crate) Source);

#[derive(Clone)]
pub(crate) enum Source {
    List(Arc<KeySet>),
    Remote { uri: Uri, fetch: Arc<dyn Fetch> },
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
        let scheme = uri.scheme().filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        if scheme.is_none() || uri.host().is_none_or(str::is_empty) {
            return Err(Error::Url(Shown(&uri).to_string()));
        }
        Ok(Self(Source::Remote { uri, fetch: Arc::new(fetch) }))
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
        let text = format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/'));
        match text.parse::<Uri>() {
            Ok(uri)
                if uri.host().is_some_and(|host| !host.is_empty()) && uri.scheme().is_some() =>
            {
                Ok(uri)
            }
            _ => Err(Error::Url(text)),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::List(keys) => f.debug_tuple("Keys").field(keys).finish(),
            Source::Remote { uri, .. } => {
                f.debug_tuple("Keys").field(&format_args!("{}", Shown(uri))).finish()
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
        f.write_str(self.0.path())
    }
}

/// Keys by their `kid`, each usable.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// What they were made from, to see whether another set is a change.
    jwks: Vec<Jwk>,
}

impl KeySet {
    fn strict(jwks: impl IntoIterator<Item = Jwk>) -> Result<Self, Error> {
        let mut set = Self { keys: Vec::new(), jwks: Vec::new() };
        for (index, jwk) in jwks.into_iter().enumerate() {
            set.add(jwk).map_err(|(kid, reason)| {
                let kid = kid.unwrap_or_else(|| (index + 1).to_string());
                Error::Key { kid, reason }
            })?;
        }
        Ok(set)
    }

    /// Those keys that are usable; the others go to `skipped`.
    pub(crate) fn lenient(
        jwks: impl IntoIterator<Item = Jwk>,
        mut skipped: impl FnMut(Option<&str>, &Unusable),
    ) -> Self {
        let mut set = Self { keys: Vec::new(), jwks: Vec::new() };
        for jwk in jwks {
            if let Err((kid, reason)) = set.add(jwk) {
                skipped(kid.as_deref(), &reason);
            }
        }
        set
    }

    fn add(&mut self, jwk: Jwk) -> Result<(), (Option<String>, Unusable)> {
        let key = match Key::new(&jwk) {
            Ok(key) => key,
            Err(reason) => return Err((jwk.kid, reason)),
        };
        if self.keys.iter().any(|known| known.kid == key.kid && known.kind == key.kind) {
            return Err((jwk.kid, Unusable::Duplicate));
        }
        self.keys.push(key);
        self.jwks.push(jwk);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.jwks == other.jwks
    }

    /// The key that a token names. A `kid` may name several keys, but one only of a kind.
    pub(crate) fn find(&self, kid: &str, algorithm: Algorithm) -> Result<&Key, Rejection> {
        let mut named = self.keys.iter().filter(|key| &*key.kid == kid).peekable();
        if named.peek().is_none() {
            return Err(Rejection::UnknownKey);
        }
        named.find(|key| key.accepts(algorithm)).ok_or(Rejection::Algorithm)
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
        ] {
            assert_eq!(Shown(&uri.parse().unwrap()).to_string(), shown, "{uri}");
        }
    }
}
