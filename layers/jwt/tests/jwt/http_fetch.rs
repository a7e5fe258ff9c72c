//! Key sets over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tailwater_jwt::{Error, Fetch as _, HttpFetch, Keys, MAX_KEY_SET_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::support::{claims, ed, guard_of};

/// Sends these bytes on each connection, over TLS if there is a configuration.
async fn serve(answer: Vec<u8>, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            match &tls {
                None => respond(io, &answer).await,
                Some(tls) => {
                    if let Ok(io) = tls.accept(io).await {
                        respond(io, &answer).await;
                    }
                }
            }
        }
    });
    address
}

async fn respond(mut io: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) {
    let mut head = Vec::new();
    // If the first bytes are not a request, they are a ClientHello.
    while !head.ends_with(b"\r\n\r\n") && head.first().is_none_or(|byte| *byte == b'G') {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    // The client may close the connection early.
    let _ = io.write_all(answer).await;
    let _ = io.shutdown().await;
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

fn url(scheme: &str, address: SocketAddr) -> Uri {
    format!("{scheme}://localhost:{}/keys", address.port()).parse().expect("a URL")
}

fn certificate() -> (CertificateDer<'static>, TlsAcceptor) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.into())
        .expect("a configuration");
    (cert.der().clone(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_guard_learns_its_keys_over_http_and_https() {
    let signer = ed("ed");
    let keys = answer("200 OK", "", &json!({ "keys": [signer.public] }).to_string());
    let (certificate, tls) = certificate();
    let plain = url("http", serve(keys.clone(), None).await);
    let secure = url("https", serve(keys, Some(tls)).await);
    let trusting = HttpFetch::with_root_certificates([certificate]).unwrap();
    for keys in [Keys::url(plain).unwrap(), Keys::url_with(secure.clone(), trusting).unwrap()] {
        let guard = guard_of(keys);
        assert!(guard.verify(&signer.token(&claims("ada", 60))).await.is_ok());
    }
    assert!(HttpFetch::new().fetch(&secure).await.is_err(), "nobody vouches for it");
}

#[tokio::test]
async fn a_fetch_says_who_asks_and_what_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let fetch = HttpFetch::new().fetch(&url("http", listener.local_addr().expect("an address")));
    let asked = async {
        let (mut io, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.expect("a head"));
        }
        String::from_utf8(head).expect("text")
    };
    let (_, head) = tokio::join!(fetch, asked);
    assert!(head.starts_with("GET /keys HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nuser-agent: tailwater-jwt/"), "{head}");
    assert!(head.contains("\r\naccept: application/jwk-set+json, application/json\r\n"), "{head}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = serve(answer("200 OK", "", "{}"), None).await;
    let location = format!("location: http://{target}/keys\r\n");
    let redirect = serve(answer("302 Found", &location, ""), None).await;
    let response = HttpFetch::new().fetch(&url("http", redirect)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn an_answer_without_an_end_is_read_up_to_the_limit() {
    let exact = "x".repeat(MAX_KEY_SET_BYTES);
    let fits = serve(answer("200 OK", "", &exact), None).await;
    let response = HttpFetch::new().fetch(&url("http", fits)).await.unwrap();
    assert_eq!(response.body().len(), MAX_KEY_SET_BYTES);

    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(16 * MAX_KEY_SET_BYTES, b' ');
    let endless = serve(endless, None).await;
    let error = HttpFetch::new().fetch(&url("http", endless)).await.unwrap_err();
    assert_eq!(error.to_string(), "length limit exceeded");
}

#[tokio::test]
async fn a_server_that_is_none_is_an_error() {
    let garbage = serve(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), None).await;
    assert!(HttpFetch::new().fetch(&url("http", garbage)).await.is_err());
    let plain = serve(answer("200 OK", "", "{}"), None).await;
    let fetch = HttpFetch::new();
    let wrong = fetch.fetch(&url("https", plain));
    assert!(timeout(Duration::from_secs(30), wrong).await.unwrap().is_err());
}

#[test]
fn a_root_certificate_that_is_none_is_an_error() {
    let certificates = [certificate().0, CertificateDer::from(vec![1, 2, 3])];
    let error = HttpFetch::with_root_certificates(certificates).unwrap_err();
    assert_eq!(error, Error::RootCertificate(2));
}
