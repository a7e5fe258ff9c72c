//! Versions, ALPN and resumption.

use tailwater_tls::{ClientOptions, Credentials, Error, ServerOptions, Version};

use crate::support::{client, localhost, meet, server};

#[tokio::test]
async fn alpn_is_agreed_or_refused() {
    enum Expected {
        Agreed(Option<&'static str>),
        NoneOffered,
        NoneInCommon,
    }
    use Expected::*;
    // server, client, result
    let table: &[(&[&str], &[&str], Expected)] = &[
        (&[], &[], Agreed(None)),
        (&[], &["h2"], Agreed(None)),
        (&["h2"], &["h2"], Agreed(Some("h2"))),
        (&["h2"], &["http/1.1"], NoneInCommon),
        (&["h2"], &[], NoneOffered),
        (&["h2", "http/1.1"], &["http/1.1", "h2"], Agreed(Some("h2"))),
        (&["http/1.1", "h2"], &["h2", "http/1.1"], Agreed(Some("http/1.1"))),
        (&["h2", "http/1.1"], &["http/1.1"], Agreed(Some("http/1.1"))),
        (&["h2", "http/1.1"], &[], Agreed(None)),
        (&["h2", "http/1.1"], &["spdy/3"], NoneInCommon),
    ];
    let (credentials, roots) = localhost();
    for version in [Version::Tls12, Version::Tls13] {
        for (ours, theirs, expected) in table {
            let row = format!("{version:?} {ours:?} {theirs:?}");
            let server =
                server(credentials.clone(), ServerOptions::new().alpn(ours.iter().copied()));
            let options = ClientOptions::new().alpn(theirs.iter().copied()).only(version);
            let client = client(Credentials::new().roots(roots.clone()), options);
            let (accepted, connected) = meet(&server, &client, "localhost").await;
            match expected {
                Agreed(name) => {
                    let name = name.map(str::as_bytes);
                    assert_eq!(accepted.expect(&row).alpn(), name, "{row}");
                    assert_eq!(connected.expect(&row).alpn(), name, "{row}");
                }
                refused => {
                    let as_expected = match refused {
                        NoneOffered => matches!(accepted, Err(Error::NoAlpn)),
                        _ => matches!(
                            accepted,
                            Err(Error::Handshake(rustls::Error::NoApplicationProtocol))
                        ),
                    };
                    assert!(as_expected, "{row}: {accepted:?}");
                    // The client receives an alert.
                    let error = connected.expect_err(&row);
                    let Some(Error::Handshake(rustls::Error::AlertReceived(alert))) =
                        error.downcast_ref()
                    else {
                        panic!("{row}: {error:?}")
                    };
                    assert_eq!(*alert, rustls::AlertDescription::NoApplicationProtocol, "{row}");
                }
            }
        }
    }
}

#[tokio::test]
async fn whether_alpn_is_required_can_be_said() {
    let (credentials, roots) = localhost();
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let lenient =
        server(credentials.clone(), ServerOptions::new().alpn(["h2"]).require_alpn(false));
    assert_eq!(meet(&lenient, &client, "localhost").await.0.unwrap().alpn(), None);
    let strict = server(credentials, ServerOptions::new().alpn(["http/1.1"]).require_alpn(true));
    assert!(matches!(meet(&strict, &client, "localhost").await.0, Err(Error::NoAlpn)));
}

#[tokio::test]
async fn versions_are_agreed_or_refused() {
    use Version::{Tls12, Tls13};
    let (credentials, roots) = localhost();
    for (ours, theirs, expected) in [
        (None, None, Some(Tls13)),
        (None, Some(Tls12), Some(Tls12)),
        (Some(Tls12), None, Some(Tls12)),
        (Some(Tls13), None, Some(Tls13)),
        (Some(Tls13), Some(Tls12), None),
        (Some(Tls12), Some(Tls13), None),
    ] {
        let row = format!("{ours:?} {theirs:?}");
        let mut options = ServerOptions::new();
        if let Some(version) = ours {
            options = options.only(version);
        }
        let server = server(credentials.clone(), options);
        let mut options = ClientOptions::new();
        if let Some(version) = theirs {
            options = options.only(version);
        }
        let client = client(Credentials::new().roots(roots.clone()), options);
        match (meet(&server, &client, "localhost").await, expected) {
            ((Ok(accepted), Ok(connected)), Some(version)) => {
                assert_eq!((accepted.version(), connected.version()), (version, version), "{row}");
            }
            ((Err(Error::Handshake(rustls::Error::PeerIncompatible(_))), Err(_)), None) => {}
            (other, _) => panic!("{row}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_comes_back_resumes() {
    let (credentials, roots) = localhost();
    for version in [Version::Tls12, Version::Tls13] {
        for resumption in [true, false] {
            let options = ServerOptions::new().resumption(resumption);
            let server = server(credentials.clone(), options);
            let options = ClientOptions::new().only(version);
            let client = client(Credentials::new().roots(roots.clone()), options);
            let (first, _) = meet(&server, &client, "localhost").await;
            assert!(!first.unwrap().is_resumed(), "{version:?}");
            let (second, seen) = meet(&server, &client, "localhost").await;
            let second = second.unwrap();
            assert_eq!(second.is_resumed(), resumption, "{version:?}");
            assert_eq!(seen.unwrap().is_resumed(), resumption, "{version:?}");
            assert_eq!(second.server_name(), Some("localhost"), "{version:?}");
            assert_eq!(second.identity(), Some("localhost"), "{version:?}");
        }
    }
}
