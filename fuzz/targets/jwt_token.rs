//! A guard accepts what its key has signed and nothing else, and of that only what is as it should be.
//! Input: a line with a header, one with a payload, and where and how the signed token is changed.
#![no_main]

use std::{
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tailwater_jwt::{Guard, GuardOptions, Keys};

const NOW: u64 = 1_000_000_000;

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed"));
static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
    let keys = Keys::list([serde_json::from_value(jwk).expect("a key")]).expect("a key");
    let options = GuardOptions::new("who", keys)
        .issuer("i")
        .audience(["a"])
        .clock(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    Guard::new(options)
});

fuzz_target!(|input: &str| {
    assert!(!accepts(input), "nobody has signed it");
    let mut lines = input.splitn(3, '\n');
    let (Some(header), Some(payload)) = (lines.next(), lines.next()) else { return };

    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = KEY.sign(message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if accepts(&token) {
        let header: Value = serde_json::from_str(header).expect("it is accepted");
        assert_eq!(header["alg"], "EdDSA");
        assert!(header["kid"] == "k" || header["kid"].is_null());
        assert_eq!(header.get("crit"), None);
        let claims: Value = serde_json::from_str(payload).expect("it is accepted");
        assert_eq!(claims["iss"], "i");
        let audience = &claims["aud"];
        assert!(
            audience == "a" || audience.as_array().is_some_and(|list| list.contains(&json!("a")))
        );
        assert!(claims["exp"].as_f64().expect("a date") > NOW as f64);
    }
    let &[high, low, other, ..] = lines.next().unwrap_or_default().as_bytes() else { return };
    let mut forged = token.clone().into_bytes();
    let at = usize::from(u16::from_be_bytes([high, low])) % forged.len();
    forged[at] = other;
    if let Ok(forged) = String::from_utf8(forged) {
        assert!(forged == token || !accepts(&forged), "{other} at {at} of {token}");
    }
});

fn accepts(token: &str) -> bool {
    let verified = std::pin::pin!(GUARD.verify(token));
    match verified.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.is_ok(),
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}
