use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use crate::keys::algorithm::{Algorithm, Kind};
use crate::{Jwk, KeyError};

/// Keys are decoded leniently, as people write them. Tokens are decoded strictly.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A public key for signatures.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) kid: Option<Box<str>>,
    kind: Kind,
    /// The only algorithm, if the key names one.
    algorithm: Option<Algorithm>,
    public_key: PublicKey,
}

#[derive(Debug)]
enum PublicKey {
    Jsonwebtoken(DecodingKey),
    /// For ES512. jsonwebtoken does not support it, aws-lc-rs does.
    P521(ParsedPublicKey),
}

impl Key {
    pub(crate) fn new(jwk: &Jwk) -> Result<Self, KeyError> {
        if let Some(other) = jwk.r#use.as_ref().filter(|usage| *usage != "sig") {
            return Err(KeyError::Use(other.clone()));
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err(KeyError::Operations);
        }
        let kind = kind(jwk)?;
        let algorithm = match &jwk.alg {
            None => None,
            Some(name) => match Algorithm::named(name) {
                Some(algorithm) if algorithm.kind() == kind => Some(algorithm),
                _ => return Err(KeyError::Algorithm(name.clone())),
            },
        };
        let kid = jwk.kid.as_deref().map(Into::into);
        Ok(Self { kid, kind, algorithm, public_key: public_key(jwk, kind)? })
    }

    pub(crate) fn accepts(&self, algorithm: Algorithm) -> bool {
        match self.algorithm {
            Some(only) => only == algorithm,
            None => algorithm.kind() == self.kind,
        }
    }

    /// Whether this key made `signature` over `message`.
    pub(crate) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        match (&self.public_key, algorithm.for_jsonwebtoken()) {
            (PublicKey::Jsonwebtoken(key), Some(algorithm)) => {
                // The provider of this crate, not the one that is installed for the process.
                (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key)
                    .is_ok_and(|verifier| holds(&*verifier, message, signature))
            }
            (PublicKey::P521(key), None) => key.verify_sig(message, signature).is_ok(),
            _ => false,
        }
    }
}

fn holds(verifier: &dyn JwtVerifier, message: &[u8], signature: &Vec<u8>) -> bool {
    verifier.verify(message, signature).is_ok()
}

fn kind(jwk: &Jwk) -> Result<Kind, KeyError> {
    match (&*jwk.kty, jwk.crv.as_deref()) {
        ("RSA", _) => Ok(Kind::Rsa),
        ("EC", Some("P-256")) => Ok(Kind::P256),
        ("EC", Some("P-384")) => Ok(Kind::P384),
        ("EC", Some("P-521")) => Ok(Kind::P521),
        ("OKP", Some("Ed25519")) => Ok(Kind::Ed25519),
        ("EC" | "OKP", Some(other)) => Err(KeyError::Curve(other.to_owned())),
        ("EC" | "OKP", None) => Err(KeyError::Missing("crv")),
        (other, _) => Err(KeyError::Type(other.to_owned())),
    }
}

/// Checks the numbers as well: jsonwebtoken does so only when it verifies a signature.
fn public_key(jwk: &Jwk, kind: Kind) -> Result<PublicKey, KeyError> {
    let (algorithm, coordinate): (&'static _, usize) = match kind {
        Kind::Rsa => return rsa(jwk),
        Kind::Ed25519 => {
            let x = decode("x", jwk.x.as_deref())?;
            ParsedPublicKey::new(&ED25519, &x).map_err(|_| KeyError::Numbers)?;
            return Ok(PublicKey::Jsonwebtoken(DecodingKey::from_ed_der(&x)));
        }
        Kind::P256 => (&ECDSA_P256_SHA256_FIXED, 32),
        Kind::P384 => (&ECDSA_P384_SHA384_FIXED, 48),
        Kind::P521 => (&ECDSA_P521_SHA512_FIXED, 66),
    };
    let mut point = vec![4]; // uncompressed (SEC 1, 2.3.3)
    for (name, value) in [("x", &jwk.x), ("y", &jwk.y)] {
        let number = without_zeros(decode(name, value.as_deref())?);
        let missing = coordinate.checked_sub(number.len()).ok_or(KeyError::Numbers)?;
        point.resize(point.len() + missing, 0);
        point.extend(number);
    }
    let parsed = ParsedPublicKey::new(algorithm, &point).map_err(|_| KeyError::Numbers)?;
    Ok(match kind {
        Kind::P521 => PublicKey::P521(parsed),
        _ => PublicKey::Jsonwebtoken(DecodingKey::from_ec_der(&point)),
    })
}

fn rsa(jwk: &Jwk) -> Result<PublicKey, KeyError> {
    let n = without_zeros(decode("n", jwk.n.as_deref())?);
    let e = without_zeros(decode("e", jwk.e.as_deref())?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(KeyError::Size(bits));
    }
    // aws-lc-rs accepts an odd exponent of at least 3 and at most 33 bits.
    let exponent = e.iter().try_fold(0_u64, |value, byte| {
        Some(value << 8 | u64::from(*byte)).filter(|value| value >> 33 == 0)
    });
    if exponent.is_none_or(|exponent| exponent < 3 || exponent % 2 == 0) {
        return Err(KeyError::Numbers);
    }
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| KeyError::Numbers)?;
    Ok(PublicKey::Jsonwebtoken(DecodingKey::from_rsa_raw_components(&n, &e)))
}

fn decode(name: &'static str, value: Option<&str>) -> Result<Vec<u8>, KeyError> {
    let value = value.ok_or(KeyError::Missing(name))?;
    let value = value.replace('+', "-").replace('/', "_");
    LENIENT.decode(value).map_err(|_| KeyError::Encoding(name))
}

fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

#[cfg(test)]
mod tests;
