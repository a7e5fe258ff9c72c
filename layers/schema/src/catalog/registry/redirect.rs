//! Redirects within a server (RFC 9110, 15.4).

use http::{HeaderMap, StatusCode, Uri, header};

use crate::catalog::registry::escape::{Redacted, redacted_text};
use crate::catalog::registry::url::is_absolute;

/// The target of a redirect: a URL with the same scheme, host and port, or the text of any other target.
/// `None` if the answer is not a redirect.
pub(crate) fn redirected(
    base: &Uri,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Result<Uri, String>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = String::from_utf8_lossy(headers.get(header::LOCATION)?.as_bytes());
    let target = resolved(base, location.trim());
    let target = target.filter(is_absolute);
    Some(match target {
        Some(target) if origin(&target) == origin(base) => Ok(without_user(&target)),
        Some(target) => Err(Redacted(&target).to_string()),
        None => Err(redacted_text(&location)),
    })
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let default = if scheme == "http" { 80 } else { 443 };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

/// The URL without a user, which a redirect does not choose.
fn without_user(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    if let Some(authority) = &parts.authority
        && let Some((_, host)) = authority.as_str().rsplit_once('@')
        && let Ok(host) = host.parse()
    {
        parts.authority = Some(host);
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Resolves a reference (RFC 3986, 5.2).
fn resolved(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let until_query = reference.split('?').next().unwrap_or_default();
    let before_slash = until_query.split('/').next().unwrap_or_default();
    let text = if before_slash.contains(':') {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let path = match until_query {
            "" => base.path().to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => {
                let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                without_dots(&format!("{folder}/{path}"))
            }
        };
        let query = reference.get(until_query.len()..).unwrap_or_default();
        format!("{scheme}://{authority}{path}{query}")
    };
    text.parse().ok()
}

/// Removes the segments `.` and `..` of a path (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn to(base: &str, location: &[u8]) -> Option<Result<String, String>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_bytes(location).unwrap());
        let target = redirected(&base.parse().unwrap(), StatusCode::FOUND, &headers)?;
        Some(target.map(|target| target.to_string()))
    }

    #[test]
    fn a_redirect_within_the_server_is_resolved() {
        let base = "https://registry.example.com/apis/x/ids?a=b";
        for (location, target) in [
            ("/ids", "https://registry.example.com/ids"),
            ("ids/", "https://registry.example.com/apis/x/ids/"),
            ("./9?c=/../d#e", "https://registry.example.com/apis/x/9?c=/../d"),
            ("../y/9", "https://registry.example.com/apis/y/9"),
            ("../../../..", "https://registry.example.com/"),
            ("?c", "https://registry.example.com/apis/x/ids?c"),
            ("//registry.example.com/9", "https://registry.example.com/9"),
            ("HTTPS://REGISTRY.example.com:443/9", "https://REGISTRY.example.com:443/9"),
            ("https://other:user@registry.example.com/9", "https://registry.example.com/9"),
            (" /9 ", "https://registry.example.com/9"),
            ("/a:b", "https://registry.example.com/a:b"),
        ] {
            assert_eq!(to(base, location.as_bytes()), Some(Ok(target.to_owned())), "{location}");
        }
    }

    #[test]
    fn a_redirect_elsewhere_is_refused_and_shown_without_secrets() {
        let base = "https://registry.example.com/ids";
        for (location, shown) in [
            (&b"http://registry.example.com/ids"[..], "http://registry.example.com/ids"),
            (b"https://registry.example.com:8443/ids", "https://registry.example.com:8443/ids"),
            (b"https://evil.example/ids?token=secret", "https://evil.example/ids"),
            (b"//evil.example", "https://evil.example/"),
            (b"https://registry.example.com@evil.example/", "https://evil.example/"),
            (b"https://me:secret@evil example/?secret", "evil example/"),
            (b"javascript:alert(1)", "javascript:alert(1)"),
            (b"/a b\x80", "/a b\u{fffd}"),
        ] {
            let found = to(base, location);
            assert_eq!(found, Some(Err(shown.to_owned())), "{}", location.escape_ascii());
        }
    }

    #[test]
    fn only_a_redirect_with_a_location_is_one() {
        let base = Uri::from_static("https://registry.example.com/ids");
        let mut headers = HeaderMap::new();
        assert_eq!(redirected(&base, StatusCode::FOUND, &headers), None);
        headers.insert(header::LOCATION, HeaderValue::from_static("/9"));
        for (status, redirects) in
            [(200, false), (300, false), (301, true), (303, true), (304, false), (308, true)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(redirected(&base, status, &headers).is_some(), redirects, "{status}");
        }
    }
}
