use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::catalog::registry::RegistryError;
use crate::catalog::registry::escape::redacted_text;

/// What stays as it is in a segment of a path (RFC 3986, 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL of a registry: `http` or `https`, perhaps with a path, perhaps with `user:password@`.
///
/// The user and the password go into the header `authorization` of each request, and neither `Display` nor `Debug`
/// shows them.
///
/// ```
/// use tailwater_schema::catalog::registry::RegistryUrl;
///
/// let url: RegistryUrl = "https://me:secret@registry.example.com/apis/ccompat/v7/".parse()?;
/// assert_eq!(url.to_string(), "https://registry.example.com/apis/ccompat/v7");
/// # Ok::<(), tailwater_schema::catalog::registry::RegistryError>(())
/// ```
#[derive(Clone)]
pub struct RegistryUrl {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at the end.
    path: String,
    credentials: Option<HeaderValue>,
}

impl RegistryUrl {
    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The path, without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The value of `authorization` for the user that the URL names.
    pub(crate) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    /// The URL of what is at `path` below this URL. The path begins with a slash, and its segments are encoded. `None`
    /// if the URL would be longer than 64 KiB.
    pub(crate) fn below(&self, path: &str) -> Option<Uri> {
        let path = PathAndQuery::try_from(format!("{}{path}", self.path)).ok()?;
        let scheme = self.scheme.clone();
        let authority = self.authority.clone();
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
    }

    /// This URL with a path in place of its own, where it has none.
    pub(crate) fn or_path(mut self, path: &str) -> Self {
        if self.path.is_empty() {
            path.clone_into(&mut self.path);
        }
        self
    }
}

/// A text as one segment of a path. `None` for a text that a path cannot hold as a segment: the empty one, `.`
/// and `..`, which servers and proxies take for steps even when they are encoded.
pub(crate) fn segment(text: &str) -> Option<String> {
    let is_step = matches!(text, "" | "." | "..");
    (!is_step).then(|| utf8_percent_encode(text, SEGMENT).to_string())
}

/// Whether the URI is an absolute `http` or `https` URL.
pub(crate) fn is_absolute(uri: &Uri) -> bool {
    let scheme = uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    scheme && uri.host().is_some_and(|host| !host.is_empty())
}

impl FromStr for RegistryUrl {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let uri: Option<Uri> = text.parse().ok().filter(is_absolute);
        let uri = uri.ok_or_else(|| RegistryError::Url(redacted_text(text)))?;
        if uri.query().is_some() || text.contains('#') {
            return Err(RegistryError::Query(redacted_text(text)));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(RegistryError::Url(redacted_text(text)));
        };
        let Some((user, host)) = authority.as_str().rsplit_once('@') else {
            return Ok(Self { scheme, authority, path, credentials: None });
        };
        let host = host.parse().map_err(|_| RegistryError::Url(redacted_text(text)))?;
        let credentials = Some(basic(user));
        Ok(Self { scheme, authority: host, path, credentials })
    }
}

/// RFC 7617: the user and the password of a URL, decoded.
fn basic(user: &str) -> HeaderValue {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain: Vec<u8> = percent_decode_str(name).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    let text = format!("Basic {}", STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text).expect("base64 is valid in a header");
    value.set_sensitive(true);
    value
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistryUrl").field(&format_args!("{self}")).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_and_what_is_asked_for_is_below_it() {
        for (text, below) in [
            ("http://h", "http://h/schemas/ids/9"),
            ("http://h:8081/", "http://h:8081/schemas/ids/9"),
            ("https://h/apis/ccompat/v7", "https://h/apis/ccompat/v7/schemas/ids/9"),
            ("https://h/a%20b//", "https://h/a%20b/schemas/ids/9"),
            ("http://[::1]:80/x", "http://[::1]:80/x/schemas/ids/9"),
            ("http://me:secret@h/x", "http://h/x/schemas/ids/9"),
        ] {
            let url: RegistryUrl = text.parse().unwrap();
            assert_eq!(url.below("/schemas/ids/9").unwrap().to_string(), below, "{text}");
            assert!(!format!("{url} {url:?}").contains("secret"), "{text}");
        }
    }

    #[test]
    fn the_user_of_a_url_is_decoded() {
        for (text, plain) in [
            ("http://me:secret@h", "me:secret"),
            ("http://me@h", "me:"),
            ("http://a%40b:p%3Aq%2F%C3%A9@h", "a@b:p:q/é"),
        ] {
            let url: RegistryUrl = text.parse().unwrap();
            let credentials = url.credentials().unwrap();
            assert!(credentials.is_sensitive());
            assert_eq!(credentials.to_str().unwrap(), format!("Basic {}", STANDARD.encode(plain)));
        }
    }

    #[test]
    fn another_url_is_refused_without_its_secrets() {
        for (text, error) in [
            ("", "`` is not an absolute http or https URL of a registry"),
            ("registry:8081", "`registry:8081` is not an absolute http or https URL of a registry"),
            ("ftp://h/", "`ftp://h/` is not an absolute http or https URL of a registry"),
            ("http://me:sec ret@h/", "`h/` is not an absolute http or https URL of a registry"),
            ("http://me:secret@h/x?token=secret", "`h/x` has a query or a fragment"),
            ("http://me:12#3@h", "`…` has a query or a fragment"),
            ("http://h/x#secret", "`http://h/x` has a query or a fragment"),
        ] {
            let found = text.parse::<RegistryUrl>().expect_err(text).to_string();
            assert_eq!(found, error, "{text}");
        }
    }

    #[test]
    fn a_segment_is_encoded() {
        for (text, encoded) in [
            ("t-value", Some("t-value")),
            ("a b/ü?#%", Some("a%20b%2F%C3%BC%3F%23%25")),
            (":.ctx:t", Some("%3A.ctx%3At")),
            ("", None),
            ("..", None),
            ("...", Some("...")),
        ] {
            assert_eq!(segment(text).as_deref(), encoded, "{text}");
        }
    }
}
