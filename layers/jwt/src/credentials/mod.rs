use std::borrow::Cow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, Entry};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use crate::Error;
use crate::credentials::pattern::Pattern;

mod pattern;

/// The places of a request that may contain credentials.
///
/// Cookies are searched first, then headers, then the query. Places of one kind are searched in the order in
/// which they were added. The first credentials that are found are used. If they are invalid, the other
/// places are not tried. A value that does not match the pattern is ignored, as are empty credentials. The
/// value itself must be text: visible ASCII in cookies and headers, UTF-8 in the query. Other bytes of the
/// same header or query do not matter.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri};
/// use tailwater_jwt::Credentials;
///
/// let credentials = Credentials::new()
///     .header("authorization", "Bearer {credentials}")?
///     .query("access_token", "{credentials}")?;
///
/// let uri = Uri::from_static("/events?access_token=abc");
/// let mut headers = HeaderMap::new();
/// assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("abc"));
///
/// headers.insert("authorization", HeaderValue::from_static("bearer def"));
/// assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("def"));
/// # Ok::<_, tailwater_jwt::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Credentials {
    cookies: Arc<[(Box<str>, Pattern)]>,
    headers: Arc<[(HeaderName, Pattern)]>,
    query: Arc<[(Box<str>, Pattern)]>,
}

impl Credentials {
    /// No place.
    pub fn new() -> Self {
        Self::default()
    }

    /// The header `authorization: Bearer …` (RFC 6750, 2.1).
    pub fn bearer() -> Self {
        Self { headers: [(AUTHORIZATION, Pattern::bearer())].into(), ..Self::default() }
    }

    /// A cookie of exactly this name. Double quotes around the value are removed.
    ///
    /// # Errors
    /// [`Error::Pattern`]; [`Error::Name`] if it is not a valid name of a cookie.
    pub fn cookie(mut self, name: &str, pattern: &str) -> Result<Self, Error> {
        // The name of a cookie is a token (RFC 6265, 4.1.1), as is the name of a header.
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(Error::Name(name.to_owned()));
        }
        add(&mut self.cookies, name.into(), pattern)?;
        Ok(self)
    }

    /// A header. The text before the first space of the pattern is a scheme, such as `Bearer`, and is compared
    /// without regard to case.
    ///
    /// # Errors
    /// [`Error::Pattern`]; [`Error::Name`] if it is not a valid name of a header.
    pub fn header(mut self, name: &str, pattern: &str) -> Result<Self, Error> {
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.map_err(|_| Error::Name(name.to_owned()))?;
        add(&mut self.headers, header, pattern)?;
        Ok(self)
    }

    /// A parameter of the query, percent-decoded.
    ///
    /// # Errors
    /// [`Error::Pattern`]; [`Error::Name`] if the name is empty.
    pub fn query(mut self, name: &str, pattern: &str) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::Name(String::new()));
        }
        add(&mut self.query, name.into(), pattern)?;
        Ok(self)
    }

    /// The first credentials of a request.
    #[must_use]
    pub fn find<'a>(&self, headers: &'a HeaderMap, uri: &'a Uri) -> Option<Cow<'a, str>> {
        self.in_cookies(headers)
            .or_else(|| self.in_headers(headers))
            .map(Cow::Borrowed)
            .or_else(|| self.in_query(uri))
    }

    fn in_cookies<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        self.cookies.iter().find_map(|(name, pattern)| {
            let mut pairs = headers.get_all(COOKIE).into_iter().flat_map(pairs);
            pairs.find_map(|pair| in_cookie(pair, name, pattern))
        })
    }

    fn in_headers<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        self.headers.iter().find_map(|(name, pattern)| {
            let values = headers.get_all(name).into_iter();
            values
                .filter_map(|value| text(value.as_bytes()))
                .find_map(|text| pattern.with_scheme(text))
        })
    }

    fn in_query<'a>(&self, uri: &'a Uri) -> Option<Cow<'a, str>> {
        self.query.iter().find_map(|(name, pattern)| {
            uri.query()?.split('&').find_map(|pair| in_parameter(pair, name, pattern))
        })
    }

    /// Removes the credentials from a request, so that no inner service can log or forward them. The remaining
    /// values of the headers are marked as sensitive.
    pub(crate) fn strip(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        for (name, pattern) in &*self.headers {
            rewrite(headers, name, |value| {
                let found = text(value.as_bytes()).and_then(|text| pattern.with_scheme(text));
                found.is_none().then_some(value)
            });
        }
        if !self.cookies.is_empty() {
            rewrite(headers, &COOKIE, |value| self.without_secrets(value));
        }
        if let Some(rest) = self.query_without_secrets(uri) {
            let mut parts = std::mem::take(uri).into_parts();
            parts.path_and_query = Some(rest);
            *uri = Uri::from_parts(parts).expect("only the query is another");
        }
    }

    fn without_secrets(&self, cookies: HeaderValue) -> Option<HeaderValue> {
        let secret = |pair: &[u8]| {
            self.cookies.iter().any(|(name, pattern)| in_cookie(pair, name, pattern).is_some())
        };
        if !pairs(&cookies).any(secret) {
            return Some(cookies);
        }
        let kept: Vec<_> = pairs(&cookies).filter(|pair| !secret(pair)).collect();
        HeaderValue::try_from(kept.join(&b"; "[..])).ok().filter(|value| !value.is_empty())
    }

    fn query_without_secrets(&self, uri: &Uri) -> Option<PathAndQuery> {
        let secret = |pair: &&str| {
            self.query.iter().any(|(name, pattern)| in_parameter(pair, name, pattern).is_some())
        };
        let query = uri.query().filter(|query| query.split('&').any(|pair| secret(&pair)))?;
        let kept: Vec<_> = query.split('&').filter(|pair| !secret(pair)).collect();
        let mut rest = uri.path().to_owned();
        if !kept.is_empty() {
            rest.push('?');
            rest.push_str(&kept.join("&"));
        }
        Some(rest.parse().expect("a part of a query is a query"))
    }
}

fn add<N: Clone>(places: &mut Arc<[(N, Pattern)]>, name: N, pattern: &str) -> Result<(), Error> {
    let pattern = Pattern::new(pattern)?;
    *places = places.iter().cloned().chain([(name, pattern)]).collect();
    Ok(())
}

/// The value as text, if it consists of visible ASCII, spaces and tabs.
fn text(value: &[u8]) -> Option<&str> {
    let visible = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    visible.then(|| str::from_utf8(value).ok()).flatten()
}

/// The pairs of a cookie header (RFC 6265, 4.2.1) as bytes: browsers send any bytes that a page has set.
fn pairs(cookies: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let pairs = cookies.as_bytes().split(|byte| *byte == b';');
    pairs.map(<[u8]>::trim_ascii)
}

fn in_cookie<'a>(pair: &'a [u8], name: &str, pattern: &Pattern) -> Option<&'a str> {
    let value = text(pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?)?;
    // RFC 6265, 4.1.1: a value may stand in quotes.
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some("") => None,
        Some(unquoted) => pattern.exact(unquoted).or_else(|| pattern.exact(value)),
        None => pattern.exact(value),
    }
}

fn in_parameter<'a>(pair: &'a str, name: &str, pattern: &Pattern) -> Option<Cow<'a, str>> {
    let (known, value) = pair.split_once('=')?;
    let known: Cow<'_, [u8]> = percent_decode_str(known).into();
    if *known != *name.as_bytes() {
        return None;
    }
    match percent_decode_str(value).decode_utf8().ok()? {
        Cow::Borrowed(value) => pattern.exact(value).map(Cow::Borrowed),
        Cow::Owned(value) => pattern.exact(&value).map(|found| Cow::Owned(found.to_owned())),
    }
}

/// Replaces or drops each value of a header.
fn rewrite(
    headers: &mut HeaderMap,
    name: &HeaderName,
    change: impl Fn(HeaderValue) -> Option<HeaderValue>,
) {
    let Entry::Occupied(entry) = headers.entry(name) else { return };
    let (name, values) = entry.remove_entry_mult();
    let kept: Vec<_> = values.filter_map(change).collect();
    for mut value in kept {
        value.set_sensitive(true);
        headers.append(&name, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cookie(headers: &[impl AsRef<[u8]>]) -> Option<String> {
        let credentials = Credentials::new().cookie("token", "{credentials}").unwrap();
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(COOKIE, HeaderValue::from_bytes(value.as_ref()).unwrap());
        }
        credentials.find(&map, &Uri::from_static("/")).map(Cow::into_owned)
    }

    fn query(uri: &str) -> Option<String> {
        let credentials = Credentials::new().query("access_token", "{credentials}").unwrap();
        credentials.find(&HeaderMap::new(), &uri.parse().unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let rows: [(&[&str], Option<&str>); 11] = [
            (&["token=abc"], Some("abc")),
            (&["a=b; token=abc; c=d"], Some("abc")),
            (&["a=b", "token=abc"], Some("abc")),
            (&["a=b;token=abc;"], Some("abc")),
            (&["token=a=b"], Some("a=b")),
            (&["token=first; token=second"], Some("first")),
            (&["xtoken=abc"], None),
            (&["x-token=abc; tokens=abc"], None),
            (&["Token=abc"], None),
            (&["token"], None),
            (&["token="], None),
        ];
        for (headers, found) in rows {
            assert_eq!(cookie(headers).as_deref(), found, "{headers:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_whatever_stands_beside_it() {
        let rows: [(&[&[u8]], Option<&str>); 13] = [
            (&["city=Zürich; token=abc".as_bytes()], Some("abc")),
            (&[b"city=Z\xfcrich; token=abc; a=\xff\x80"], Some("abc")),
            (&[b"Z\xfcrich; token=abc"], Some("abc")),
            (&[b"\xff=\xff;token=abc"], Some("abc")),
            (&[b"city=Z\xfcrich", b"token=abc"], Some("abc")),
            (&[b"; ;;=;a;\ttoken=abc\t;"], Some("abc")),
            (&[b"token=\xff; token=abc"], Some("abc")),
            (&[b"token=a\xfcb"], None),
            (&[b"a=\"b; token=abc\""], Some("abc\"")),
            (&[b"token=\"abc\""], Some("abc")),
            (&[b"token=\"\"; token=abc"], Some("abc")),
            (&[b"token=\""], Some("\"")),
            (&[b"token=\"abc"], Some("\"abc")),
        ];
        for (headers, found) in rows {
            let shown: Vec<_> = headers.iter().map(|value| value.escape_ascii()).collect();
            assert_eq!(cookie(headers).as_deref(), found, "{shown:?}");
        }
        // Where the pattern has the quotes, they are a part of the value.
        let credentials = Credentials::new().cookie("token", "\"{credentials}\"").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("token=\"abc\""));
        let uri = Uri::from_static("/");
        assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("abc"));
    }

    #[test]
    fn what_stands_beside_a_cookie_is_left_as_it_is() {
        let credentials = Credentials::new().cookie("token", "{credentials}").unwrap();
        let rows: [(&[u8], Option<&[u8]>); 4] = [
            (b"city=Z\xfcrich; token=abc; a=\xff", Some(b"city=Z\xfcrich; a=\xff")),
            (b"token=\"abc\";a=b", Some(b"a=b")),
            (b"city=Z\xfcrich;a=b", Some(b"city=Z\xfcrich;a=b")),
            (b"token=abc", None),
        ];
        for (value, kept) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_bytes(value).unwrap());
            credentials.strip(&mut headers, &mut Uri::from_static("/"));
            let value = value.escape_ascii();
            assert_eq!(headers.get(COOKIE).map(HeaderValue::as_bytes), kept, "{value}");
        }
    }

    #[test]
    fn a_parameter_is_found_in_any_encoding() {
        let rows = [
            ("/?access_token=abc", Some("abc")),
            ("/?a=b&access_token=a%62c&c", Some("abc")),
            ("/?access%5ftoken=abc", Some("abc")),
            ("/?access_token=a+b", Some("a+b")),
            ("/?access_token=a%26b", Some("a&b")),
            ("/?access_token=first&access_token=second", Some("first")),
            ("/?access_token=%ff", None),
            ("/?a=%ff&%ff=b&%&c=%zz&access_token=abc", Some("abc")),
            ("/?a=Zürich&access_token=abc&Zürich", Some("abc")),
            ("/?&&=&access_token=%ff&access_token=abc", Some("abc")),
            ("/?access_token=", None),
            ("/?access_token", None),
            ("/?Access_Token=abc", None),
            ("/?xaccess_token=abc", None),
            ("/access_token=abc", None),
        ];
        for (uri, found) in rows {
            assert_eq!(query(uri).as_deref(), found, "{uri}");
        }
    }

    #[test]
    fn a_header_that_does_not_match_is_nothing() {
        let credentials = Credentials::bearer().query("t", "{credentials}").unwrap();
        let uri = Uri::from_static("/?t=query");
        for (value, found) in [
            (&b"Basic YTpi"[..], "query"),
            (b"Bearer \xff", "query"),
            ("Bearer Zürich".as_bytes(), "query"),
            (b"Bearer ", "query"),
            (b"Bearer abc", "abc"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(credentials.find(&headers, &uri).as_deref(), Some(found));
        }
    }

    #[test]
    fn places_of_one_kind_come_in_the_order_in_which_they_were_added() {
        let credentials = Credentials::new()
            .query("q", "{credentials}")
            .and_then(|places| places.header("x-second", "{credentials}"))
            .and_then(|places| places.header("x-first", "{credentials}"))
            .unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-first", HeaderValue::from_static("1"));
        headers.insert("x-second", HeaderValue::from_static("2"));
        let uri = Uri::from_static("/?q=3");
        assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("2"));
        headers.remove("x-second");
        assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("1"));
        headers.clear();
        assert_eq!(credentials.find(&headers, &uri).as_deref(), Some("3"));
        assert_eq!(Credentials::new().find(&headers, &uri), None);
    }

    #[test]
    fn names_and_patterns_that_are_none_are_errors() {
        let new = Credentials::new;
        let error = |result: Result<Credentials, Error>| result.unwrap_err();
        assert_eq!(error(new().header("a b", "{credentials}")), Error::Name("a b".to_owned()));
        assert_eq!(error(new().cookie("a;b", "{credentials}")), Error::Name("a;b".to_owned()));
        assert_eq!(error(new().query("", "{credentials}")), Error::Name(String::new()));
        assert_eq!(error(new().query("a", "Bearer")), Error::Pattern("Bearer".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_stripped_is_not_found_again(
            cookies in prop::collection::vec("(t|u|tt)=[a-c;= ]{0,4}(; t=x)?", 0..3),
            bearers in prop::collection::vec("(Bearer|bearer|Basic) {0,2}[a-c]{0,3}", 0..3),
            query in "([tu]=?[a-c%2]{0,4}&?){0,4}",
        ) {
            let credentials = Credentials::bearer()
                .cookie("t", "{credentials}")
                .and_then(|places| places.query("t", "{credentials}"))
                .unwrap();
            let mut headers = HeaderMap::new();
            for (name, values) in [(COOKIE, cookies), (AUTHORIZATION, bearers)] {
                for value in values {
                    headers.append(&name, HeaderValue::from_str(&value).unwrap());
                }
            }
            let mut uri: Uri = format!("/p?{query}").parse().unwrap();
            let before = uri.clone();
            let found = credentials.find(&headers, &uri).is_some();
            credentials.strip(&mut headers, &mut uri);
            prop_assert_eq!(credentials.find(&headers, &uri), None);
            prop_assert_eq!(uri.path(), "/p");
            prop_assert!(found || uri == before);
        }
    }
}
