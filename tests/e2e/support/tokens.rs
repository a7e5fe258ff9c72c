//! Tokens as an issuer makes them, by another library than the server's.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// A private key, and what a key set says of the public one.
pub(crate) struct Key {
    algorithm: &'static str,
    pub(crate) public: Value,
    sign: Box<Sign>,
}

type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// The key `rsa`, for RS256.
pub(crate) fn rsa_key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(new_rsa_key)
}

/// One that calls itself `rsa` as well, and is not.
fn other_rsa_key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(new_rsa_key)
}

fn new_rsa_key() -> Key {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let modulus = key.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let exponent = key.public_key().exponent().big_endian_without_leading_zero().to_vec();
    let public = json!({
        "kty": "RSA", "alg": "RS256", "kid": "rsa",
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
    });
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; key.public_modulus_len()];
        let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.expect("a signature");
        signature
    };
    Key { algorithm: "RS256", public, sign: Box::new(sign) }
}

/// The key `ec`, for ES256.
pub(crate) fn ec_key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        // SEC 1, 2.3.3: an uncompressed point is 4 and both coordinates.
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let public = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "ec",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        let sign = move |message: &[u8]| {
            key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
        };
        Key { algorithm: "ES256", public, sign: Box::new(sign) }
    })
}

/// A time to come.
pub(crate) fn in_seconds(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

/// What a token says.
#[derive(Clone)]
pub(crate) struct Token(Map<String, Value>);

impl Token {
    /// One of a subject, good for an hour, without roles.
    pub(crate) fn of(subject: &str) -> Self {
        let claims = Map::new();
        Self(claims)
            .claim("iss", ISSUER)
            .claim("aud", AUDIENCE)
            .claim("sub", subject)
            .until(in_seconds(3600))
    }

    /// Until a time, to the millisecond.
    pub(crate) fn until(self, expiry: SystemTime) -> Self {
        let since = expiry.duration_since(UNIX_EPOCH).expect("after 1970");
        let milliseconds = u64::try_from(since.as_millis()).expect("in time");
        self.claim("exp", milliseconds as f64 / 1000.0)
    }

    pub(crate) fn roles(self, roles: &str) -> Self {
        self.claim("scope", roles)
    }

    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    pub(crate) fn sign(&self) -> String {
        self.sign_by(rsa_key())
    }

    pub(crate) fn sign_by(&self, key: &Key) -> String {
        self.sign_under(json!({ "alg": key.algorithm, "kid": key.public["kid"] }), key)
    }

    /// With another header than the usual one.
    pub(crate) fn sign_under(&self, header: Value, key: &Key) -> String {
        let claims = Value::Object(self.0.clone());
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode((key.sign)(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// With the signature of another key.
    pub(crate) fn forge(&self) -> String {
        self.sign_by(other_rsa_key())
    }

    /// The same, and it names no key.
    pub(crate) fn forge_nameless(&self) -> String {
        self.sign_under(json!({ "alg": "RS256" }), other_rsa_key())
    }
}
