//! A trusted certificate vouches for itself. It vouches for others if it belongs to an authority.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::CertificateError;
use rustls::pki_types::PrivateKeyDer;
use tailwater_tls::{
    ClientCertificates, ClientOptions, Credentials, Error, Identity, Roots, ServerOptions, Version,
};

use crate::support::{Authority, client, localhost, meet, server};

/// A certificate for `localhost`, and another one that its key has signed.
struct Pair {
    itself: Identity,
    signed: Identity,
}

impl Pair {
    fn new(is_ca: IsCa, usages: &[KeyUsagePurpose]) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "signer");
        params.is_ca = is_ca;
        params.key_usages = usages.to_vec();
        let key = KeyPair::generate().expect("a key");
        let own_key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let chain = vec![issuer.der().clone()];
        let itself = Identity::new("itself", chain, own_key).expect("an identity");

        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "admin");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let chain = vec![certificate.der().clone(), issuer.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signed = Identity::new("signed", chain, key).expect("an identity");
        // Its issuer has the name of the certificate that may not vouch for it.
        assert!(signed.is_issued_by(&itself.certificates()[0]));
        Self { itself, signed }
    }
}

/// The result of a server with this identity and a client with these roots.
async fn as_server(identity: &Identity, roots: &Roots, version: Version) -> Result<(), Error> {
    let server = server(Credentials::new().identity(identity.clone()), ServerOptions::new());
    let options = ClientOptions::new().only(version);
    let client = client(Credentials::new().roots(roots.clone()), options);
    let (accepted, connected) = meet(&server, &client, "localhost").await;
    assert_eq!(accepted.is_ok(), connected.is_ok(), "{accepted:?} {connected:?}");
    connected.map(drop).map_err(|error| *error.downcast().expect("an error of this crate"))
}

/// The result of a client with this identity and a server with these roots.
async fn as_client(
    identity: &Identity,
    roots: &Roots,
    asked: ClientCertificates,
    version: Version,
) -> Result<(), Error> {
    let (credentials, servers) = localhost();
    let options = ServerOptions::new().client_certificates(asked);
    let server = server(credentials.roots(roots.clone()), options);
    let credentials = Credentials::new().roots(servers).identity(identity.clone());
    let client = client(credentials, ClientOptions::new().only(version));
    let (accepted, connected) = meet(&server, &client, "localhost").await;
    assert_eq!(accepted.is_ok(), connected.is_ok(), "{accepted:?} {connected:?}");
    accepted.map(|shown| assert_eq!(shown.peer_certificates(), identity.certificates()))
}

/// webpki treats each trust anchor as an authority. With the key of a certificate that is trusted for itself,
/// an attacker could then sign certificates for any name.
#[tokio::test]
async fn a_trusted_certificate_vouches_for_others_only_if_it_is_an_authoritys() {
    use ClientCertificates::{Requested, Required};
    use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
    let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
    let other = Authority::new("Other").roots();
    // basicConstraints, keyUsage, whether it vouches for others
    for (is_ca, usages, vouches) in [
        (IsCa::ExplicitNoCa, &[DigitalSignature][..], false),
        (IsCa::ExplicitNoCa, &[], false),
        (IsCa::ExplicitNoCa, &[KeyCertSign], false),
        (IsCa::NoCa, &[], false),
        (IsCa::NoCa, &[KeyCertSign], false),
        (authority(), &[DigitalSignature, CrlSign], false),
        (authority(), &[], true),
        (authority(), &[KeyCertSign], true),
        (IsCa::Ca(BasicConstraints::Constrained(0)), &[DigitalSignature, KeyCertSign], true),
    ] {
        let row = format!("{is_ca:?} {usages:?}");
        let Pair { itself, signed } = Pair::new(is_ca, usages);
        let alone = Roots::empty().with_certificates(itself.certificates()).expect(&row);
        for (roots, count) in [(&alone, 1), (&other.clone().merge(alone.clone()), 2)] {
            // All are trusted and counted, whether authorities or not.
            assert_eq!(roots.len(), count, "{row}");
            assert!(!roots.is_empty(), "{row}");
            assert_eq!(roots.to_pem().matches("BEGIN CERTIFICATE").count(), count, "{row}");
            for version in [Version::Tls12, Version::Tls13] {
                let row = format!("{row} {count} {version:?}");
                as_server(&itself, roots, version).await.expect(&row);
                let mut results = vec![as_server(&signed, roots, version).await];
                for asked in [Requested, Required] {
                    as_client(&itself, roots, asked, version).await.expect(&row);
                    results.push(as_client(&signed, roots, asked, version).await);
                }
                for result in results {
                    match result {
                        Ok(()) => assert!(vouches, "{row}"),
                        // The other error is `EndEntityUsedAsCa` of webpki.
                        Err(Error::Handshake(rustls::Error::InvalidCertificate(
                            CertificateError::UnknownIssuer | CertificateError::Other(_),
                        ))) => assert!(!vouches, "{row}"),
                        Err(error) => panic!("{row}: {error:?}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_as_welcome_where_no_authority_is_trusted() {
    let Pair { itself, .. } = Pair::new(IsCa::ExplicitNoCa, &[]);
    let roots = Roots::empty().with_certificates(itself.certificates()).unwrap();
    for (asked, welcome) in
        [(ClientCertificates::Requested, true), (ClientCertificates::Required, false)]
    {
        let (credentials, servers) = localhost();
        let options = ServerOptions::new().client_certificates(asked);
        let server = server(credentials.roots(roots.clone()), options);
        let client = client(Credentials::new().roots(servers), ClientOptions::new());
        let (accepted, connected) = meet(&server, &client, "localhost").await;
        assert_eq!(accepted.is_ok(), welcome, "{asked:?} {accepted:?}");
        assert_eq!(connected.is_ok(), welcome, "{asked:?} {connected:?}");
    }
}

/// Clients select a certificate by its issuer. Many send none if no issuer matches.
#[tokio::test]
async fn of_a_clients_certificates_the_one_that_is_trusted_itself_is_shown() {
    let authority = Authority::new("Test authority");
    let trusted = Authority::new("Elsewhere").issue(&["someone"]);
    let itself = &trusted.certificates()[..1];
    for roots in [Roots::empty(), authority.roots()] {
        let count = roots.len();
        let credentials = Credentials::new()
            .identity(authority.issue(&["localhost"]))
            .roots(roots.with_certificates(itself).unwrap());
        let options = ServerOptions::new().client_certificates(ClientCertificates::Required);
        let server = server(credentials, options);
        let credentials = Credentials::new()
            .roots(authority.roots())
            .identity(Authority::new("Stranger").issue(&["someone"]))
            .identity(trusted.clone());
        for version in [Version::Tls12, Version::Tls13] {
            let options = ClientOptions::new().only(version);
            let client = client(credentials.clone(), options);
            let (accepted, connected) = meet(&server, &client, "localhost").await;
            let row = format!("{count} {version:?}");
            connected.expect(&row);
            let shown = accepted.expect(&row);
            assert_eq!(shown.peer_certificates(), trusted.certificates(), "{row}");
        }
    }
}
