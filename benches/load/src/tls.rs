//! The key of a run, which is new for each run, the clients that trust it, and the servers to compare with.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Result;
use crate::clients::Dial;
use crate::servers::Transport;

/// The file with key and certificate, in the directory of the run.
pub(crate) const STORE: &str = "localhost.pem";
pub(crate) const NAME: &str = "localhost";

#[derive(Debug)]
pub(crate) struct Tls {
    client: ClientConfig,
}

impl Tls {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        fs::write(directory.join(STORE), signing_key.serialize_pem() + &cert.pem())?;

        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        // Only the first choice of browsers is offered, so that all servers use the same cipher.
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Each client acts as another browser, without resumption.
        client.resumption = Resumption::disabled();
        Ok(Self { client })
    }

    /// How clients of this transport connect.
    pub(crate) fn dial(&self, transport: Transport) -> Dial {
        let is_h2 = transport.is_h2();
        let tls = transport.is_tls().then(|| {
            let mut client = self.client.clone();
            let protocol: &[u8] = if is_h2 { b"h2" } else { b"http/1.1" };
            client.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(client)
        });
        Dial { tls, is_h2 }
    }
}

/// The server configuration for this file with key and certificate: the defaults of rustls, and these protocols.
pub(crate) fn server(store: &Path, protocols: &[&str]) -> Result<Arc<ServerConfig>> {
    let certificates =
        CertificateDer::pem_file_iter(store)?.collect::<std::result::Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(store)?;
    let mut server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().into()).collect();
    Ok(Arc::new(server))
}
