use serde::{Deserialize, Deserializer};

/// A public key as its issuer publishes it: a JSON Web Key (RFC 7517).
///
/// Deserialization ignores other members. `n`, `e`, `x` and `y` are base64url or base64, with or without
/// padding.
///
/// ```
/// use tailwater_jwt::{Jwk, Keys};
///
/// let mut jwk = Jwk::default();
/// jwk.kty = "OKP".to_owned();
/// jwk.kid = Some("2026".to_owned());
/// jwk.crv = Some("Ed25519".to_owned());
/// jwk.x = Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned());
/// assert!(Keys::list([jwk.clone()]).is_ok());
///
/// jwk.alg = Some("HS256".to_owned());
/// let error = Keys::list([jwk]).unwrap_err();
/// assert_eq!(error.to_string(), "key `2026` is not usable");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "an object with the members of a key")]
#[non_exhaustive]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// The id by which tokens select this key. A key without an id is tried for each token whose `alg` fits
    /// the key.
    pub kid: Option<String>,
    /// The only algorithm of the key. Absent: all algorithms that fit `kty` and `crv`.
    pub alg: Option<String>,
    /// `sig`, or absent.
    #[serde(rename = "use")]
    pub r#use: Option<String>,
    /// Contains `verify`, or is absent.
    #[serde(default, deserialize_with = "operations")]
    pub key_ops: Option<Vec<String>>,
    /// RSA: the modulus.
    pub n: Option<String>,
    /// RSA: the exponent.
    pub e: Option<String>,
    /// The curve: `P-256`, `P-384`, `P-521` (EC), `Ed25519` (OKP).
    pub crv: Option<String>,
    /// EC and OKP: the first coordinate.
    pub x: Option<String>,
    /// EC: the second coordinate.
    pub y: Option<String>,
}

/// A list of strings. A single string is a list of one.
fn operations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Operations {
        One(String),
        Several(Vec<String>),
    }
    Ok(Option::deserialize(deserializer)?.map(|operations| match operations {
        Operations::One(one) => vec![one],
        Operations::Several(several) => several,
    }))
}
