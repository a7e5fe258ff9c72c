//! The head of one request, as conditions read it.

use std::borrow::Cow;
use std::cell::OnceCell;

use http::{Extensions, HeaderMap, Method, Request, Uri, header, uri};

/// The scheme of a request, for `:scheme` and for the default port of `:authority`.
///
/// The server that accepts connections puts it into the extensions of each request. Without it, the
/// scheme of the request's URI is used, which in HTTP/2 the client can choose freely. If the URI has no scheme,
/// it is `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Head<'a> {
    uri: &'a Uri,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) extensions: &'a Extensions,
    /// In the form of [`crate::path::decoded`].
    pub(crate) path: Cow<'a, [u8]>,
    /// The spellings of the authority, made when the first condition reads them.
    authority: OnceCell<Vec<Vec<u8>>>,
}

impl<'a> Head<'a> {
    pub(crate) fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            uri: request.uri(),
            method: request.method(),
            headers: request.headers(),
            extensions: request.extensions(),
            path: crate::path::decoded(request.uri().path().as_bytes()),
            authority: OnceCell::new(),
        }
    }

    /// Whether a segment of the path holds an encoded `/` or NUL.
    pub(crate) fn has_separator(&self) -> bool {
        crate::path::separator(self.uri.path().as_bytes()).is_some()
    }

    pub(crate) fn query(&self) -> Option<&[u8]> {
        self.uri.query().map(str::as_bytes)
    }

    pub(crate) fn scheme(&self) -> &str {
        match self.extensions.get::<Scheme>() {
            Some(scheme) => scheme.as_str(),
            None => self.uri.scheme_str().unwrap_or("http"),
        }
    }

    /// The spellings of the authority in lower case: without the default port of the scheme, then with
    /// it. A port other than the default has one spelling. Empty without an authority, or with several
    /// `Host` headers.
    pub(crate) fn authority(&self) -> &[Vec<u8>] {
        self.authority.get_or_init(|| {
            let mut hosts = self.headers.get_all(header::HOST).iter();
            let host = match (self.uri.authority().map(uri::Authority::as_str), hosts.next()) {
                (Some(authority), _) => authority.as_bytes(),
                (None, Some(host)) if hosts.next().is_none() => host.as_bytes(),
                _ => return Vec::new(),
            };
            spellings(host, self.scheme())
        })
    }
}

fn spellings(authority: &[u8], scheme: &str) -> Vec<Vec<u8>> {
    let lower = authority.to_ascii_lowercase();
    let port: &[u8] = match scheme {
        "http" => b":80",
        "https" => b":443",
        _ => return vec![lower],
    };
    // RFC 3986 6.2.3: an empty port is the default one. In `[::1]` no colon begins a port.
    let bare = lower.strip_suffix(port).or_else(|| lower.strip_suffix(b":")).unwrap_or(&lower);
    if bare.rsplit(|byte| *byte == b']').next().is_some_and(|tail| tail.contains(&b':')) {
        return vec![lower];
    }
    vec![bare.to_vec(), [bare, port].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_port_may_be_written_or_not() {
        for (authority, scheme, expected) in [
            ("localhost", "http", &["localhost", "localhost:80"][..]),
            ("LocalHost:80", "http", &["localhost", "localhost:80"]),
            ("localhost:", "http", &["localhost", "localhost:80"]),
            ("localhost:443", "https", &["localhost", "localhost:443"]),
            ("localhost:443", "http", &["localhost:443"]),
            ("localhost:7114", "http", &["localhost:7114"]),
            ("localhost:7114", "ftp", &["localhost:7114"]),
            ("[::1]", "http", &["[::1]", "[::1]:80"]),
            ("[::1]:80", "http", &["[::1]", "[::1]:80"]),
            ("[::1]:8080", "http", &["[::1]:8080"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(spellings(authority.as_bytes(), scheme), expected, "{authority} {scheme}");
        }
    }
}
