use crate::escape::Escaped;

/// The reason why keys or places of credentials are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of a list cannot verify signatures.
    #[error("key `{}` is not usable", Escaped(kid))]
    Key {
        /// Its `kid`. If it has none: its place in the list, counted from 1.
        kid: String,
        /// The reason.
        #[source]
        reason: KeyError,
    },
    /// The URL of a key set is not an absolute `http` or `https` URL.
    #[error("`{}` is not an absolute http or https URL of a key set", Escaped(.0))]
    Url(String),
    /// A root certificate cannot be parsed. The number is its place in the list, counted from 1.
    #[cfg(feature = "fetch")]
    #[error("root certificate {0} cannot be read")]
    RootCertificate(usize),
    /// A pattern does not contain `{credentials}` exactly once.
    #[error("pattern `{0}` does not contain `{{credentials}}` exactly once")]
    Pattern(String),
    /// The name of a header, cookie or query parameter is not valid.
    #[error("`{0}` is no name of a header, a cookie or a parameter")]
    Name(String),
}

/// The reason why a key cannot verify signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is not an object, or a member has the wrong type.
    #[error("it is not a JSON Web Key: {}", Escaped(.0))]
    Format(String),
    /// `kty` is not `RSA`, `EC` or `OKP`. Shared secrets (`oct`) are never accepted.
    #[error("its `kty` is `{}`, not `RSA`, `EC` or `OKP`", Escaped(.0))]
    Type(String),
    /// `use` is not `sig`.
    #[error("its `use` is `{}`, not `sig`", Escaped(.0))]
    Use(String),
    /// `key_ops` does not contain `verify`.
    #[error("its `key_ops` do not contain `verify`")]
    Operations,
    /// `alg` is unknown or does not fit `kty` and `crv`.
    #[error("its `alg` `{}` does not fit its `kty` and `crv`", Escaped(.0))]
    Algorithm(String),
    /// `crv` is not P-256, P-384, P-521 or Ed25519.
    #[error("its `crv` is `{}`, which is not supported", Escaped(.0))]
    Curve(String),
    /// A member that the key's type requires is missing.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// A member is not base64.
    #[error("its `{0}` is not base64")]
    Encoding(&'static str),
    /// An RSA key has fewer than 2048 or more than 8192 bits.
    #[error("it has {0} bits: from 2048 to 8192 are accepted")]
    Size(usize),
    /// The numbers are not a valid public key.
    #[error("its numbers are not a public key")]
    Numbers,
}
