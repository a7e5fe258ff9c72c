//! What both sides of a connection have options for.

use rustls::{ProtocolVersion, SupportedProtocolVersion, version};

use crate::certificates::identity::Identity;
use crate::certificates::roots::Roots;
use crate::error::Error;

/// A version of TLS. Older ones than 1.2 are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl Version {
    pub(crate) fn of(version: Option<ProtocolVersion>) -> Self {
        match version {
            Some(ProtocolVersion::TLSv1_2) => Self::Tls12,
            _ => Self::Tls13,
        }
    }
}

static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
static TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The versions that are spoken, `None` for both.
pub(crate) fn versions(only: Option<Version>) -> &'static [&'static SupportedProtocolVersion] {
    match only {
        None => &BOTH,
        Some(Version::Tls12) => &TLS12,
        Some(Version::Tls13) => &TLS13,
    }
}

pub(crate) fn check_alpn(names: &[Vec<u8>]) -> Result<(), Error> {
    match names.iter().find(|name| !(1..=255).contains(&name.len())) {
        Some(name) => Err(Error::Alpn(name.len())),
        None => Ok(()),
    }
}

/// What comes out of stores, and is exchanged when their files change: who this side is, and whom
/// it trusts.
///
/// ```
/// use tailwater_tls::{Credentials, Store};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
///
/// let store = Store::pem("main", text.as_bytes())?;
/// let credentials = Credentials::new().identity(store.identity("main")?).roots(store.roots()?);
/// # let _ = credentials;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Credentials {
    pub(crate) identities: Vec<Identity>,
    pub(crate) roots: Roots,
}

impl Credentials {
    /// Nobody, trusting nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more identity. A server takes the first that is for the name that the client asks for,
    /// and else the first of all; a client takes the first that the server's request allows.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// What is trusted. Default: nothing.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }
}
