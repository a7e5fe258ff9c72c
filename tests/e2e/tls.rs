//! Handshakes: versions, protocols, names and client certificates.

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Authority, Server, Tls, Version, site, soon};

/// What comes of a connection: the version, the protocol and the page, or why there is none.
async fn page(
    server: &Server,
    tls: &Tls,
) -> Result<(ProtocolVersion, Option<Vec<u8>>, String), String> {
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let handshake = soon("a handshake", tls.handshake(socket)).await;
    let mut stream = handshake.map_err(|error| error.to_string())?;
    let request = b"GET /page.txt HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    let mut read = Vec::new();
    // In TLS 1.3 a server refuses a client's certificate after the client is done.
    let reading = soon("an answer", stream.read_to_end(&mut read)).await;
    reading.map_err(|error| error.to_string())?;
    let read = String::from_utf8(read).expect("a text");
    let (_, connection) = stream.get_ref();
    let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
    let page = read.rsplit_once("\r\n\r\n").ok_or("closed")?.1.to_owned();
    Ok((connection.protocol_version().expect("it is known"), alpn, page))
}

#[tokio::test]
async fn tls_12_and_13_are_spoken_and_one_alone_if_it_is_demanded() {
    for (options, only) in [
        ("{ keys: [localhost] }", None),
        ("{ keys: [localhost], version: TLSv1.2 }", Some(ProtocolVersion::TLSv1_2)),
        ("{ keys: [localhost], version: TLSv1.3 }", Some(ProtocolVersion::TLSv1_3)),
    ] {
        let server = site().options(options).run().await;
        for version in [&TLS12, &TLS13] {
            let tls = server.tls().expect("it is encrypted").version(version);
            let page = page(&server, &tls).await;
            if only.is_none_or(|only| only == version.version) {
                assert_eq!(page, Ok((version.version, None, "first".to_owned())), "{options}");
            } else {
                let error = page.expect_err(options);
                assert!(error.contains("ProtocolVersion"), "{options}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn the_protocol_is_the_one_that_both_speak() {
    let both = site().run().await;
    let tls = both.tls().expect("it is encrypted");
    let http1 = Some(b"http/1.1".to_vec());
    for (offered, agreed) in
        [(&["http/1.1"][..], http1.clone()), (&["h3", "http/1.1"], http1), (&[], None)]
    {
        let (_, alpn, page) = page(&both, &tls.clone().alpn(offered)).await.expect("a page");
        assert_eq!((alpn, &*page), (agreed, "first"), "{offered:?}");
    }
    let answer = both.get("/page.txt").over(Version::Http2).send().await;
    assert_eq!(answer.text().await, "first");
    let refused = page(&both, &tls.clone().alpn(&["h3"])).await.expect_err("no protocol");
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");

    // HTTP/2 alone: whoever does not ask for it is not served.
    let second = site();
    let server = second.routes("exit: second").run().await;
    let tls = server.tls().expect("it is encrypted");
    let refused = page(&server, &tls.clone().alpn(&["http/1.1"])).await.expect_err("no protocol");
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    page(&server, &tls).await.expect_err("HTTP/1.1 is not spoken");
    let answer = server.get("/page.txt").over(Version::Http2).send().await;
    assert_eq!(answer.text().await, "second");
}

#[tokio::test]
async fn a_name_chooses_certificate_and_route() {
    let site = site();
    let one = site.authority.issue(&["one.example"]);
    let wild = site.authority.issue(&["*.wild.example"]);
    let server = site
        .keys(&[&one, &wild])
        .options("{ keys: [one.example, \"*.wild.example\"], sni: [one.example] }")
        .routes(
            // The port is one that the system chose.
            "routes: [{ when: [{ port: 1-1023 }], exit: second }, \
             { when: [{ authority: one.example, port: [80, 1024-65535] }], exit: first }, \
             { when: [{ authority: \"*.wild.example\", alpn: h2 }], exit: second }]",
        )
        .run()
        .await;
    let tls = server.tls().expect("it is encrypted");
    for (name, certificate, text) in [
        ("one.example", &one, "first"),
        ("ONE.example", &one, "first"),
        ("a.wild.example", &wild, "second"),
        ("b.wild.example", &wild, "second"),
    ] {
        let tls = tls.clone().name(name);
        let socket = TcpStream::connect(server.address()).await.expect("a connection");
        let stream = tls.handshake(socket).await.expect(name);
        let shown = stream.get_ref().1.peer_certificates().expect("certificates");
        assert_eq!(shown.first(), Some(&certificate.certificate), "{name}");
        let get = server.get("/page.txt").tls(Some(tls)).over(Version::Http2);
        assert_eq!(get.send().await.text().await, text, "{name}");
    }
    // The route of this name is for HTTP/2 only; no route takes it, and it is closed.
    let refused = page(&server, &tls.clone().name("a.wild.example")).await.expect_err("no route");
    // What the client was still sending may be answered by a reset.
    let ends = ["closed", "reset", "Broken pipe"];
    assert!(ends.iter().any(|end| refused.contains(end)), "{refused}");
    // A name without a certificate is shown the first, which its client does not take.
    let unknown = page(&server, &tls.name("unknown.example")).await.expect_err("another name");
    assert!(unknown.contains("not valid for name"), "{unknown}");
}

#[tokio::test]
async fn a_client_certificate_is_demanded_or_asked_for() {
    let stranger = Authority::new("Another authority").issue(&["somebody"]);
    for (options, none, good, bad) in [
        ("mutual: required", false, true, false),
        // `trust` alone means that one is required.
        ("sni: []", false, true, false),
        ("mutual: requested", true, true, false),
        ("mutual: none", true, true, true),
    ] {
        let site = site().options(&format!("{{ keys: [localhost], trust: [ca], {options} }}"));
        let server = site.run().await;
        let known = site.authority.issue(&["somebody"]);
        for version in [&TLS12, &TLS13] {
            let tls = server.tls().expect("it is encrypted").version(version);
            for (case, tls, accepted) in [
                ("none", tls.clone(), none),
                ("a good one", tls.clone().identity(known.clone()), good),
                ("a stranger's", tls.clone().identity(stranger.clone()), bad),
            ] {
                let page = page(&server, &tls).await.map(|(.., page)| page);
                assert_eq!(page.is_ok(), accepted, "{options} {case} {version:?}: {page:?}");
            }
        }
    }
}
