//! Takes the place of the server where users sign in: it believes everybody who they say they are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use tailwater::jwt::{Error, Guard, GuardOptions, Jwk, Keys};

pub(crate) const GUARD: &str = "todo";
const ISSUER: &str = "https://auth.example.com";

pub(crate) struct Issuer {
    key: Ed25519KeyPair,
    life: Duration,
}

impl Issuer {
    /// An issuer with a new key, whose tokens are valid for some time.
    pub(crate) fn new(life: Duration) -> Result<Self, Unspecified> {
        Ok(Self { key: Ed25519KeyPair::generate()?, life })
    }

    /// The guard that accepts its tokens. It challenges a stream in the middle of a token's life.
    pub(crate) fn guard(&self) -> Result<Guard, Error> {
        let mut key = Jwk::default();
        key.kty = "OKP".to_owned();
        key.crv = Some("Ed25519".to_owned());
        key.kid = Some("1".to_owned());
        key.x = Some(URL_SAFE_NO_PAD.encode(self.key.public_key()));
        let options = GuardOptions::new(GUARD, Keys::list([key])?);
        Ok(Guard::new(options.issuer(ISSUER).challenge(self.life / 2)))
    }

    /// `POST /token/USER` is answered with a token.
    pub(crate) fn router(self) -> Router {
        let token = move |Path(user): Path<String>| {
            let is_name = (1..=32).contains(&user.len())
                && user.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let token = is_name.then(|| self.token(&user)).ok_or(StatusCode::BAD_REQUEST);
            std::future::ready(token)
        };
        let token = std::sync::Arc::new(token);
        Router::new().route("/token/{user}", post(move |user| token(user)))
    }

    fn token(&self, user: &str) -> String {
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.life;
        let encode = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = encode(json!({ "alg": "EdDSA", "kid": "1" }));
        let claims = encode(json!({ "iss": ISSUER, "sub": user, "exp": expiry.as_secs() }));
        let signature = self.key.sign(format!("{header}.{claims}").as_bytes());
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
