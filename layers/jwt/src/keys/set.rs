use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::{Error, Jwk, KeyError};

/// Usable keys.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// The source of `keys`, to compare with another set.
    jwks: Vec<Jwk>,
}

/// A key of a set that cannot verify signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Its place in the set, counted from 1.
    pub(crate) place: usize,
    pub(crate) kid: Option<String>,
    pub(crate) reason: KeyError,
}

impl KeySet {
    pub(crate) fn strict(jwks: impl IntoIterator<Item = Jwk>) -> Result<Self, Error> {
        let (set, skipped) = Self::lenient(jwks.into_iter().map(Ok));
        match skipped.into_iter().next() {
            None => Ok(set),
            Some(Skipped { place, kid, reason }) => {
                Err(Error::Key { kid: kid.unwrap_or_else(|| place.to_string()), reason })
            }
        }
    }

    /// The usable keys, and the skipped ones. A duplicate of a key is in neither.
    pub(crate) fn lenient(
        jwks: impl IntoIterator<Item = Result<Jwk, KeyError>>,
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

    /// Whether a key has this `kid`.
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys for the `alg` of a token that may have signed it. With a `kid`: the keys of this `kid`, then
    /// the keys without one. Without a `kid`: all keys. Several keys may share a `kid`, one for each
    /// algorithm or the old and the new key of a rotation.
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
