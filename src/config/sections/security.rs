//! `vaults` and `guards`.

use std::time::Duration;

use http::Uri;
use tailwater_jwt::Keys;

use crate::config::bindings::http::seconds;
use crate::config::bindings::kafka::Secret;
use crate::config::decode::{Cx, Map, Value};
use crate::config::report::diagnostic::Span;

/// An entry of `vaults`: a name, `type: filesystem`, and these keys.
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
    /// `options.revocation: crl`: whether revocation lists of the store are checked. Default:
    /// no.
    pub revocation: bool,
}

/// A store of keys and certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    /// `store`: the file, relative to the configuration file. Required.
    pub store: String,
    /// `type`: the form of the store. Default: `pkcs12`.
    pub kind: StoreKind,
    /// `password`: the password of the store. Default: none.
    pub password: Option<Secret>,
    /// `entries`: the aliases that are used. Default: all.
    pub entries: Option<Vec<String>>,
}

/// The form of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// `pkcs12`: keys and certificates under aliases.
    #[default]
    Pkcs12,
    /// `pem`: a file with a key and its certificates, or with certificates to trust. Its
    /// alias is the file name without the extension. If the store is a folder, each file in
    /// it is an entry. (Not in Zilla.)
    Pem,
}

/// An entry of `guards`: a name, `type: jwt`, and these keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `options.issuer`: the value that the token's `iss` must have. Default: any.
    pub issuer: Option<String>,
    /// `options.audience`, a text or a list: values of which the token's `aud` must contain
    /// one. Default: any.
    pub audience: Vec<String>,
    /// `options.keys`: the keys that sign tokens: a list of public keys, or the URL of a key
    /// set. Default: the keys of the issuer, from `<issuer>/.well-known/jwks.json`, or else
    /// from the `jwks_uri` of `<issuer>/.well-known/openid-configuration`.
    pub keys: Option<GuardKeys>,
    /// `options.roles`: the claim that has the roles, as a path with dots. The names of
    /// claims may contain dots. If a path can be read in two ways, the reading with the
    /// longer first name is taken. Default: `scope`.
    pub roles: String,
    /// `options.identity`: the claim that identifies the user, a path as `roles`. Default:
    /// `sub`.
    pub identity: String,
    /// `options.attributes`: a map from names to claims, which are paths as `roles`. Default:
    /// none.
    pub attributes: Vec<(String, String)>,
    /// `options.challenge`, in seconds: how long before its token expires a stream gets an
    /// event `challenge`. Default: never.
    pub challenge: Option<Duration>,
    /// `options.leeway`, in seconds: by how much the clocks of issuer and server may differ.
    /// Default: 0. (Not in Zilla.)
    pub leeway: Duration,
    /// `options.expiry`: `required`, or `optional` to accept a token without `exp`, which
    /// then never expires, as in Zilla. Default: `required`. (Not in Zilla.)
    pub without_expiry: bool,
}

/// The keys of a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardKeys {
    /// `keys: URL`: the URL of a key set.
    Url(Uri),
    /// `keys: [KEY, …]`: a list of public keys, of which at least one is for signatures. The
    /// others cause a warning.
    List(Vec<Jwk>),
}

/// A public key, as a JSON Web Key: a map with `kty` and the further members of RFC 7517.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Jwk {
    /// Where it stands.
    pub span: Span,
    /// The key, which is usable for signatures.
    pub jwk: tailwater_jwt::Jwk,
}

/// Decodes all of `vaults`.
pub(crate) fn vaults(cx: &Cx, section: &Map<'_>) -> Vec<Vault> {
    let each = section.entries().filter_map(|(name, value)| {
        crate::config::check_name(&value, name);
        cx.entry(&value, || vault(name, &value))
    });
    each.collect()
}

fn vault(name: &str, value: &Value<'_>) -> Option<Vault> {
    let map = value.map()?;
    let of_type = map.require("type").map(|value| value.one_of(&[("filesystem", ())]));
    let mut vault = Vault {
        name: name.to_owned(),
        span: value.key,
        keys: None,
        trust: None,
        signers: None,
        revocation: false,
    };
    if let Some(options) = map.map("options") {
        let store = |key| options.get(key).and_then(|value| store(&value));
        (vault.keys, vault.trust, vault.signers) =
            (store("keys"), store("trust"), store("signers"));
        vault.revocation = options
            .get("revocation")
            .and_then(|value| value.one_of(&[("crl", true)]))
            .unwrap_or(false);
        options.deny_unknown();
    }
    map.deny_unknown();
    of_type?.map(|()| vault)
}

fn store(value: &Value<'_>) -> Option<Store> {
    let map = value.map()?;
    let file = map.require("store").and_then(|value| value.filled("the path of a file"));
    let kinds = [("pkcs12", StoreKind::Pkcs12), ("pem", StoreKind::Pem)];
    let kind = map.get("type").and_then(|value| value.one_of(&kinds)).unwrap_or_default();
    let password = map.get("password").and_then(|value| Secret::decode(&value));
    let entries = map.get("entries").map(|value| value.texts());
    map.deny_unknown();
    Some(Store { store: file?, kind, password, entries })
}

/// Decodes all of `guards`.
pub(crate) fn guards(cx: &Cx, section: &Map<'_>) -> Vec<Guard> {
    let each = section.entries().filter_map(|(name, value)| {
        crate::config::check_name(&value, name);
        cx.entry(&value, || guard(name, &value))
    });
    each.collect()
}

fn guard(name: &str, value: &Value<'_>) -> Option<Guard> {
    let map = value.map()?;
    let of_type = map.require("type").map(|value| value.one_of(&[("jwt", ())]));
    let mut guard = Guard {
        name: name.to_owned(),
        span: value.key,
        issuer: None,
        audience: Vec::new(),
        keys: None,
        roles: "scope".to_owned(),
        identity: "sub".to_owned(),
        attributes: Vec::new(),
        challenge: None,
        leeway: Duration::ZERO,
        without_expiry: false,
    };
    if let Some(options) = map.map("options") {
        guard.issuer = options.text("issuer");
        if let Some(audience) = options.get("audience") {
            guard.audience = match audience.is_list() {
                true => audience.texts(),
                false => audience.text().into_iter().collect(),
            };
        }
        guard.keys = options.get("keys").map(|value| keys(&value));
        guard.roles = options.text("roles").unwrap_or(guard.roles);
        guard.identity = options.text("identity").unwrap_or(guard.identity);
        if let Some(attributes) = options.map("attributes") {
            let entries = attributes.entries();
            guard.attributes = entries
                .filter_map(|(name, value)| Some((name.to_owned(), value.text()?)))
                .collect();
        }
        guard.challenge = options.get("challenge").and_then(|value| seconds(&value));
        guard.leeway = options.get("leeway").and_then(|value| seconds(&value)).unwrap_or_default();
        let expiry = [("required", false), ("optional", true)];
        guard.without_expiry =
            options.get("expiry").and_then(|value| value.one_of(&expiry)).unwrap_or_default();
        options.deny_unknown();
    }
    map.deny_unknown();
    of_type?.map(|()| guard)
}

fn keys(value: &Value<'_>) -> GuardKeys {
    let expected = "the URL of a key set or a list of keys";
    if value.is_map() {
        let help = "expected the list that a key set has as `keys`".to_owned();
        value.error_help(value.unexpected(expected).unwrap_or_default(), Some(help));
        return GuardKeys::List(Vec::new());
    }
    if !value.is_list() {
        let url =
            |text: &str| text.parse::<Uri>().ok().filter(|url| Keys::url(url.clone()).is_ok());
        return GuardKeys::Url(value.parsed(expected, url).unwrap_or_default());
    }
    let keys = value.each(|item| jwk(&item));
    if keys.is_empty() && value.is_resolved() {
        value.error("no key is usable for signatures");
    }
    GuardKeys::List(keys)
}

/// A key. An unusable key is ignored, as in a key set that is fetched (RFC 7517, 5).
fn jwk(value: &Value<'_>) -> Option<Jwk> {
    if !value.is_map() {
        if let Some(message) = value.unexpected("a key") {
            value.warning(format!("{message}: it is ignored"));
        }
        return None;
    }
    let map = value.map()?;
    let mut jwk = tailwater_jwt::Jwk::default();
    let kty = member(&map, "kty", Value::scalar);
    for (name, text) in [
        ("kid", &mut jwk.kid),
        ("alg", &mut jwk.alg),
        ("use", &mut jwk.r#use),
        ("n", &mut jwk.n),
        ("e", &mut jwk.e),
        ("crv", &mut jwk.crv),
        ("x", &mut jwk.x),
        ("y", &mut jwk.y),
    ] {
        *text = member(&map, name, Value::scalar)?.map(str::to_owned);
    }
    jwk.key_ops = member(&map, "key_ops", operations)?;
    // Members that are known and have no effect.
    for key in ["x5c", "x5t", "x5t#S256", "x5u", "ext", "nbf", "exp", "iat"] {
        map.get(key);
    }
    let name = match &jwk.kid {
        Some(kid) => format!("key `{}`", kid.escape_debug()),
        None => "a key without a name".to_owned(),
    };
    let left_out = |why: &str| {
        value.warning(format!("{name} is not usable and is ignored: {why}"));
        None
    };
    let Some(kty) = kty? else { return left_out("it has no `kty`") };
    kty.clone_into(&mut jwk.kty);
    match Keys::list([jwk.clone()]) {
        Ok(_) => {
            map.ignore_unknown();
            Some(Jwk { span: value.span(), jwk })
        }
        Err(tailwater_jwt::Error::Key { reason, .. }) => left_out(&reason.to_string()),
        Err(error) => left_out(&error.to_string()),
    }
}

/// A member of a key. `Some(None)` if it is missing, `None` if it has a wrong type, so that the key is unusable.
fn member<'a, T>(
    map: &Map<'a>,
    name: &'static str,
    read: impl FnOnce(&Value<'a>) -> Option<T>,
) -> Option<Option<T>> {
    let Some(value) = map.get(name).filter(|value| !value.is_null()) else { return Some(None) };
    let read = read(&value);
    if read.is_none()
        && let Some(message) = value.unexpected("a text")
    {
        value.warning(format!("{message}: the key is ignored"));
    }
    read.map(Some)
}

/// A list of texts, or a single text.
fn operations(value: &Value<'_>) -> Option<Vec<String>> {
    if !value.is_list() {
        return value.scalar().map(|one| vec![one.to_owned()]);
    }
    let items = value.list()?;
    items.iter().map(|item| item.scalar().map(str::to_owned)).collect()
}
