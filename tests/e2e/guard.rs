//! Who gets in, and what they see.

use crate::support::{
    Get, Record, Server, Token, Version, ec_key, field, guarded, id, in_seconds, kafka,
};

#[tokio::test]
async fn a_request_is_answered_by_what_its_token_lacks() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let good = Token::of("alice").roles("write read").claim("account", "a");
    let rsa = good.sign();
    let ec = good.sign_by(ec_key());
    let list = good.clone().claim("scope", vec!["read", "write"]).sign();
    let expired = good.clone().until(in_seconds(0)).sign();
    let early = good.clone().claim("nbf", 4_000_000_000_u64).sign();
    for version in Version::BOTH {
        for (case, path, token, status) in [
            ("a good token", "/read", Some(&rsa), 200),
            ("a token of ES256", "/read", Some(&ec), 200),
            ("roles in a list", "/read", Some(&list), 200),
            ("no token", "/read", None, 401),
            ("no token is needed", "/open", None, 200),
            ("nonsense", "/any", Some(&"nonsense".to_owned()), 401),
            ("another's signature", "/any", Some(&good.forge()), 401),
            ("a token that is over", "/any", Some(&expired), 401),
            ("a token that is to come", "/any", Some(&early), 401),
            ("no expiry", "/any", Some(&good.clone().without("exp").sign()), 401),
            ("another issuer", "/any", Some(&good.clone().claim("iss", "other").sign()), 401),
            ("another audience", "/any", Some(&good.clone().claim("aud", "other").sign()), 401),
            ("a role that is missing", "/read", Some(&Token::of("a").roles("write").sign()), 403),
            ("no role at all", "/read", Some(&Token::of("a").sign()), 403),
            ("a part of a role", "/read", Some(&Token::of("a").roles("reader").sign()), 403),
            ("no claim of the filter", "/own", Some(&Token::of("a").sign()), 403),
            ("no attribute of the filter", "/tenant", Some(&rsa), 403),
            (
                "a claim that is no text",
                "/own",
                Some(&Token::of("a").claim("account", vec!["a"]).sign()),
                403,
            ),
            ("a path without a route", "/nowhere", Some(&rsa), 404),
            ("the same without a token", "/nowhere", None, 404),
        ] {
            let get = server.get(&format!("{path}/{topic}")).over(version);
            let get = token.into_iter().fold(get, |get, token| get.bearer(token));
            let answer = get.send().await;
            assert_eq!(answer.status, status, "{version:?} {case}");
            let demanded = (status == 401).then_some("Bearer");
            assert_eq!(answer.header("www-authenticate"), demanded, "{version:?} {case}");
            if status != 200 {
                assert_eq!(answer.text().await, "", "{version:?} {case}");
            }
        }
    }
}

#[tokio::test]
async fn of_two_credentials_the_first_place_decides() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let good = Token::of("alice").sign();
    let bad = Token::of("alice").forge();
    let path = format!("/any/{topic}");
    for version in Version::BOTH {
        let get = |cookie: Option<&str>, header: Option<&str>, query: Option<&str>| {
            let query = query.map(|token| format!("?access_token={token}")).unwrap_or_default();
            let get = server.get(&format!("{path}{query}")).over(version);
            let get = header.into_iter().fold(get, Get::bearer);
            cookie.into_iter().fold(get, |get, cookie| {
                get.header("cookie", format!("x_access_token=x; access_token={cookie}"))
            })
        };
        for (case, get, status) in [
            ("a cookie", get(Some(&good), None, None), 200),
            ("a header", get(None, Some(&good), None), 200),
            ("the query", get(None, None, Some(&good)), 200),
            ("a cookie before a header", get(Some(&good), Some(&bad), None), 200),
            ("a bad cookie before a header", get(Some(&bad), Some(&good), None), 401),
            ("a header before the query", get(None, Some(&good), Some(&bad)), 200),
            ("a bad header before the query", get(None, Some(&bad), Some(&good)), 401),
        ] {
            assert_eq!(get.send().await.status, status, "{version:?} {case}");
        }
    }
}

#[tokio::test]
async fn a_token_is_found_whatever_bytes_stand_beside_it() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let good = Token::of("alice").sign();
    let path = format!("/any/{topic}");
    let cookie =
        |before: &[u8], after: &[u8]| [before, b"access_token=", good.as_bytes(), after].concat();
    for version in Version::BOTH {
        let get = |query: &str| server.get(&format!("{path}{query}")).over(version);
        for (case, get) in [
            ("UTF-8", get("").header("cookie", cookie("city=Zürich; ".as_bytes(), b""))),
            ("Latin-1", get("").header("cookie", cookie(b"city=Z\xfcrich;", b"; a=\xff"))),
            ("empty parts", get("").header("cookie", cookie(b"; ;=;a;", b";;"))),
            ("quotes", get("").header("cookie", format!("a=b; access_token=\"{good}\"; c=\"d\""))),
            (
                "several fields",
                get("").header("cookie", b"city=Z\xfcrich").header("cookie", cookie(b"", b"")),
            ),
            (
                "a cookie that was emptied",
                get("").header("cookie", "access_token=\"\"; access_token=").bearer(&good),
            ),
            (
                "a cookie that is no text",
                get("").header("cookie", b"access_token=\xff").bearer(&good),
            ),
            (
                "broken escapes",
                get(&format!("?a=%ff&%zz=%&%ff&access_token=%ff&access_token={good}&b=%e4")),
            ),
        ] {
            assert_eq!(get.send().await.status, 200, "{version:?} {case}");
        }
    }
}

async fn data(
    server: &Server,
    path: &str,
    token: &str,
    version: Version,
    count: usize,
) -> Vec<String> {
    let mut stream = server.get(path).over(version).bearer(token).open().await;
    let mut data = Vec::new();
    while data.len() < count {
        let block = stream.next().await;
        if field(&block, "event") != Some("challenge") {
            data.push(block);
        }
    }
    data
}

#[tokio::test]
async fn each_user_sees_the_records_of_their_own() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let acme = [("tenant", Some(&b"acme"[..]))];
    let other = [("tenant", Some(&b"other"[..]))];
    for (value, key, headers) in [
        ("0", "a", &acme),
        ("1", "b", &acme),
        ("2", "a", &other),
        ("3", "b", &other),
        ("4", "", &acme),
    ] {
        kafka.produce(&topic, Record::value(value).key(key).headers(headers));
    }
    // The subject is not what the filter asks for.
    let of = |account: &str, tenant: &str| {
        Token::of("someone").claim("account", account).claim("tenant", tenant).sign()
    };
    let a = of("a", "acme");
    let b = of("b", "other");
    let own = format!("/own/{topic}");
    let tenant = format!("/tenant/{topic}");
    for version in Version::BOTH {
        for (path, token, expected) in [
            (&own, &a, ["data:0\nid:AQIAAg==\n", "data:2\nid:AQIABg==\n"]),
            (&own, &b, ["data:1\nid:AQIABA==\n", "data:3\nid:AQIACA==\n"]),
            (&tenant, &b, ["data:2\nid:AQIABg==\n", "data:3\nid:AQIACA==\n"]),
        ] {
            let seen = data(&server, path, token, version, 2).await;
            assert_eq!(seen, expected, "{version:?} {path}");
        }
        let seen = data(&server, &tenant, &a, version, 3).await;
        let values: Vec<_> = seen.iter().map(|seen| field(seen, "data").expect("data")).collect();
        assert_eq!(values, ["0", "1", "4"], "{version:?}");
    }
}

#[tokio::test]
async fn an_id_of_somebody_else_is_a_place_and_no_permission() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    for (value, key) in [("0", "a"), ("1", "b"), ("2", "b"), ("3", "a"), ("4", "b")] {
        kafka.produce(&topic, Record::value(value).key(key));
    }
    let token = |account: &str| Token::of(account).claim("account", account).sign();
    let own = format!("/own/{topic}");
    for version in Version::BOTH {
        // The id of the first record that `b` was given.
        let of_b = data(&server, &own, &token("b"), version, 1).await.remove(0);
        assert_eq!(field(&of_b, "data"), Some("1"), "{version:?}");
        let at = field(&of_b, "id").expect("an id").to_owned();
        let path = format!("{own}?lastEventId={}", at.replace('=', "%3D"));
        let mut by_header =
            server.get(&own).over(version).bearer(&token("a")).last_event_id(&at).open().await;
        let mut by_query = server.get(&path).over(version).bearer(&token("a")).open().await;
        for stream in [&mut by_header, &mut by_query] {
            let mut blocks = vec![stream.next().await, stream.next().await];
            // The challenge comes when it is due, which is at once.
            blocks.retain(|block| field(block, "event") != Some("challenge"));
            assert_eq!(blocks, [format!("data:3\nid:{}\n", id(&[(0, 4)]))], "{version:?}");
        }
        // Without a token, and with one that lacks the claim, the id opens nothing.
        let get = server.get(&own).over(version).last_event_id(&at);
        assert_eq!(get.clone().send().await.status, 401, "{version:?}");
        assert_eq!(get.bearer(&Token::of("a").sign()).send().await.status, 403, "{version:?}");
    }
}
