//! Accepted keys and the signatures that they verify.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tailwater_jwt::{Error, Guard, Jwk, KeyError, Keys, Rejection};

use crate::remote::Script;
use crate::support::{Signer, claims, ec, ed, guard, guard_of, options, options_of, rsa};

fn all() -> Vec<Signer> {
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(rsa);
    rsa.into_iter().chain(["ES256", "ES384", "ES512"].map(ec)).chain([ed("ed")]).collect()
}

#[tokio::test]
async fn each_algorithm_is_accepted_with_a_key_that_names_it_and_one_that_names_none() {
    for signer in all() {
        let token = signer.token(&claims("ada", 60));
        let mut named = signer.jwk();
        named.alg = Some(signer.algorithm.to_owned());
        named.r#use = Some("sig".to_owned());
        named.key_ops = Some(vec!["verify".to_owned()]);
        for jwk in [signer.jwk(), named] {
            let guard = guard_of(Keys::list([jwk]).unwrap());
            let token = guard.verify(&token).await.expect(signer.algorithm);
            assert_eq!(token.subject(), Some("ada"), "{}", signer.algorithm);
        }
    }
}

#[tokio::test]
async fn no_algorithm_is_accepted_with_the_key_of_another() {
    for signer in all() {
        for other in all().into_iter().filter(|other| other.algorithm != signer.algorithm) {
            let mut jwk = other.jwk();
            jwk.alg = Some(other.algorithm.to_owned());
            jwk.kid = Some(signer.kid().to_owned());
            let guard = guard_of(Keys::list([jwk]).unwrap());
            let result = guard.verify(&signer.token(&claims("ada", 60))).await;
            let name = format!("{} by {}", signer.algorithm, other.algorithm);
            assert_eq!(result.err(), Some(Rejection::Algorithm), "{name}");
        }
    }
}

#[tokio::test]
async fn tokens_that_another_library_made_are_accepted() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let point = &pair.public_key_raw()[1..];
    let mut jwk = Jwk::default();
    jwk.kty = "EC".to_owned();
    jwk.kid = Some("other".to_owned());
    jwk.crv = Some("P-256".to_owned());
    jwk.x = Some(URL_SAFE_NO_PAD.encode(&point[..32]));
    jwk.y = Some(URL_SAFE_NO_PAD.encode(&point[32..]));
    let guard = guard_of(Keys::list([jwk]).unwrap());

    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("other".to_owned());
    let key = EncodingKey::from_ec_der(pair.serialized_der());
    let token = encode(&header, &claims("ada", 60), &key).unwrap();
    assert_eq!(guard.verify(&token).await.unwrap().subject(), Some("ada"));
}

#[tokio::test]
async fn numbers_of_keys_may_be_in_any_base64_and_with_any_zeros() {
    let signer = rsa("RS256");
    let token = signer.token(&claims("ada", 60));
    let number = URL_SAFE_NO_PAD.decode(signer.public["n"].as_str().unwrap()).unwrap();
    let padded = [&[0, 0], &*number].concat();
    for n in [
        URL_SAFE.encode(&number),
        URL_SAFE_NO_PAD.encode(&number),
        STANDARD.encode(&number),
        STANDARD_NO_PAD.encode(&number),
        STANDARD.encode(padded),
    ] {
        let mut jwk = signer.jwk();
        jwk.n = Some(n.clone());
        let guard = guard_of(Keys::list([jwk]).unwrap());
        assert!(guard.verify(&token).await.is_ok(), "{n}");
    }
}

/// A token with this `kid` in its header, or without one.
fn named(signer: &Signer, kid: Option<&str>) -> String {
    let mut header = json!({ "alg": signer.algorithm });
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    signer.raw(header.to_string(), claims("ada", 60).to_string())
}

/// Its public key with another `kid`, or without one.
fn renamed(signer: &Signer, kid: Option<&str>) -> Jwk {
    let mut jwk = signer.jwk();
    jwk.kid = kid.map(str::to_owned);
    jwk
}

#[tokio::test]
async fn all_keys_of_one_kid_are_tried() {
    // One key for each algorithm, as ForgeRock publishes them, and two keys of a rotation.
    let signers: Vec<_> = all().into_iter().chain([ed("next"), ec("ES256")]).collect();
    let stranger = ed("stranger");
    for algorithms in [true, false] {
        let jwks = signers.iter().map(|signer| {
            let mut jwk = renamed(signer, Some("all"));
            jwk.alg = algorithms.then(|| signer.algorithm.to_owned());
            jwk
        });
        let guard = guard_of(Keys::list(jwks).unwrap());
        for signer in &signers {
            let result = guard.verify(&named(signer, Some("all"))).await;
            assert!(result.is_ok(), "{}: {result:?}", signer.algorithm);
        }
        let result = guard.verify(&named(&stranger, Some("all"))).await;
        assert_eq!(result.err(), Some(Rejection::Signature));
    }
}

#[tokio::test]
async fn eddsa_and_ed25519_are_one_algorithm() {
    let signer = ed("ed");
    for of_key in [None, Some("EdDSA"), Some("Ed25519")] {
        let mut jwk = signer.jwk();
        jwk.alg = of_key.map(str::to_owned);
        let guard = guard_of(Keys::list([jwk]).unwrap());
        for of_token in ["EdDSA", "Ed25519"] {
            let header = json!({ "alg": of_token, "kid": "ed" }).to_string();
            let token = signer.raw(header, claims("ada", 60).to_string());
            assert!(guard.verify(&token).await.is_ok(), "{of_key:?} {of_token}");
        }
        for other in ["Ed448", "ed25519", "ES256"] {
            let header = json!({ "alg": other, "kid": "ed" }).to_string();
            let token = signer.raw(header, claims("ada", 60).to_string());
            let result = guard.verify(&token).await;
            assert_eq!(result.err(), Some(Rejection::Algorithm), "{other}");
        }
    }
}

#[tokio::test]
async fn a_kid_is_needed_by_neither_keys_nor_tokens() {
    let a = ed("a");
    let b = ed("b");
    let c = ec("ES256");
    let stranger = ed("a");
    let jwks = [renamed(&a, Some("a")), renamed(&b, None), renamed(&c, None)];
    let guard = guard_of(Keys::list(jwks).unwrap());
    let rows = [
        ("a key by its name", named(&a, Some("a")), Ok(())),
        ("a key with a name, unnamed", named(&a, None), Ok(())),
        ("a nameless key, unnamed", named(&b, None), Ok(())),
        ("a nameless key of another kind", named(&c, None), Ok(())),
        ("a nameless key by any name", named(&b, Some("x")), Ok(())),
        ("a nameless key by the name of another", named(&b, Some("a")), Ok(())),
        ("the same of another kind", named(&c, Some("a")), Ok(())),
        ("a key by another name", named(&a, Some("x")), Err(Rejection::UnknownKey)),
        ("a stranger under a name", named(&stranger, Some("a")), Err(Rejection::Signature)),
        ("a stranger", named(&stranger, None), Err(Rejection::UnknownKey)),
        ("no key of the kind", named(&rsa("RS256"), None), Err(Rejection::UnknownKey)),
        ("the same under a name", named(&rsa("RS256"), Some("a")), Err(Rejection::Algorithm)),
    ];
    for (name, token, expected) in rows {
        assert_eq!(guard.verify(&token).await.map(|_| ()), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_tokens_leaves_each_token_16_keys() {
    let signers: Vec<_> = (0..30).map(|number| ed(&number.to_string())).collect();
    let jwks = signers.iter().map(|signer| renamed(signer, None));
    let guard = guard_of(Keys::list(jwks).unwrap());
    let accepts = async |index: usize, subject: &str| {
        let token = signers[index].raw(r#"{"alg":"EdDSA"}"#, claims(subject, 60).to_string());
        guard.verify(&token).await.is_ok()
    };
    assert!(accepts(29, "ada").await, "all are tried");
    let stranger = ed("stranger");
    let forged = named(&stranger, None);
    // Each token takes 14 checks beyond the first 16.
    for _ in 0..1000 / 14 + 1 {
        assert_eq!(guard.verify(&forged).await.err(), Some(Rejection::UnknownKey));
    }
    assert!(accepts(29, "ada").await, "it is known");
    assert!(accepts(15, "eve").await);
    assert!(!accepts(16, "eve").await);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert!(accepts(16, "eve").await && accepts(29, "eve").await);
}

#[test]
fn a_key_of_a_list_that_is_of_no_use_is_an_error() {
    let rsa = rsa("RS256");
    let ec = ec("ES256");
    let ed = ed("ed");
    let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let rows: [(&Signer, Value, KeyError); 17] = [
        (&rsa, json!({ "kty": "oct", "k": "c2VjcmV0" }), KeyError::Type("oct".into())),
        (&rsa, json!({ "kty": "rsa" }), KeyError::Type("rsa".into())),
        (&rsa, json!({ "use": "enc" }), KeyError::Use("enc".into())),
        (&rsa, json!({ "key_ops": ["sign"] }), KeyError::Operations),
        (&rsa, json!({ "alg": "ES256" }), KeyError::Algorithm("ES256".into())),
        (&rsa, json!({ "alg": "HS256" }), KeyError::Algorithm("HS256".into())),
        (&rsa, json!({ "alg": "none" }), KeyError::Algorithm("none".into())),
        (&rsa, json!({ "alg": "RSA-OAEP" }), KeyError::Algorithm("RSA-OAEP".into())),
        (&ec, json!({ "alg": "ES384" }), KeyError::Algorithm("ES384".into())),
        (&rsa, json!({ "n": null }), KeyError::Missing("n")),
        (&rsa, json!({ "n": "…" }), KeyError::Encoding("n")),
        (&rsa, json!({ "n": small }), KeyError::Size(1024)),
        (&rsa, json!({ "e": "Ag" }), KeyError::Numbers),
        (&ec, json!({ "crv": "secp256k1" }), KeyError::Curve("secp256k1".into())),
        (&ec, json!({ "y": ec.public["x"] }), KeyError::Numbers),
        (&ed, json!({ "crv": null }), KeyError::Missing("crv")),
        (&ed, json!({ "x": "AAAA" }), KeyError::Numbers),
    ];
    for (signer, change, reason) in rows {
        let mut jwk = signer.public.clone();
        let members = jwk.as_object_mut().unwrap();
        members.extend(change.as_object().unwrap().clone());
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        let kid = jwk.kid.clone().unwrap_or("1".to_owned());
        let error = Keys::list([jwk]).expect_err(&change.to_string());
        assert_eq!(error, Error::Key { kid, reason }, "{change}");
    }
    let mut nameless = rsa.jwk();
    (nameless.kid, nameless.alg) = (None, Some("\u{1b}[31mRS\n".repeat(20)));
    let error = Keys::list([rsa.jwk(), rsa.jwk(), nameless]).unwrap_err();
    assert_eq!(error.to_string(), "key `3` is not usable");
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.starts_with(r"its `alg` `\u{1b}[31mRS\n\u{1b}[31mRS\n"), "{reason}");
    assert!(reason.contains('…') && reason.chars().count() < 400, "{reason}");
}

#[tokio::test]
async fn the_sizes_of_rsa_that_are_accepted_reach_from_2048_to_8192_bits() {
    for (bytes, bits) in [(255, 2040), (1025, 8200)] {
        let mut jwk = rsa("RS256").jwk();
        jwk.n = Some(URL_SAFE_NO_PAD.encode(vec![0xff; bytes]));
        let reason = KeyError::Size(bits);
        assert_eq!(Keys::list([jwk]).unwrap_err(), Error::Key { kid: "rsa".to_owned(), reason });
    }
    let mut jwk = rsa("RS256").jwk();
    jwk.n = Some(URL_SAFE_NO_PAD.encode(vec![0xff; 1024]));
    assert!(Keys::list([jwk]).is_ok());
}

#[tokio::test]
async fn without_keys_nothing_is_good() {
    let signer = ed("ed");
    let options = options_of(Keys::list([]).unwrap()).issuer("x");
    assert!(!format!("{options:?}").contains("sign"));
    let guard = Guard::new(options);
    assert!(!format!("{guard:?}").contains("sign"));
    let result = guard.verify(&signer.token(&claims("ada", 60))).await;
    assert_eq!(result.err(), Some(Rejection::UnknownKey));
}

#[tokio::test]
async fn a_verified_token_is_kept_until_it_expires() {
    let signer = ed("ed");
    let guard = guard(&signer);
    let token = signer.token(&claims("ada", 60));
    let first = guard.verify(&token).await.unwrap();
    let second = guard.clone().verify(&token).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));

    let other = Guard::new(options(&signer).issuer("https://auth")).verify(&token).await.unwrap();
    assert!(!std::sync::Arc::ptr_eq(&first, &other), "another guard has another cache");
}

#[test]
fn the_url_of_a_key_set_is_absolute() {
    for text in ["/keys", "ftp://auth/keys", "auth", "*"] {
        let uri: http::Uri = text.parse().unwrap();
        let error = Keys::url_with(uri, Script::default()).unwrap_err();
        assert_eq!(error, Error::Url(text.to_owned()), "{text}");
    }
    let uri = http::Uri::from_static("https://auth/keys");
    assert!(Keys::url_with(uri, Script::default()).is_ok());
}
