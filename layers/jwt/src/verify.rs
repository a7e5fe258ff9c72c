//! When a token is good. No clock, no cache: the time and the keys are given.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    Rejection, Token,
    algorithm::Algorithm,
    claims,
    json::{self, JsonError},
    key_set::KeySet,
    rejection::Part,
    token::{NEVER, Wanted},
};

/// What a guard demands of a token.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) leeway: i64,
    pub(crate) without_expiry: bool,
    pub(crate) token_limit: usize,
    pub(crate) wanted: Wanted,
}

pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    rules: &Rules,
    now: i64,
) -> Result<Token, Rejection> {
    if token.len() > rules.token_limit {
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
    let kid = header.get("kid").and_then(Value::as_str).ok_or(Rejection::NoKeyId)?;
    let key = keys.find(kid, algorithm)?;
    let signature = decode(signature, Part::Signature)?;
    if !key.verifies(algorithm, message.as_bytes(), signature) {
        return Err(Rejection::Signature);
    }
    let claims = object(payload, Part::Payload)?;
    let (from, until) = accepted(&claims, rules)?;
    let token = Token::new(claims, &rules.wanted, from, until);
    token.check(now)?;
    Ok(token)
}

/// From when until when these claims are what the rules demand.
fn accepted(claims: &Map<String, Value>, rules: &Rules) -> Result<(i64, i64), Rejection> {
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
    let wanted = |known: &&str| rules.audience.iter().any(|wanted| wanted == known);
    if !rules.audience.is_empty() && !audience.iter().any(wanted) {
        return Err(Rejection::Audience);
    }
    let from = date("nbf")?.map_or(i64::MIN, |from| from.saturating_sub(rules.leeway));
    let until = match date("exp")? {
        // A date beyond the end of time is as good as none, and yet there was one.
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
        JsonError::NoObject => Rejection::Json(part),
        JsonError::Duplicate => Rejection::Duplicate(part),
    })
}

/// No padding, no other alphabet, and no bits that the last character has too many: one text for
/// each sequence of bytes.
fn decode(text: &str, part: Part) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejection::Base64(part))
}
