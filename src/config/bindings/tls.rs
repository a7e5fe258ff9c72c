//! `tls` bindings.

use std::ops::RangeInclusive;

use tailwater_route::ValuePattern;
use tailwater_tls::{ClientCertificates, Version};

use crate::config::bindings::tcp::ports;
use crate::config::bindings::{BindingOutline, Route, Routes};
use crate::config::check::support::Unsupported;
use crate::config::decode::{Map, Value};

/// A `tls` binding of kind `server` decrypts connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsServer {
    /// `options`: the options that both kinds of `tls` bindings have.
    pub options: TlsOptions,
    /// `options.signers`: aliases of the certificate authorities in the vault that sign a
    /// certificate when a client asks for one. Default: none; `keys` or `signers` is
    /// required.
    pub signers: Vec<String>,
    /// `options.mutual`: whether clients must have a certificate: `required`, `requested` or
    /// `none`. Default: `required` if `trust` is set, otherwise `none`.
    pub mutual: ClientCertificates,
    /// `routes`: where connections go, by the server name that the client asks for and the
    /// negotiated protocol.
    pub routes: Vec<Route<TlsCondition>>,
}

/// A `tls` binding of kind `client` encrypts connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsClient {
    /// `options`: the options that both kinds of `tls` bindings have.
    pub options: TlsOptions,
    /// `routes`: where connections go.
    pub routes: Vec<Route<TlsCondition, Option<ClientCertificate>>>,
}

/// The `options` that both kinds of `tls` bindings have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// `version`: the only version that is spoken, `TLSv1.2` or `TLSv1.3`. Default: both.
    pub version: Option<Version>,
    /// `keys`: aliases of keys with their certificates in the vault. Default: none.
    pub keys: Vec<String>,
    /// `trust`: aliases of trusted certificates in the vault. Default: none.
    pub trust: Vec<String>,
    /// `trustcacerts`: whether the system's certificate authorities are trusted, too.
    /// Default: yes, if `trust` is not set.
    pub trustcacerts: Option<bool>,
    /// `sni`: server names. Default: none.
    pub sni: Vec<String>,
    /// `alpn`: protocols, the preferred one first. Default: none.
    pub alpn: Vec<String>,
}

/// A condition on a connection; all of its keys must be satisfied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsCondition {
    /// `authority`: the server name, with `*` for any text. Default: any.
    pub authority: Option<ValuePattern>,
    /// `alpn`: the negotiated protocol. Default: any.
    pub alpn: Option<String>,
    /// `port`: the local port. Default: any.
    pub ports: Vec<RangeInclusive<u16>>,
    /// `trust`: aliases of certificates, one of which has signed the client's certificate.
    /// Default: any.
    pub trust: Vec<String>,
    /// `mutual`: whether the client has a certificate. Default: as the binding says.
    pub mutual: Option<ClientCertificates>,
}

/// `with.certificate` of a `tls` client: the key of the vault that is presented to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificate {
    /// `subject.cn`: the key whose certificate has this common name.
    CommonName(String),
    /// `subject.dn`: the key whose certificate has this distinguished name.
    DistinguishedName(String),
}

const VERSIONS: &[(&str, Version)] = &[("TLSv1.2", Version::Tls12), ("TLSv1.3", Version::Tls13)];

const MUTUAL: &[(&str, ClientCertificates)] = &[
    ("required", ClientCertificates::Required),
    ("requested", ClientCertificates::Requested),
    ("none", ClientCertificates::None),
];

impl TlsServer {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<TlsServer> {
        map.require("vault");
        let mut server = TlsServer {
            options: TlsOptions::default(),
            signers: Vec::new(),
            mutual: ClientCertificates::None,
            routes: Vec::new(),
        };
        if let Some(options) = map.map_or_empty("options") {
            server.options = tls_options(&options);
            server.signers = options.texts("signers");
            if options.get("keys").is_none() && options.get("signers").is_none() {
                options.missing("neither `keys` nor `signers`");
            }
            server.mutual = match options.get("mutual") {
                Some(value) => value.one_of(MUTUAL)?,
                None if options.get("trust").is_some() => ClientCertificates::Required,
                None => ClientCertificates::None,
            };
            options.deny_unknown();
        }
        server.routes = Routes { when: &condition, with: &|_, _, _| Some(()), own: Some(()) }
            .decode(map, outline);
        Some(server)
    }
}

impl TlsClient {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<TlsClient> {
        let mut options = TlsOptions::default();
        if let Some(map) = map.map("options") {
            options = tls_options(&map);
            map.deny_unknown();
        }
        let with = |map: &Map<'_>, _: Option<&[TlsCondition]>, _: &mut BindingOutline| match map
            .map("with")
        {
            None => Some(None),
            Some(with) => {
                let certificate = with.map("certificate").and_then(|map| certificate(&map));
                with.deny_unknown();
                Some(certificate)
            }
        };
        // The bindings below have no address by which a route could be chosen.
        let when = |value: &Value<'_>, outline: &mut BindingOutline| {
            outline.unsupported(value, Unsupported::TlsClientRoutes);
            condition(value, outline)
        };
        let routes = Routes { when: &when, with: &with, own: Some(None) }.decode(map, outline);
        Some(TlsClient { options, routes })
    }
}

/// Decodes `tls` of a connection that tailwater itself opens.
pub(crate) fn of_connection(value: &Value<'_>) -> Option<TlsOptions> {
    let map = value.map()?;
    let options = tls_options(&map);
    map.deny_unknown();
    Some(options)
}

fn tls_options(map: &Map<'_>) -> TlsOptions {
    TlsOptions {
        version: map.get("version").and_then(|value| value.one_of(VERSIONS)),
        keys: map.texts("keys"),
        trust: map.texts("trust"),
        trustcacerts: map.get("trustcacerts").and_then(|value| value.boolean()),
        sni: map.texts("sni"),
        alpn: map.texts("alpn"),
    }
}

fn condition(value: &Value<'_>, outline: &mut BindingOutline) -> Option<TlsCondition> {
    let map = value.map()?;
    let mut refused = |key| {
        let value = map.get(key)?;
        outline.unsupported(&value, Unsupported::TlsConditionCertificate);
        Some(value)
    };
    let condition = TlsCondition {
        authority: map.get("authority").and_then(|value| {
            value.parsed("a server name, as `*.example.com`", |text| {
                ValuePattern::new(&text.to_ascii_lowercase()).ok()
            })
        }),
        alpn: map.text("alpn"),
        ports: map.get("port").map(|value| ports(&value)).unwrap_or_default(),
        trust: refused("trust").map(|value| value.texts()).unwrap_or_default(),
        mutual: refused("mutual").and_then(|value| value.one_of(MUTUAL)),
    };
    map.deny_unknown();
    Some(condition)
}

fn certificate(map: &Map<'_>) -> Option<ClientCertificate> {
    let mut cn = map.text("subject.cn");
    let mut dn = map.text("subject.dn");
    if let Some(subject) = map.map("subject") {
        cn = cn.or(subject.text("cn"));
        dn = dn.or(subject.text("dn"));
        subject.deny_unknown();
    }
    map.deny_unknown();
    match (cn, dn) {
        (Some(name), None) => Some(ClientCertificate::CommonName(name)),
        (None, Some(name)) => Some(ClientCertificate::DistinguishedName(name)),
        _ => {
            map.missing("expected either `subject.cn` or `subject.dn`");
            None
        }
    }
}
