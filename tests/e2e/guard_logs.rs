//! No credentials in any log.

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    Record, Server, Token, Version, field, guarded, in_seconds, kafka, raw, soon,
};

/// Sends a request that is none within TLS.
async fn nonsense(server: &Server, token: &str) {
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let tls = server.tls().expect("it is encrypted").alpn(&["http/1.1"]);
    let mut stream = tls.handshake(socket).await.expect("a handshake");
    let request =
        format!("GET /any/x?access_token={token} HTTP/1.1\r\nhost: a b\r\n{token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is written");
    // Closed in whatever way.
    let _ = soon("an answer to nonsense", stream.read_to_end(&mut Vec::new())).await;
}

/// Sends a request over HTTP/2 with this token in its path, in its authority and in a header. None of them is valid.
async fn invalid_over_h2(server: &Server, token: &str) {
    let path = format!("/own/x?access_token={token} and more");
    let authority = format!("{token}@a b");
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", &authority),
        (":path", &path),
        ("te", token),
    ];
    for invalid in 2..fields.len() {
        let mut block = Vec::new();
        for (index, (name, value)) in fields.iter().enumerate() {
            let value = if index >= 2 && index != invalid { "/" } else { value };
            // A literal field without indexing, as in RFC 7541, 6.2.2.
            block.push(0);
            for text in [name.as_bytes(), value.as_bytes()] {
                push_length(&mut block, text.len());
                block.extend(text);
            }
        }
        let length = u32::try_from(block.len()).expect("a short block").to_be_bytes();
        let head = [&length[1..], b"\x01\x05\0\0\0\x01"].concat();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let socket = TcpStream::connect(server.address()).await.expect("a connection");
        let tls = server.tls().expect("it is encrypted").alpn(&["h2"]);
        let mut stream = tls.handshake(socket).await.expect("a handshake");
        let request = [&preface[..], &head, &block].concat();
        stream.write_all(&request).await.expect("it is written");
        // A frame RST_STREAM or HEADERS of the stream.
        let mut read = Vec::new();
        let answered = async {
            let answers = [b"\x03\0\0\0\0\x01", b"\x01\x04\0\0\0\x01"];
            while !answers.iter().any(|answer| read.windows(6).any(|at| at == *answer)) {
                if stream.read_buf(&mut read).await.expect("it is read") == 0 {
                    return;
                }
            }
        };
        soon("an answer to an invalid request", answered).await;
    }
}

/// A length in seven bits, or more as in RFC 7541, 5.1.
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("seven bits"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128 + 128).expect("eight bits"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}

#[tokio::test]
async fn no_token_is_in_a_log_of_any_level() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a").key("a"));
    for level in ["info", "trace"] {
        let mut server =
            guarded(&kafka).arguments(&["--log-level", level, "--drain", "0"]).run().await;
        let alice = || Token::of("alice").claim("account", "a");
        let good = alice().sign();
        let mut secrets: Vec<String> = Vec::new();
        for (status, token) in [
            (200, good.clone()),
            (401, alice().forge()),
            (401, alice().until(in_seconds(0)).sign()),
            (401, alice().claim("iss", "other").sign()),
            (401, "opaque-secret-of-another-kind".to_owned()),
            (401, "header-secret.payload-secret.signature-secret".to_owned()),
        ] {
            for version in Version::BOTH {
                let path = format!("/own/{topic}");
                let get = |query: &str| server.get(&format!("{path}{query}")).over(version);
                let query = format!("?x=1&access_token={token}");
                for get in [
                    get("").bearer(&token),
                    get("").header("cookie", format!("a=b; access_token={token}")),
                    get(&query),
                    get(&query).header("referer", format!("https://localhost/{query}")),
                ] {
                    let answer = get.clone().send().await;
                    assert_eq!(answer.status, status, "{version:?}");
                    // Without a route, and as the answer to a challenge.
                    let answer = get.method("PUT").send().await;
                    assert_eq!(answer.status, if status == 200 { 405 } else { status });
                }
                let answer = get(&query).bearer(&token).answer().send().await;
                assert_eq!(answer.status, 204);
                server.get(&format!("/nowhere{query}")).over(version).send().await;
            }
            nonsense(&server, &token).await;
            invalid_over_h2(&server, &token).await;
            let plain = format!("GET /?access_token={token} HTTP/1.1\r\nhost: x\r\n\r\n");
            raw(server.address(), plain.as_bytes(), |_| false).await;
            secrets.extend(token.split('.').map(str::to_owned));
        }
        // Who knows the name of a session may renew it.
        let mut stream = server.get(&format!("/any/{topic}")).bearer(&good).open().await;
        let block = stream.next().await;
        let data = field(&block, "data").expect("a challenge");
        let challenge: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let session = challenge["headers"]["x-challenge-session"].as_str().expect("a name");
        let get = server.get("/").answer().header("x-challenge-session", session).bearer(&good);
        assert_eq!(get.send().await.status, 204);
        secrets.push(session.to_owned());

        server.process().signal(Signal::TERM);
        server.process().ended().await;
        let log = server.stderr().all().await;
        let access = server.stdout().all().await;
        assert!(access.contains(&topic) && access.contains("\"status\":401"), "{access}");
        assert_eq!(log.contains("\"TRACE\""), level == "trace", "{log}");
        for secret in &secrets {
            let line = log.lines().chain(access.lines()).find(|line| line.contains(&**secret));
            assert_eq!(line, None, "{level}: {secret}");
        }
    }
}
