//! What is found stands in the place that comes first. Input: a line with a value of `cookie`, one
//! with a value of `authorization`, and a query.
#![no_main]

use http::{HeaderMap, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use tailwater_jwt::Credentials;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let [cookie, header, query] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let credentials = Credentials::bearer()
        .cookie("token", "v1-{credentials}-end")
        .and_then(|places| places.query("access_token", "{credentials}"))
        .expect("they are patterns");
    let mut headers = HeaderMap::new();
    for (name, value) in [("cookie", cookie), ("authorization", header)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let Ok(uri) = Uri::try_from([b"/events?", query].concat()) else { return };
    let found = credentials.find(&headers, &uri);

    let bytes = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let text = |value| HeaderValue::from_bytes(value).ok()?.to_str().ok().map(str::to_owned);
    let in_cookie = bytes("cookie").split(|byte| *byte == b';').find_map(|pair| {
        let value = text(pair.trim_ascii().strip_prefix(b"token=")?)?;
        let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        if unquoted == Some("") {
            return None;
        }
        let exact = |value: &str| {
            let value = value.strip_prefix("v1-")?.strip_suffix("-end")?;
            (!value.is_empty()).then(|| value.to_owned())
        };
        unquoted.and_then(exact).or_else(|| exact(&value))
    });
    let header = text(bytes("authorization")).unwrap_or_default();
    let in_header = header.split_once(' ').and_then(|(scheme, value)| {
        let value = value.trim_start_matches(' ');
        (scheme.to_lowercase() == "bearer" && !value.is_empty()).then(|| value.to_owned())
    });
    match in_cookie.or(in_header) {
        Some(expected) => assert_eq!(found, Some(expected.into())),
        None => {
            let Some(found) = found else { return };
            let query = uri.query().expect("it was found there");
            let decoded = percent_encoding::percent_decode_str(query).decode_utf8_lossy();
            assert!(decoded.contains(&format!("access_token={found}")), "{found} in {query}");
        }
    }
});
