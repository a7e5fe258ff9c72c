use rustls::{ProtocolVersion, SupportedProtocolVersion, version};

/// A version of TLS. Versions before 1.2 are not supported.
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

/// The supported versions, both for `None`.
pub(crate) fn versions(only: Option<Version>) -> &'static [&'static SupportedProtocolVersion] {
    match only {
        None => &BOTH,
        Some(Version::Tls12) => &TLS12,
        Some(Version::Tls13) => &TLS13,
    }
}
