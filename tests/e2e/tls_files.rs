//! The files of a vault: what is wrong with them at the start, and what becomes of a change.

use std::fs;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use crate::support::{LOOK, Server, Site, Version, keys_store, run, site, soon};

/// The certificate that a new connection is shown.
async fn shown(server: &Server) -> CertificateDer<'static> {
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let tls = server.tls().expect("it is encrypted");
    let stream = soon("a handshake", tls.handshake(socket)).await.expect("a handshake");
    let certificates = stream.get_ref().1.peer_certificates().expect("certificates");
    certificates.first().expect("one").clone()
}

/// Replaces a file atomically.
fn replace(folder: &Path, name: &str, bytes: &[u8]) {
    let new = folder.join("new");
    fs::write(&new, bytes).expect("it is written");
    fs::rename(new, folder.join(name)).expect("it is renamed");
}

#[tokio::test]
async fn a_store_that_is_replaced_is_shown_without_a_restart() {
    let site = site();
    let server = site.run().await;
    let first = shown(&server).await;
    let connection = server.http2().await;
    assert_eq!(connection.get("/page.txt").send().await.text().await, "first");
    // What is no store changes nothing, and is told.
    replace(server.folder(), "keys.p12", b"nonsense");
    server.stderr().says("certificates stay as they were").await;
    assert_eq!(shown(&server).await, first);

    let second = site.authority.issue(&["localhost"]);
    assert_ne!(second.certificate, first);
    replace(server.folder(), "keys.p12", &keys_store(&[&second]));
    let replaced = async {
        while shown(&server).await != second.certificate {
            // Who was there goes on.
            assert_eq!(connection.get("/page.txt").send().await.text().await, "first");
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("the new certificate is shown", replaced).await;
    assert_eq!(connection.get("/page.txt").send().await.text().await, "first");
    let answer = server.get("/page.txt").over(Version::Http1).send().await;
    assert_eq!(answer.text().await, "first");
}

/// What the program says of a configuration that it can't start with.
async fn refusal(folder: &Path, config: &str) -> String {
    let file = folder.join("zilla.yaml");
    fs::write(&file, config).expect("it is written");
    let mut process = run(&["start", "-c", file.to_str().expect("UTF-8")], &[]);
    let status = process.ended().await;
    let said = process.stderr.all().await;
    assert!(!status.success() && status.code().is_some(), "{status}: {said}");
    assert!(!said.contains("listening") && !said.contains("panic"), "{said}");
    said
}

#[tokio::test]
async fn what_is_wrong_with_a_store_is_told_at_the_start() {
    type Change = fn(&Site, &Path, String) -> String;
    let rows: [(&str, Change, &[&str]); 8] = [
        (
            "a wrong password",
            |_, _, config| config.replacen("password: generated", "password: other-secret", 1),
            &["keys.p12", "tls_in", "password"],
        ),
        (
            "no password",
            |_, _, config| config.replacen(", password: generated", "", 1),
            &["keys.p12", "tls_in", "password"],
        ),
        (
            "a missing file",
            |_, folder, config| {
                fs::remove_file(folder.join("keys.p12")).expect("it was there");
                config
            },
            &["keys.p12", "tls_in", "No such file"],
        ),
        (
            "a file of nonsense",
            |_, folder, config| {
                replace(folder, "keys.p12", b"nonsense");
                config
            },
            &["keys.p12", "tls_in"],
        ),
        (
            "a huge file",
            |_, folder, config| {
                replace(folder, "keys.p12", &vec![0x30; 8 << 20]);
                config
            },
            &["keys.p12", "tls_in"],
        ),
        (
            "a missing alias",
            |_, _, config| config.replacen("[localhost]", "[nobody]", 1),
            &["tls_in", "nobody"],
        ),
        (
            "an alias that has no key",
            |site, folder, config| {
                let trust = crate::support::trust_store(&[("localhost", &site.authority)]);
                replace(folder, "keys.p12", &trust);
                config
            },
            &["tls_in", "localhost"],
        ),
        (
            "a missing alias of those trusted",
            |_, _, config| config.replacen("[localhost]", "[localhost], trust: [nobody]", 1),
            &["tls_in", "nobody"],
        ),
    ];
    for (case, change, expected) in rows {
        let site = site();
        let folder = site.folder();
        let config = change(&site, folder.path(), site.config());
        let said = refusal(folder.path(), &config).await;
        for expected in expected {
            assert!(said.contains(expected), "{case}: {expected} is not in {said}");
        }
        assert!(!said.contains("other-secret") && !said.contains("generated"), "{case}: {said}");
    }
}
