//! Redirects within a host (RFC 9110, 15.4).

use http::{Response, Uri, header};

use crate::keys::is_absolute;
use crate::keys::redacted::{Redacted, redacted_text};

/// The maximum number of redirects in a row.
pub(crate) const MAX_REDIRECTS: usize = 3;

/// The target of a redirect: a URL with the same scheme, host and port, or the text of any other target.
/// `None` if the response is not a redirect.
pub(crate) fn redirected<B>(base: &Uri, answer: &Response<B>) -> Option<Result<Uri, String>> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = String::from_utf8_lossy(answer.headers().get(header::LOCATION)?.as_bytes());
    let target = resolved(base, location.trim());
    let target = target.filter(is_absolute);
    Some(match target {
        Some(target) if origin(&target) == origin(base) => Ok(target),
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
    use http::{HeaderValue, StatusCode};

    use super::*;

    fn to(base: &str, location: &[u8]) -> Option<Result<String, String>> {
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::FOUND;
        let location = HeaderValue::from_bytes(location).unwrap();
        answer.headers_mut().insert(header::LOCATION, location);
        let target = redirected(&base.parse().unwrap(), &answer)?;
        Some(target.map(|target| target.to_string()))
    }

    #[test]
    fn a_redirect_within_the_host_is_resolved() {
        let base = "https://auth.example.com/realms/x/keys?a=b";
        for (location, target) in [
            ("/certs", "https://auth.example.com/certs"),
            ("certs", "https://auth.example.com/realms/x/certs"),
            ("./certs?c=/../d#e", "https://auth.example.com/realms/x/certs?c=/../d"),
            ("../y/certs", "https://auth.example.com/realms/y/certs"),
            ("../../../..", "https://auth.example.com/"),
            ("?c", "https://auth.example.com/realms/x/keys?c"),
            ("//auth.example.com/certs", "https://auth.example.com/certs"),
            ("https://auth.example.com/certs", "https://auth.example.com/certs"),
            ("HTTPS://AUTH.example.com:443/certs", "https://AUTH.example.com:443/certs"),
            (" /certs ", "https://auth.example.com/certs"),
            ("/a:b", "https://auth.example.com/a:b"),
        ] {
            let found = to(base, location.as_bytes());
            assert_eq!(found, Some(Ok(target.to_owned())), "{location}");
        }
        let found = to("http://[::1]:8080/a", b"/b");
        assert_eq!(found, Some(Ok("http://[::1]:8080/b".to_owned())));
    }

    #[test]
    fn a_redirect_elsewhere_is_rejected_and_shown_without_secrets() {
        let base = "https://auth.example.com/keys";
        for (location, shown) in [
            (&b"http://auth.example.com/keys"[..], "http://auth.example.com/keys"),
            (b"https://auth.example.com:8443/keys", "https://auth.example.com:8443/keys"),
            (b"https://evil.example/keys?token=secret", "https://evil.example/keys"),
            (b"//evil.example", "https://evil.example/"),
            (b"https://me:secret@evil.example/", "https://evil.example/"),
            (b"https://auth.example.com@evil.example/", "https://evil.example/"),
            (b"https://me:secret@evil example/?secret", "evil example/"),
            (b"javascript:alert(1)", "javascript:alert(1)"),
            (b"ftp://auth.example.com/keys", "ftp://auth.example.com/keys"),
            (b"/a b\x80", "/a b\u{fffd}"),
            (b"x\xc2\x9b2Jy z", r"x\u{9b}2Jy z"),
        ] {
            let found = to(base, location);
            assert_eq!(found, Some(Err(shown.to_owned())), "{}", location.escape_ascii());
        }
    }

    #[test]
    fn an_answer_that_says_no_place_is_no_redirect() {
        let base = Uri::from_static("https://auth.example.com/keys");
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::FOUND;
        assert_eq!(redirected(&base, &answer), None);
        answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/certs"));
        for (status, redirects) in [
            (200, false),
            (300, false),
            (301, true),
            (303, true),
            (304, false),
            (305, false),
            (307, true),
            (308, true),
            (404, false),
        ] {
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            assert_eq!(redirected(&base, &answer).is_some(), redirects, "{status}");
        }
    }
}
