//! Who may send requests for administration.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use ::http::header::{AUTHORIZATION, HOST, ORIGIN};
use ::http::uri::Authority;
use ::http::{HeaderMap, Method, Request};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::response::Refusal;

/// The largest file of a token.
const MAX_TOKEN_BYTES: u64 = 4096;
/// The header of the inspector's own requests. A page of another site can't send it without a preflight,
/// which is refused.
pub(super) const OF_INSPECTOR: &str = "tailwater-inspector";

/// The token of requests for administration. It is never shown.
#[derive(Clone)]
pub struct Token(String);

/// The error of [`Token::read`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file can't be read.
    #[error("can't read the token")]
    Read(#[from] io::Error),
    /// The file is empty, longer than 4096 bytes, or has characters that no header can have.
    #[error("a token is one line of at most 4096 bytes, of printable ASCII characters")]
    Invalid,
}

impl Token {
    /// Reads the token of a file, without white space at its ends.
    ///
    /// # Errors
    /// The file can't be read, or has no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        Self::parse(&text).ok_or(TokenError::Invalid)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text.trim_ascii()).ok()?;
        let is_valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Compares in a time that depends on neither text.
    fn is(&self, candidate: &[u8]) -> bool {
        let digest = |text: &[u8]| digest(&SHA256, text);
        let (expected, candidate) = (digest(self.0.as_bytes()), digest(candidate));
        verify_slices_are_equal(expected.as_ref(), candidate.as_ref()).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Decides about requests.
#[derive(Debug)]
pub(super) struct Access {
    token: Option<Token>,
}

impl Access {
    pub(super) fn new(token: Option<Token>) -> Self {
        Self { token }
    }

    /// Whether a request may come from outside of a browser, or from the inspector. `is_script`: it asks for a
    /// script of the inspector, which browsers do with an `Origin`.
    pub(super) fn check_site<B>(
        &self,
        request: &Request<B>,
        is_script: bool,
    ) -> Result<(), Refusal> {
        let host = host(request);
        let is_marked = is_script || request.headers().contains_key(OF_INSPECTOR);
        let is_of_inspector = || is_marked && is_same_origin(request, host.as_ref());
        if request.headers().contains_key(ORIGIN) && !is_of_inspector() {
            return Err(Refusal::forbidden(
                "requests of pages are refused: this one has an Origin",
            ));
        }
        // With a token no other name is of use to anybody.
        let is_expected = |host: &Authority| {
            ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|name| host.host().eq_ignore_ascii_case(name))
        };
        if self.token.is_none() && !host.as_ref().is_some_and(is_expected) {
            return Err(Refusal::forbidden("the Host is neither localhost nor a loopback address"));
        }
        Ok(())
    }

    /// Whether a request has the token, if there is one.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next().and_then(|value| bearer(value.as_bytes())), values.next()) {
            (Some(candidate), None) if token.is(candidate) => Ok(()),
            _ => Err(Refusal::unauthorized()),
        }
    }
}

/// The credentials of the scheme `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credentials) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| credentials.trim_ascii())
}

/// The `Host`, or the `:authority` of HTTP/2, without user and with any port. `None` if there is none, or several.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let authority = request.uri().authority().cloned();
    let mut hosts = request.headers().get_all(HOST).iter();
    let of_header = match (hosts.next(), hosts.next()) {
        (None, _) => return without_user(authority?),
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        (Some(_), Some(_)) => return None,
    };
    // An absolute URI of HTTP/1.1, or a `host` beside `:authority`.
    let same = authority.is_none_or(|authority| authority == of_header);
    if same { without_user(of_header) } else { None }
}

fn without_user(authority: Authority) -> Option<Authority> {
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether a page of this address has sent a request, which is no preflight. A page of another site has another
/// origin, and one of a name that leads here by trickery does not pass the check of the host.
fn is_same_origin<B>(request: &Request<B>, host: Option<&Authority>) -> bool {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    let (Some(origin), None, Some(host)) = (origins.next(), origins.next(), host) else {
        return false;
    };
    let origin = origin.as_bytes();
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    *request.method() != Method::OPTIONS
        && authority.is_some_and(|authority| authority == host.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("/streams");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_names_of_this_machine_are_a_host() {
        let access = Access::new(None);
        let with_token = Access::new(Token::parse(b"secret"));
        for (hosts, passes) in [
            (&["localhost"][..], true),
            (&["LOCALHOST:1"], true),
            (&["localhost:9902"], true),
            (&["127.0.0.1:9902"], true),
            (&["[::1]:80"], true),
            (&["[::1]"], true),
            (&["localhost.example.com"], false),
            (&["localhost@example.com"], false),
            (&["example.com:9902"], false),
            (&["127.0.0.1.example.com"], false),
            (&["127.0.0.2"], false),
            (&["localhost", "localhost"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let request = request(&headers);
            assert_eq!(access.check_site(&request, false).is_ok(), passes, "{hosts:?}");
            assert!(with_token.check_site(&request, false).is_ok(), "{hosts:?}");
        }
        // HTTP/2, and the absolute form of HTTP/1.1.
        for (uri, host, passes) in [
            ("http://localhost:9902/", None, true),
            ("http://example.com/", None, false),
            ("http://localhost/", Some("example.com"), false),
            ("http://example.com/", Some("localhost"), false),
            ("http://localhost/", Some("localhost"), true),
        ] {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let request = request.body(()).unwrap();
            assert_eq!(access.check_site(&request, false).is_ok(), passes, "{uri} {host:?}");
        }
    }

    #[test]
    fn pages_are_refused_and_the_inspector_is_not() {
        let host = ("host", "localhost:9902");
        let mark = (OF_INSPECTOR, "1");
        for (headers, passes) in [
            (&[host, ("origin", "https://example.com")][..], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "http://localhost:9902")], false),
            (&[host, ("origin", "")], false),
            (&[host, mark, ("origin", "https://example.com")], false),
            (&[host, mark, ("origin", "http://localhost:8080")], false),
            (&[host, mark, ("origin", "null")], false),
            (&[("host", "example.com"), mark, ("origin", "http://example.com")], false),
            (&[host, mark, ("origin", "http://localhost:9902")], true),
            (&[host, mark], true),
        ] {
            let request = request(headers);
            assert_eq!(
                Access::new(None).check_site(&request, false).is_ok(),
                passes,
                "{headers:?}"
            );
        }
        for (origin, passes) in [
            ("http://localhost:9902", true),
            ("http://localhost:8080", false),
            ("https://example.com", false),
            ("null", false),
        ] {
            let script = request(&[host, ("origin", origin)]);
            assert_eq!(Access::new(None).check_site(&script, true).is_ok(), passes, "{origin}");
        }
        let preflight = [host, mark, ("origin", "http://localhost:9902")];
        let mut preflight = request(&preflight);
        *preflight.method_mut() = Method::OPTIONS;
        assert!(Access::new(None).check_site(&preflight, false).is_err());
    }

    #[test]
    fn the_token_is_compared_as_a_whole() {
        let access = Access::new(Token::parse(b" \tsecret\r\n"));
        for (values, passes) in [
            (&["Bearer secret"][..], true),
            (&["bearer secret"], true),
            (&["Bearer  secret "], true),
            (&["Bearer secre"], false),
            (&["Bearer secret1"], false),
            (&["Bearer SECRET"], false),
            (&["Bearer "], false),
            (&["Bearer"], false),
            (&["secret"], false),
            (&["Basic secret"], false),
            (&["Bearer secret", "Bearer secret"], false),
            (&[], false),
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            let request = request(&headers);
            assert_eq!(access.check_token(request.headers()).is_ok(), passes, "{values:?}");
        }
        for text in [&b""[..], b" \n", b"two words", b"a\nb", b"\xff", "\u{e4}".as_bytes()] {
            assert!(Token::parse(text).is_none(), "{}", text.escape_ascii());
        }
        assert_eq!(format!("{:?}", access), "Access { token: Some(Token(..)) }");
    }

    #[test]
    fn a_file_of_a_token_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Read(_))));
        for (length, is_token) in [(4096, true), (4097, false)] {
            std::fs::write(&path, "a".repeat(length)).unwrap();
            assert_eq!(Token::read(&path).is_ok(), is_token, "{length}");
        }
    }
}
