//! The cost of verifying a token: a cached one and a new one.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use serde_json::json;
use tailwater_jwt::{Credentials, Guard, GuardOptions, JwtLayer, Keys, Session};
use tower::{Layer, Service, service_fn};

struct Issuer {
    key: RsaKeyPair,
    options: GuardOptions,
}

impl Issuer {
    fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public = key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({
            "kty": "RSA", "alg": "RS256", "kid": "2026",
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        });
        let jwk = serde_json::from_value(jwk).expect("a key");
        let options = GuardOptions::new("who", Keys::list([jwk]).expect("a key"))
            .issuer("https://auth.example.com")
            .audience(["https://api.example.com"]);
        Self { key, options }
    }

    /// A token of usual size: some 800 bytes.
    fn token(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now");
        let claims = json!({
            "iss": "https://auth.example.com", "aud": ["https://api.example.com", "account"],
            "sub": "8f6c2c52-6ab2-4b3e-8a7c-0d7a4d1f9e55", "exp": now.as_secs() + 3600,
            "iat": now.as_secs(), "scope": "openid profile email proxy:stream",
            "name": "Ada Lovelace", "email": "ada@example.com", "azp": "page",
            "realm_access": { "roles": ["offline_access", "uma_authorization"] },
        });
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "2026" });
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn respond(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    black_box(request.extensions().get::<Session>().expect("it is good"));
    ready(Ok(Response::new(())))
}

fn cached(c: &mut Criterion) {
    let issuer = Issuer::new();
    let token = issuer.token();
    let guard = Guard::new(issuer.options.clone());
    let layer = JwtLayer::new(guard.clone(), Credentials::bearer());
    let mut service = layer.layer(service_fn(respond));
    let cx = &mut Context::from_waker(Waker::noop());
    let authorization = format!("Bearer {token}");
    let mut group = c.benchmark_group("token");

    group.bench_function("seen before, verify", |b| {
        b.iter(|| {
            let mut verified = std::pin::pin!(guard.verify(black_box(&token)));
            assert!(matches!(verified.as_mut().poll(cx), Poll::Ready(Ok(_))));
        });
    });
    group.bench_function("seen before, layer", |b| {
        let request = || {
            Request::get("/events").header("authorization", &authorization).body(()).expect("one")
        };
        b.iter_batched(
            request,
            |request| {
                let mut response = std::pin::pin!(service.call(request));
                assert!(matches!(response.as_mut().poll(cx), Poll::Ready(Ok(_))));
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("new, RS256", |b| {
        // Each time a new guard with an empty cache.
        b.iter_batched(
            || Guard::new(issuer.options.clone()),
            |guard| {
                let mut verified = std::pin::pin!(guard.verify(black_box(&token)));
                assert!(matches!(verified.as_mut().poll(cx), Poll::Ready(Ok(_))));
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, cached);
criterion_main!(benches);
