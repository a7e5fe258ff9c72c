use std::fmt;

use http::Uri;

use crate::escape::Escaped;

/// Displays a URL without its user and its query: both may be secrets.
pub(crate) struct Redacted<'a>(pub(crate) &'a Uri);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.0.scheme() {
            write!(f, "{scheme}://")?;
        }
        f.write_str(self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        Escaped(self.0.path()).fmt(f)
    }
}

/// The same of a text that is no URL. Where a `?` or `#` may be part of a password, nothing is shown.
pub(crate) fn redacted_text(text: &str) -> String {
    let shown = match text.rsplit_once('@') {
        Some((user, _)) if user.contains(['?', '#']) => "…",
        Some((_, host)) => host,
        None => text,
    };
    Escaped(shown.split(['?', '#']).next().unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_user_and_its_query() {
        for (uri, shown) in [
            ("https://auth.example.com/keys", "https://auth.example.com/keys"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            (
                "https://name:secret@auth.example.com:8443/a/b?c",
                "https://auth.example.com:8443/a/b",
            ),
            ("https://auth.example.com?token=secret", "https://auth.example.com/"),
            ("/keys?token=secret", "/keys"),
            ("auth.example.com", "auth.example.com"),
            ("https://auth.example.com/\u{202e}", r"https://auth.example.com/\u{202e}"),
        ] {
            assert_eq!(Redacted(&uri.parse().unwrap()).to_string(), shown, "{uri}");
        }
    }

    #[test]
    fn a_text_that_is_no_url_is_shown_without_what_may_be_a_secret() {
        for (text, shown) in [
            ("https://name:secret@host/a\u{1b}", r"host/a\u{1b}"),
            ("https://name:sec/ret@ho st?token=secret", "ho st"),
            ("name:sec@ret@host", "host"),
            ("https://na me:sec#ret@host/", "…"),
            ("https://ho st/?token=sec@ret", "…"),
            ("a\nb", r"a\nb"),
        ] {
            assert!(text.parse::<Uri>().is_err() || !text.contains("://"), "{text}");
            assert_eq!(redacted_text(text), shown, "{text}");
        }
    }
}
