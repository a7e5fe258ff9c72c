use crate::escape::Escaped;

/// Why keys, or patterns of credentials, are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of a list is of no use for signatures.
    #[error("key `{}` is not usable", Escaped(kid))]
    Key {
        /// Its `kid`, or its place in the list, counted from 1, where it has none.
        kid: String,
        /// What is wrong with it.
        #[source]
        reason: KeyError,
    },
    /// Not an absolute `http` or `https` URL.
    #[error("`{}` is no absolute http or https URL of a key set", Escaped(.0))]
    Url(String),
    /// A root certificate that is none.
    #[cfg(feature = "fetch")]
    #[error("root certificate {0} cannot be read")]
    RootCertificate(usize),
    /// A pattern has to hold `{credentials}`, and once.
    #[error("pattern `{0}` does not hold `{{credentials}}` exactly once")]
    Pattern(String),
    /// A name that no header, cookie or parameter of a query can have.
    #[error("`{0}` is no name of a header, a cookie or a parameter")]
    Name(String),
}

/// Why a key is of no use for signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not an object, or one whose members are of wrong types.
    #[error("it is no JSON Web Key: {}", Escaped(.0))]
    Format(String),
    /// Neither `RSA` nor `EC` nor `OKP`. Shared secrets (`oct`) are never accepted.
    #[error("its `kty` is `{}`, not `RSA`, `EC` or `OKP`", Escaped(.0))]
    Type(String),
    /// `use` is not `sig`.
    #[error("its `use` is `{}`, not `sig`", Escaped(.0))]
    Use(String),
    /// `key_ops` without `verify`.
    #[error("its `key_ops` do not hold `verify`")]
    Operations,
    /// An `alg` that is unknown, or not one of the key's type and curve.
    #[error("its `alg` `{}` is none of its `kty` and `crv`", Escaped(.0))]
    Algorithm(String),
    /// Another curve than P-256, P-384, P-521 and Ed25519.
    #[error("its `crv` is `{}`, which is not supported", Escaped(.0))]
    Curve(String),
    /// A member that the key's type demands is not there.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// A member that is not base64.
    #[error("its `{0}` is not base64")]
    Encoding(&'static str),
    /// An RSA key of less than 2048 or more than 8192 bits.
    #[error("it has {0} bits: from 2048 to 8192 are accepted")]
    Size(usize),
    /// The numbers are not those of a public key.
    #[error("its numbers are no public key")]
    Numbers,
}
