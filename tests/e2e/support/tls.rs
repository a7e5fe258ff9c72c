//! TLS as a client speaks it. No handshake takes up the session of another.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::Authority;
use crate::support::certificates::Identity;

#[derive(Clone)]
pub(crate) struct Tls {
    roots: RootCertStore,
    name: String,
    alpn: Vec<String>,
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<Identity>,
}

impl Tls {
    /// With `localhost`, if this authority vouches for it.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).expect("a root");
        Self {
            roots,
            name: "localhost".to_owned(),
            alpn: Vec::new(),
            versions: ALL_VERSIONS.to_vec(),
            identity: None,
        }
    }

    pub(crate) fn name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(crate) fn alpn(self, protocols: &[&str]) -> Self {
        Self { alpn: protocols.iter().map(|protocol| (*protocol).to_owned()).collect(), ..self }
    }

    pub(crate) fn version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }
    }

    pub(crate) fn identity(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    pub(crate) async fn handshake(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.config()));
        connector.connect(self.server_name(), socket).await
    }

    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.name.clone().try_into().expect("a name")
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            Some(identity) => builder
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.key())
                .expect("an identity"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|alpn| alpn.clone().into_bytes()).collect();
        config
    }
}
