//! Tokens that look valid and are not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tailwater_jwt::{Guard, Keys, Part, Rejection};

use crate::support::{NOW, Signer, claims, ec, ed, guard, guard_of, options, options_of, rsa};

fn good() -> Value {
    claims("ada", 60)
}

fn with(change: Value) -> Value {
    let mut claims = good();
    let members = claims.as_object_mut().expect("an object");
    members.extend(change.as_object().expect("an object").clone());
    members.retain(|_, value| *value != json!("REMOVED"));
    claims
}

/// Signed by a key of a kind that the guard does not have.
fn confused_kind(claims: &Value) -> String {
    ec("ES512").raw(r#"{"alg":"ES512"}"#, claims.to_string())
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts.try_into().expect("three")
}

#[tokio::test]
async fn a_forged_token_is_rejected_and_the_reason_is_known() {
    let other = ed("other");
    let rsa = rsa("RS256");
    let ec = ec("ES256");
    let ed = ed("ed");
    let stranger = crate::support::ed("ed");
    let jwks = [&rsa, &ec, &ed, &other].map(Signer::jwk);
    let options = options_of(Keys::list(jwks).unwrap())
        .issuer("https://auth")
        .audience(["https://api", "https://other"]);
    let guard = Guard::new(options);
    let good = || with(json!({ "aud": "https://api" }));
    assert!(guard.verify(&ed.token(&good())).await.is_ok());
    assert!(guard.verify(&rsa.token(&good())).await.is_ok());

    let head = |header: Value| ed.raw(header.to_string(), good().to_string());
    let claim = |change: Value| {
        let mut claims = with(change);
        if claims.get("aud").is_none() {
            claims["aud"] = json!("https://api");
        }
        ed.token(&claims)
    };
    let payload = |text: &str| ed.raw(r#"{"alg":"EdDSA","kid":"ed"}"#, text);
    let [header, body, signature] = parts(&ed.token(&good()));
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);

    let public = rsa.public["n"].as_str().unwrap();
    let confused = |algorithm| {
        let mut header = Header::new(algorithm);
        header.kid = Some("rsa".to_owned());
        let secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(public).unwrap());
        encode(&header, &good(), &secret).unwrap()
    };
    let elsewhere = {
        let [_, other, _] = parts(&ed.token(&with(json!({ "sub": "eve", "aud": "https://api" }))));
        format!("{header}.{other}.{signature}")
    };
    // 64 bytes are 86 characters, of which the last has four bits too many.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let trailing = format!("{}{next}", signature.strip_suffix(last).unwrap());
    let nested = r#"{"sub":"ada","realm":{"roles":["a"],"roles":["b"]},"exp":1000000060}"#;
    let long = claim(json!({ "long": "x".repeat(16 << 10) }));

    use Part::{Header as H, Payload as P, Signature as S};
    use Rejection as R;
    let rows: Vec<(&str, String, Rejection)> = vec![
        ("none", format!("{}.{body}.", encoded(br#"{"alg":"none","kid":"ed"}"#)), R::Algorithm),
        ("None", format!("{}.{body}.", encoded(br#"{"alg":"None","kid":"ed"}"#)), R::Algorithm),
        ("none, signed", head(json!({ "alg": "none", "kid": "ed" })), R::Algorithm),
        ("no alg", head(json!({ "kid": "ed" })), R::Algorithm),
        ("alg is a list", head(json!({ "alg": ["EdDSA"], "kid": "ed" })), R::Algorithm),
        ("alg in lower case", head(json!({ "alg": "eddsa", "kid": "ed" })), R::Algorithm),
        ("HS256 by the public key", confused(Algorithm::HS256), R::Algorithm),
        ("HS384 by the public key", confused(Algorithm::HS384), R::Algorithm),
        ("HS512 by the public key", confused(Algorithm::HS512), R::Algorithm),
        ("EdDSA under the kid of RSA", head(json!({ "alg": "EdDSA", "kid": "rsa" })), R::Algorithm),
        ("EdDSA as RS256", head(json!({ "alg": "RS256", "kid": "rsa" })), R::Signature),
        (
            "RS256 under the kid of EC",
            rsa.raw(r#"{"alg":"RS256","kid":"ES256"}"#, good().to_string()),
            R::Algorithm,
        ),
        (
            "RS256 as PS256",
            rsa.raw(r#"{"alg":"PS256","kid":"rsa"}"#, good().to_string()),
            R::Signature,
        ),
        (
            "by another key of the set",
            head(json!({ "alg": "EdDSA", "kid": "other" })),
            R::Signature,
        ),
        ("by a stranger", stranger.token(&good()), R::Signature),
        (
            "a key of its own",
            head(json!({ "alg": "EdDSA", "kid": "mine", "jwk": stranger.public })),
            R::UnknownKey,
        ),
        ("no kid", stranger.raw(r#"{"alg":"EdDSA"}"#, good().to_string()), R::UnknownKey),
        ("kid is null", stranger.raw(r#"{"alg":"EdDSA","kid":null}"#, "{}"), R::UnknownKey),
        ("no kid, and no key of its kind", confused_kind(&good()), R::UnknownKey),
        ("kid is a number", head(json!({ "alg": "EdDSA", "kid": 1 })), R::KeyId),
        ("kid is a list", head(json!({ "alg": "EdDSA", "kid": ["ed"] })), R::KeyId),
        ("unknown kid", head(json!({ "alg": "EdDSA", "kid": "ED" })), R::UnknownKey),
        (
            "crit",
            head(json!({ "alg": "EdDSA", "kid": "ed", "crit": ["exp"], "exp": 1 })),
            R::Critical,
        ),
        ("empty crit", head(json!({ "alg": "EdDSA", "kid": "ed", "crit": [] })), R::Critical),
        (
            "two alg",
            ed.raw(r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#, good().to_string()),
            R::Duplicate(H),
        ),
        ("two sub", payload(r#"{"sub":"ada","sub":"eve","exp":1000000060}"#), R::Duplicate(P)),
        (
            "two sub, one escaped",
            payload(r#"{"sub":"ada","\u0073ub":"eve","exp":1000000060}"#),
            R::Duplicate(P),
        ),
        ("two roles within", payload(nested), R::Duplicate(P)),
        ("header is a list", ed.raw("[]", good().to_string()), R::Json(H)),
        ("payload is a list", payload("[]"), R::Json(P)),
        ("payload is no JSON", payload("ada"), R::Json(P)),
        ("payload and more", payload("{} {}"), R::Json(P)),
        (
            "payload is no UTF-8",
            ed.raw(r#"{"alg":"EdDSA","kid":"ed"}"#, b"{\"sub\":\"\xff\"}"),
            R::Json(P),
        ),
        ("empty", String::new(), R::Parts),
        ("one part", header.clone(), R::Parts),
        ("two parts", format!("{header}.{body}"), R::Parts),
        ("four parts", format!("{header}.{body}.{signature}."), R::Parts),
        ("five parts", format!("{header}.{body}.{body}.{body}.{signature}"), R::Parts),
        ("no header", format!(".{body}.{signature}"), R::Json(H)),
        ("no signature", format!("{header}.{body}."), R::Signature),
        (
            "half a signature",
            format!("{header}.{body}.{}", signature.get(..44).unwrap()),
            R::Signature,
        ),
        ("signature of zeros", format!("{header}.{body}.{}", encoded(&[0; 64])), R::Signature),
        ("signature of other claims", elsewhere, R::Signature),
        ("padded header", format!("{header}=.{body}.{signature}"), R::Base64(H)),
        ("padded signature", format!("{header}.{body}.{signature}=="), R::Base64(S)),
        ("another text of the signature", format!("{header}.{body}.{trailing}"), R::Base64(S)),
        (
            "plain base64",
            format!("{header}.{body}.{}+/", signature.get(..84).unwrap()),
            R::Base64(S),
        ),
        ("space before", format!(" {header}.{body}.{signature}"), R::Base64(H)),
        ("line end after", format!("{header}.{body}.{signature}\n"), R::Base64(S)),
        ("too long", long, R::TooLong),
        ("exp is a text", claim(json!({ "exp": "9999999999" })), R::ClaimType("exp")),
        ("exp is null", claim(json!({ "exp": null })), R::ClaimType("exp")),
        ("exp is true", claim(json!({ "exp": true })), R::ClaimType("exp")),
        ("exp is a list", claim(json!({ "exp": [NOW + 1] })), R::ClaimType("exp")),
        ("no exp", claim(json!({ "exp": "REMOVED" })), R::NoExpiry),
        ("exp is now", claim(json!({ "exp": NOW })), R::Expired),
        ("exp is before 1970", claim(json!({ "exp": -1 })), R::Expired),
        ("exp is before time", claim(json!({ "exp": -1e300 })), R::Expired),
        ("nbf is a text", claim(json!({ "nbf": "0" })), R::ClaimType("nbf")),
        ("nbf is to come", claim(json!({ "nbf": NOW + 30 })), R::NotYetValid),
        ("nbf is after time", claim(json!({ "nbf": u64::MAX })), R::NotYetValid),
        ("sub is a number", claim(json!({ "sub": 1 })), R::ClaimType("sub")),
        ("iss is a list", claim(json!({ "iss": ["https://auth"] })), R::ClaimType("iss")),
        ("no iss", claim(json!({ "iss": "REMOVED" })), R::Issuer),
        ("another iss", claim(json!({ "iss": "https://auth/" })), R::Issuer),
        ("no aud", ed.token(&crate::support::claims("ada", 60)), R::Audience),
        ("another aud", claim(json!({ "aud": "https://apis" })), R::Audience),
        ("no aud in the list", claim(json!({ "aud": [] })), R::Audience),
        ("aud is a number", claim(json!({ "aud": 1 })), R::ClaimType("aud")),
        ("a number in aud", claim(json!({ "aud": ["https://api", 1] })), R::ClaimType("aud")),
        ("aud is an object", claim(json!({ "aud": { "https://api": 1 } })), R::ClaimType("aud")),
    ];
    for (name, token, rejection) in rows {
        let result = guard.verify(&token).await;
        assert_eq!(result.as_ref().err(), Some(&rejection), "{name}: {result:?}");
        let again = guard.verify(&token).await;
        assert_eq!(again.err(), Some(rejection), "{name}, again");
        // The text for the operator contains no part of the token.
        assert!(!rejection.to_string().contains("ada"), "{name}: {rejection}");
    }
}

#[tokio::test]
async fn an_ecdsa_signature_in_der_is_rejected() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let point = &pair.public_key_raw()[1..];
    let jwk = serde_json::from_value(json!({
        "kty": "EC", "crv": "P-256", "kid": "k",
        "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..]),
    }));
    let guard = guard_of(Keys::list([jwk.unwrap()]).unwrap());
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"k"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(good().to_string()));
    let signature = rcgen::SigningKey::sign(&pair, message.as_bytes()).unwrap();
    assert_eq!(signature[0], 0x30, "a sequence");
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(guard.verify(&token).await.err(), Some(Rejection::Signature));
}

#[tokio::test]
async fn no_other_character_at_any_place_leaves_a_token_good() {
    let signer = ed("ed");
    let guard = guard(&signer);
    let token = signer.token(&good());
    assert!(guard.verify(&token).await.is_ok(), "and is cached now");
    for (place, character) in token.char_indices() {
        for other in ['A', 'B', 'g', '_', '.', '=', ' '] {
            let forged: String = token
                .char_indices()
                .map(|(at, known)| if at == place { other } else { known })
                .collect();
            let result = guard.verify(&forged).await;
            assert_eq!(result.is_ok(), other == character, "{other} at {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_from_nbf_until_just_before_exp() {
    let signer = ed("ed");
    let guard = guard(&signer);
    let token = signer.token(&with(json!({ "nbf": NOW + 10, "exp": NOW as f64 + 20.5 })));
    for (step, good) in [(9_999, false), (1, true), (10_499, true), (1, false)] {
        tokio::time::advance(Duration::from_millis(step)).await;
        assert_eq!(guard.verify(&token).await.is_ok(), good, "{step} ms later");
    }
}

#[tokio::test(start_paused = true)]
async fn leeway_moves_both_ends() {
    let signer = ed("ed");
    let guard = Guard::new(options(&signer).leeway(Duration::from_secs(5)));
    let token = signer.token(&with(json!({ "nbf": NOW + 5, "exp": NOW + 10 })));
    assert!(guard.verify(&token).await.is_ok());
    tokio::time::advance(Duration::from_millis(14_999)).await;
    assert!(guard.verify(&token).await.is_ok());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(guard.verify(&token).await.err(), Some(Rejection::Expired));

    // The sum of a date in a token and the leeway does not overflow.
    let guard = Guard::new(options(&signer).leeway(Duration::MAX));
    for (nbf, exp) in [(json!(i64::MAX), json!(i64::MAX)), (json!(i64::MIN), json!(-1e308))] {
        let _ = guard.verify(&signer.token(&with(json!({ "nbf": nbf, "exp": exp })))).await;
    }
}

#[tokio::test]
async fn a_token_without_expiry_is_good_where_the_guard_says_so() {
    let signer = ed("ed");
    let token = signer.token(&with(json!({ "exp": "REMOVED" })));
    assert_eq!(guard(&signer).verify(&token).await.err(), Some(Rejection::NoExpiry));
    let lenient = Guard::new(options(&signer).without_expiry(true));
    let token = lenient.verify(&token).await.unwrap();
    assert_eq!(token.expiry(), None);
    let far = signer.token(&with(json!({ "exp": 1e300 })));
    assert!(guard(&signer).verify(&far).await.is_ok());
}

#[tokio::test]
async fn the_limit_of_a_token_is_exact() {
    let signer = ed("ed");
    let token = signer.token(&good());
    let fits = Guard::new(options(&signer).max_token_bytes(token.len()));
    assert!(fits.verify(&token).await.is_ok());
    let small = Guard::new(options(&signer).max_token_bytes(token.len() - 1));
    assert_eq!(small.verify(&token).await.err(), Some(Rejection::TooLong));
}

#[tokio::test]
async fn claims_are_found_by_name_and_by_path() {
    let signer = ed("ed");
    let token = signer.token(&with(json!({
        "scope": "a  b\tc", "aud": ["x", "https://api"], "n": 7, "deep": { "er": { "x": true } },
        "https://example.com/roles": ["admin", 1, "ops"], "a.b": "whole", "a": { "b": "path" },
        "list": ["not", "a", "text"], "empty": "",
    })));
    let options = options(&signer)
        .audience(["https://api"])
        .roles("https://example.com/roles")
        .identity("n")
        .attributes([
            ("x", "deep.er.x"),
            ("dotted", "a.b"),
            ("list", "list"),
            ("empty", "empty"),
            ("none", "no.ne"),
        ]);
    let token = Guard::new(options).verify(&token).await.unwrap();
    assert_eq!(token.roles(), ["admin", "ops"]);
    assert!(token.has_roles(&["ops", "admin"]) && token.has_roles::<&str>(&[]));
    assert!(!token.has_roles(&["admin", "other"]));
    assert_eq!((token.identity(), token.subject()), (Some("7"), Some("ada")));
    assert_eq!(token.issuer(), Some("https://auth"));
    let attribute = |name| token.attribute(name);
    assert_eq!(attribute("x"), Some("true"));
    assert_eq!(attribute("dotted"), Some("whole"));
    assert_eq!(attribute("empty"), Some(""));
    assert_eq!((attribute("list"), attribute("none"), attribute("other")), (None, None, None));
    assert_eq!(token.claim("deep.er"), Some(&json!({ "x": true })));
    assert!(!format!("{token:?}").contains("ada"));

    let guard = guard(&signer);
    let split = signer.token(&with(json!({ "scope": "a  b\tc" })));
    assert_eq!(guard.verify(&split).await.unwrap().roles(), ["a", "b", "c"]);
    for nothing in [json!(7), json!(null), json!({ "a": "b" }), json!("")] {
        let token = signer.token(&with(json!({ "scope": nothing })));
        assert!(guard.verify(&token).await.unwrap().roles().is_empty());
    }
}
