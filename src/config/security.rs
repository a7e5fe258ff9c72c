//! `vaults` and `guards`.

use std::time::Duration;

use super::decode::{Cx, Map, Value};
use super::diagnostic::Span;
use super::http::seconds;
use super::kafka::Secret;
use super::support::Feature;

/// An entry of `vaults`, of type `filesystem`: keys and certificates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Vault {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `options.keys`: keys with their certificates. Default: none.
    pub keys: Option<Store>,
    /// `options.trust`: certificates that are trusted. Default: none.
    pub trust: Option<Store>,
    /// `options.signers`: certificate authorities. Default: none.
    pub signers: Option<Store>,
    /// `options.revocation: crl`: whether revocation lists of the store are looked at. Default: no.
    pub revocation: bool,
}

/// A PKCS#12 store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    /// `store`: the file, relative to the configuration file. Required.
    pub store: String,
    /// `password`. Default: none.
    pub password: Option<Secret>,
    /// `entries`: the aliases that count. Default: all.
    pub entries: Option<Vec<String>>,
}

/// An entry of `guards`, of type `jwt`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `options.issuer`: what `iss` must be. Default: anything.
    pub issuer: Option<String>,
    /// `options.audience`: what `aud` must contain. Default: anything.
    pub audience: Option<String>,
    /// `options.keys`: the keys that sign. Default: those of the issuer, at
    /// `<issuer>/.well-known/jwks.json`.
    pub keys: Option<GuardKeys>,
    /// `options.roles`: the claim that has the roles, a dotted path. Default: `scope`.
    pub roles: String,
    /// `options.identity`: the claim that says who it is. Default: `sub`.
    pub identity: String,
    /// `options.attributes`: names and the claims that they stand for. Default: none.
    pub attributes: Vec<(String, String)>,
    /// `options.challenge`, in seconds: how long before its expiry a session is challenged.
    /// Default: never.
    pub challenge: Option<Duration>,
}

/// The keys of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKeys {
    /// The URL of a key set.
    Url(String),
    /// The keys themselves.
    List(Vec<Jwk>),
}

/// A public key, as JSON Web Key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jwk {
    /// Where it stands.
    pub span: Span,
    /// `kid`: its name. Required.
    pub kid: String,
    /// `alg`: the algorithm. Default: the family that follows from the kind of key.
    pub alg: Option<String>,
    /// The numbers of the key.
    pub key: JwkKey,
}

/// The numbers of a public key, as base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwkKey {
    /// `kty: RSA`
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// `kty: EC`
    Ec {
        /// The curve, as `P-256`.
        crv: String,
        /// The first coordinate.
        x: String,
        /// The second coordinate.
        y: String,
    },
}

/// Decodes all of `vaults`.
pub(super) fn vaults(_: &Cx, section: &Map<'_>) -> Vec<Vault> {
    let each = section.entries().filter_map(|(name, value)| {
        super::check_name(&value, name);
        value.uses(Feature::Vault);
        vault(name, &value)
    });
    each.collect()
}

fn vault(name: &str, value: &Value<'_>) -> Option<Vault> {
    let map = value.map()?;
    let of_type = map.require("type").map(|it| it.one_of(&[("filesystem", ())]));
    let mut vault = Vault {
        name: name.to_owned(),
        span: value.key,
        keys: None,
        trust: None,
        signers: None,
        revocation: false,
    };
    if let Some(options) = map.map("options") {
        let store = |key| options.get(key).and_then(|it| store(&it));
        (vault.keys, vault.trust, vault.signers) =
            (store("keys"), store("trust"), store("signers"));
        vault.revocation =
            options.get("revocation").and_then(|it| it.one_of(&[("crl", true)])).unwrap_or(false);
        options.deny_unknown();
    }
    map.deny_unknown();
    of_type?.map(|()| vault)
}

fn store(value: &Value<'_>) -> Option<Store> {
    let map = value.map()?;
    let file = map.require("store").and_then(|it| it.filled("the path of a file"));
    if let Some(value) = map.get("type") {
        value.one_of(&[("pkcs12", ())]);
    }
    let password = map.get("password").and_then(|it| Secret::decode(&it));
    let entries = map.get("entries").map(|it| it.texts());
    map.deny_unknown();
    Some(Store { store: file?, password, entries })
}

/// Decodes all of `guards`.
pub(super) fn guards(_: &Cx, section: &Map<'_>) -> Vec<Guard> {
    let each = section.entries().filter_map(|(name, value)| {
        super::check_name(&value, name);
        value.uses(Feature::Guard);
        guard(name, &value)
    });
    each.collect()
}

fn guard(name: &str, value: &Value<'_>) -> Option<Guard> {
    let map = value.map()?;
    let of_type = map.require("type").map(|it| it.one_of(&[("jwt", ())]));
    let mut guard = Guard {
        name: name.to_owned(),
        span: value.key,
        issuer: None,
        audience: None,
        keys: None,
        roles: "scope".to_owned(),
        identity: "sub".to_owned(),
        attributes: Vec::new(),
        challenge: None,
    };
    if let Some(options) = map.map("options") {
        guard.issuer = options.text("issuer");
        guard.audience = options.text("audience");
        guard.keys = options.get("keys").map(|it| keys(&it));
        guard.roles = options.text("roles").unwrap_or(guard.roles);
        guard.identity = options.text("identity").unwrap_or(guard.identity);
        if let Some(attributes) = options.map("attributes") {
            let entries = attributes.entries();
            guard.attributes =
                entries.filter_map(|(name, it)| Some((name.to_owned(), it.text()?))).collect();
        }
        guard.challenge = options.get("challenge").and_then(|it| seconds(&it));
        options.deny_unknown();
    }
    map.deny_unknown();
    of_type?.map(|()| guard)
}

fn keys(value: &Value<'_>) -> GuardKeys {
    if !value.is_list() {
        let url = |it: &str| {
            (it.starts_with("https://") || it.starts_with("http://")).then(|| it.to_owned())
        };
        return GuardKeys::Url(
            value.parsed("the URL of a key set or a list of keys", url).unwrap_or_default(),
        );
    }
    GuardKeys::List(value.each(|it| jwk(&it)))
}

fn jwk(value: &Value<'_>) -> Option<Jwk> {
    let map = value.map()?;
    let text = |key| map.require(key).and_then(|it| it.text());
    let rsa = map.require("kty").and_then(|it| it.one_of(&[("RSA", true), ("EC", false)]));
    let kid = text("kid");
    let alg = map.text("alg");
    // What a key set has beside: no mistake, and of no use here.
    for key in ["use", "key_ops", "x5c", "x5t", "x5t#S256", "x5u"] {
        map.get(key);
    }
    let key = match rsa? {
        true => text("n").zip(text("e")).map(|(n, e)| JwkKey::Rsa { n, e }),
        false => {
            let (crv, x, y) = (text("crv"), text("x"), text("y"));
            crv.zip(x).zip(y).map(|((crv, x), y)| JwkKey::Ec { crv, x, y })
        }
    };
    map.deny_unknown();
    Some(Jwk { span: value.span(), kid: kid?, alg, key: key? })
}
