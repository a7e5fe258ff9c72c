//! The key of a run, which is new for each run, and the clients that trust it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};

use crate::Result;
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

    /// The client configuration for HTTP/1.1. `None` if the transport has no TLS.
    pub(crate) fn client(&self, transport: Transport) -> Option<Arc<ClientConfig>> {
        self.client_of(transport, b"http/1.1")
    }

    /// The client configuration for HTTP/2. `None` if the transport has no TLS.
    pub(crate) fn h2_client(&self, transport: Transport) -> Option<Arc<ClientConfig>> {
        self.client_of(transport, b"h2")
    }

    fn client_of(&self, transport: Transport, protocol: &[u8]) -> Option<Arc<ClientConfig>> {
        match transport {
            Transport::Plain => None,
            Transport::Tls => {
                let mut client = self.client.clone();
                client.alpn_protocols = vec![protocol.to_vec()];
                Some(Arc::new(client))
            }
        }
    }
}
