//! Verifies a token. A pure function: the caller passes the time and the keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::keys::algorithm::Algorithm;
use crate::keys::set::KeySet;
use crate::rejection::Part;
use crate::token::json::{self, JsonError};
use crate::token::{ClaimPaths, NEVER, claims};
use crate::{Rejection, Token};

/// The requirements of a guard on a token. `leeway` is in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) leeway: i64,
    pub(crate) without_expiry: bool,
    pub(crate) max_token_bytes: usize,
    pub(crate) claim_paths: ClaimPaths,
}

/// `checks` is the number of keys that may be tried. The function replaces it by the number of keys that
/// it has tried.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    rules: &Rules,
    now: i64,
    checks: &mut usize,
) -> Result<Token, Rejection> {
    let allowed = std::mem::take(checks);
    if token.len() > rules.max_token_bytes {
        return Err(Rejection::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Parts)?;
    let (header, payload) = message.split_once('.').ok_or(Rejection::Parts)?;
    if payload.contains('.') {
        return Err(Rejection::Parts);
    }
    let header = object(header, Part::Header)?;
    if header.contains_key("crit") {
        return Err(Rejection::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
    let algorithm = algorithm.ok_or(Rejection::Algorithm)?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(kid) => Some(kid.as_str().ok_or(Rejection::KeyId)?),
    };
    let signature = decode(signature, Part::Signature)?;
    let mut candidates = keys.candidates(kid, algorithm).take(allowed);
    let verified = candidates.any(|key| {
        *checks += 1;
        key.verifies(algorithm, message.as_bytes(), &signature)
    });
    if !verified {
        return Err(match kid.is_some_and(|kid| keys.has(kid)) {
            false => Rejection::UnknownKey,
            true if *checks > 0 => Rejection::Signature,
            true => Rejection::Algorithm,
        });
    }
    let claims = object(payload, Part::Payload)?;
    let (from, until) = validity(&claims, rules)?;
    let token = Token::new(claims, &rules.claim_paths, from, until);
    token.check(now)?;
    Ok(token)
}

/// The validity period of the claims, if they fulfil the rules.
fn validity(claims: &Map<String, Value>, rules: &Rules) -> Result<(i64, i64), Rejection> {
    let date = |name| match claims.get(name) {
        None => Ok(None),
        Some(value) => claims::milliseconds(value).map(Some).ok_or(Rejection::ClaimType(name)),
    };
    let text = |name| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Rejection::ClaimType(name)),
    };
    text("sub")?;
    let issuer = text("iss")?;
    if rules.issuer.is_some() && rules.issuer.as_deref() != issuer {
        return Err(Rejection::Issuer);
    }
    let audience = audience(claims.get("aud"))?;
    let accepted = |claimed: &&str| rules.audience.iter().any(|accepted| accepted == claimed);
    if !rules.audience.is_empty() && !audience.iter().any(accepted) {
        return Err(Rejection::Audience);
    }
    let from = date("nbf")?.map_or(i64::MIN, |from| from.saturating_sub(rules.leeway));
    let until = match date("exp")? {
        // A date after the last one that i64 can express counts as that one.
        Some(until) => until.saturating_add(rules.leeway),
        None if rules.without_expiry => NEVER,
        None => return Err(Rejection::NoExpiry),
    };
    Ok((from, until))
}

fn audience(claim: Option<&Value>) -> Result<Vec<&str>, Rejection> {
    let texts = match claim {
        None => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![&**one]),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    texts.ok_or(Rejection::ClaimType("aud"))
}

fn object(text: &str, part: Part) -> Result<Map<String, Value>, Rejection> {
    json::object(&decode(text, part)?).map_err(|error| match error {
        JsonError::NotAnObject => Rejection::Json(part),
        JsonError::Duplicate => Rejection::Duplicate(part),
    })
}

/// Accepts exactly one text for each sequence of bytes: no padding, no other alphabet, no unused bits in
/// the last character.
fn decode(text: &str, part: Part) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejection::Base64(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guard::check_budget::CHECKS_PER_TOKEN;
    use crate::keys::Source;
    use crate::{Jwk, Keys};

    /// The example tokens of the RFCs with a shared secret, without a signature, and with `crit`.
    #[test]
    fn the_tokens_of_the_standards_that_are_not_by_a_public_key_are_rejected() {
        let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let rows = [
            (
                "RFC 7519, 3.1",
                format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{claims}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
                Rejection::Algorithm,
            ),
            ("RFC 7519, 6.1", format!("eyJhbGciOiJub25lIn0.{claims}."), Rejection::Algorithm),
            (
                "RFC 7515, E",
                "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.".to_owned(),
                Rejection::Critical,
            ),
        ];
        for (source, token, rejection) in rows {
            let result = verify(&token, &keys(), &rules(), 0, &mut CHECKS_PER_TOKEN.clone());
            assert_eq!(result.err(), Some(rejection), "{source}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_nobody_signed_is_never_good(text in "\\PC{0,80}", parts in prop::array::uniform3("[A-Za-z0-9_-]{0,60}")) {
            prop_assert!(verify(&text, &keys(), &rules(), 0, &mut CHECKS_PER_TOKEN.clone()).is_err());
            prop_assert!(verify(&parts.join("."), &keys(), &rules(), 0, &mut CHECKS_PER_TOKEN.clone()).is_err());
        }

        #[test]
        fn a_part_has_one_text_only(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[A-Za-z0-9_-]{0,8}") {
            let encoded = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(decode(&encoded, Part::Header), Ok(bytes));
            if let Ok(decoded) = decode(&text, Part::Header) {
                prop_assert_eq!(URL_SAFE_NO_PAD.encode(decoded), text);
            }
        }
    }

    fn keys() -> std::sync::Arc<KeySet> {
        let jwk: Jwk = serde_json::from_str(
            r#"{"kty":"OKP","kid":"k","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        )
        .unwrap();
        let Source::List(keys) = Keys::list([jwk]).unwrap().0 else { panic!("a list") };
        keys
    }

    fn rules() -> Rules {
        Rules {
            issuer: None,
            audience: Vec::new(),
            leeway: 0,
            without_expiry: true,
            max_token_bytes: 16 << 10,
            claim_paths: ClaimPaths {
                roles: "scope".to_owned(),
                identity: "sub".to_owned(),
                attributes: Vec::new(),
            },
        }
    }
}
