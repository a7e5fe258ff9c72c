//! Signing keys, a clock, and calls of the layer.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Extensions, Request, Response};
use serde_json::{Value, json};
use tailwater_jwt::{Guard, GuardOptions, Jwk, JwtLayer, Keys, Session};
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// The start of the clock of [`guard`], in seconds since 1970.
pub(crate) const NOW: u64 = 1_000_000_000;

type Sign = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// A private key, and its public key as JSON.
pub(crate) struct Signer {
    pub(crate) algorithm: &'static str,
    pub(crate) public: Value,
    sign: Box<Sign>,
}

impl Signer {
    pub(crate) fn jwk(&self) -> Jwk {
        serde_json::from_value(self.public.clone()).expect("a key")
    }

    pub(crate) fn kid(&self) -> &str {
        self.public["kid"].as_str().expect("a name")
    }

    /// A token with these claims and the usual header.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.raw(
            json!({ "alg": self.algorithm, "kid": self.kid() }).to_string(),
            claims.to_string(),
        )
    }

    /// A token of any texts with a valid signature.
    pub(crate) fn raw(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = (self.sign)(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn rsa(algorithm: &'static str) -> Signer {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    let key = KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
    let encoding: &'static dyn RsaEncoding = match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        other => panic!("{other} is not RSA"),
    };
    let modulus = key.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let exponent = key.public_key().exponent().big_endian_without_leading_zero().to_vec();
    let public = json!({
        "kty": "RSA", "kid": "rsa",
        "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
    });
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("a signature");
        signature
    };
    Signer { algorithm, public, sign: Box::new(sign) }
}

pub(crate) fn ec(algorithm: &'static str) -> Signer {
    let (curve, signing): (_, &'static EcdsaSigningAlgorithm) = match algorithm {
        "ES256" => ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        "ES512" => ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        other => panic!("{other} is not EC"),
    };
    let key = EcdsaKeyPair::generate(signing).expect("a key");
    let point = &key.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let public = json!({
        "kty": "EC", "crv": curve, "kid": algorithm,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let sign = move |message: &[u8]| {
        key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    };
    Signer { algorithm, public, sign: Box::new(sign) }
}

pub(crate) fn ed(kid: &str) -> Signer {
    let key = Ed25519KeyPair::generate().expect("a key");
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x });
    let sign = move |message: &[u8]| key.sign(message).as_ref().to_vec();
    Signer { algorithm: "EdDSA", public, sign: Box::new(sign) }
}

/// A clock that starts at [`NOW`] and advances with Tokio's.
pub(crate) fn clock() -> impl Fn() -> SystemTime + Send + Sync + 'static {
    let start = Instant::now();
    move || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW) + start.elapsed()
}

/// Options of a guard with these keys and the clock of the tests.
pub(crate) fn options_of(keys: Keys) -> GuardOptions {
    GuardOptions::new("who", keys).clock(clock())
}

/// Options of a guard with this key.
pub(crate) fn options(signer: &Signer) -> GuardOptions {
    options_of(Keys::list([signer.jwk()]).expect("a key"))
}

/// A guard with these keys.
pub(crate) fn guard_of(keys: Keys) -> Guard {
    Guard::new(options_of(keys))
}

/// A guard with this key.
pub(crate) fn guard(signer: &Signer) -> Guard {
    Guard::new(options(signer))
}

/// Claims of this subject that expire so many seconds after the start of the clock.
pub(crate) fn claims(subject: &str, seconds: u64) -> Value {
    json!({ "iss": "https://auth", "sub": subject, "scope": "read write", "exp": NOW + seconds })
}

/// Calls the layer. Its inner service returns the request that it has received.
pub(crate) async fn ask(layer: &JwtLayer, request: Request<()>) -> Response<Option<Seen>> {
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(Some(Seen(Arc::new(request)))))
    });
    layer.layer(inner).oneshot(request).await.expect("it never fails")
}

/// The request as the inner service has received it.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Arc<Request<()>>);

impl Seen {
    pub(crate) fn extensions(&self) -> &Extensions {
        self.0.extensions()
    }
}

pub(crate) fn bearer(token: &str) -> Request<()> {
    Request::get("/events")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("one")
}

/// The session that the layer puts into the request.
pub(crate) async fn session(layer: &JwtLayer, request: Request<()>) -> Session {
    let response = ask(layer, request).await;
    let seen = response.body().as_ref().expect("the token is good");
    seen.extensions().get::<Session>().expect("the layer put it there").clone()
}
