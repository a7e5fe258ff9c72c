use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use http::Uri;
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use crate::alpn::check_alpn;
use crate::certificates::identity::Identity;
use crate::certificates::verify::ServerVerifier;
use crate::client::options::ClientOptions;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::provider::provider;
use crate::version::versions;

/// The configuration of a client: its credentials and options. The client always verifies servers, and resumes
/// sessions.
///
/// A clone is a handle of the same configuration: [`rotate`](ClientConfig::rotate) on one replaces the
/// certificates of all.
///
/// ```
/// use tailwater_tls::{ClientConfig, ClientOptions, Credentials, Roots};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let certificate = made.cert.der();
///
/// let credentials = Credentials::new().roots(Roots::empty().with_certificates([certificate])?);
/// let config = ClientConfig::new(credentials, ClientOptions::new().alpn(["h2"]))?;
/// # let _ = config;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone)]
pub struct ClientConfig {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    name: Option<ServerName<'static>>,
    current: RwLock<Arc<rustls::ClientConfig>>,
}

impl ClientConfig {
    /// A configuration with these credentials. The client trusts their roots.
    ///
    /// # Errors
    /// [`Error::NoRoots`], [`Error::Alpn`], [`Error::ServerName`], [`Error::Configuration`].
    pub fn new(credentials: Credentials, options: ClientOptions) -> Result<Self, Error> {
        check_alpn(&options.alpn)?;
        let name = options.server_name.as_deref().map(server_name).transpose()?;
        let current = RwLock::new(Arc::new(config(credentials, &options)?));
        Ok(Self { shared: Arc::new(Shared { options, name, current }) })
    }

    /// Replaces the credentials for new connections. Earlier sessions are not resumed.
    ///
    /// # Errors
    /// The errors of [`new`](ClientConfig::new). The old credentials stay in use then.
    pub fn rotate(&self, credentials: Credentials) -> Result<(), Error> {
        let current = Arc::new(config(credentials, &self.shared.options)?);
        // A poisoned lock is harmless: the `Arc` is always complete.
        *self.shared.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Returns the configuration of rustls for a new connection, for clients that take one. It does not change
    /// when the credentials do.
    #[must_use]
    pub fn current(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn name(&self, uri: &Uri) -> Result<ServerName<'static>, Error> {
        match &self.shared.name {
            Some(name) => Ok(name.clone()),
            None => server_name(uri.host().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

fn config(
    credentials: Credentials,
    options: &ClientOptions,
) -> Result<rustls::ClientConfig, Error> {
    let Credentials { identities, roots } = credentials;
    if roots.is_empty() {
        return Err(Error::NoRoots);
    }
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(options.only))
        .map_err(Error::Configuration)?
        .dangerous() // the name in rustls; the verifier uses webpki, see `verify`
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(&roots)))
        .with_client_cert_resolver(Arc::new(Identities { all: identities }));
    config.alpn_protocols.clone_from(&options.alpn);
    config.resumption = Resumption::in_memory_sessions(64);
    Ok(config)
}

/// Parses an address or a name. URIs have IPv6 addresses in brackets.
fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| Error::ServerName(name.to_owned()))
}

/// The identities of a client. The first is used whose issuer is among the hints of the server.
#[derive(Debug)]
struct Identities {
    all: Vec<Identity>,
}

impl ResolvesClientCert for Identities {
    fn resolve(
        &self,
        root_hints: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut usable = self.all.iter().filter(|identity| identity.signs(schemes));
        let hinted = usable.clone().find(|identity| identity.is_from(root_hints));
        // The hints may be incomplete. The server rejects a certificate that it does not trust.
        hinted.or_else(|| usable.next()).map(|identity| Arc::clone(identity.certified()))
    }

    fn has_certs(&self) -> bool {
        !self.all.is_empty()
    }
}
