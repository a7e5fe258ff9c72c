//! `vaults` and `tls` bindings: certificates, and TLS of connections.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryFutureExt as _;
use futures_util::future::{Either, poll_immediate};
use tailwater_http::{Connection, Negotiated};
use tailwater_route::Scheme;
use tailwater_schema::catalog::registry::{Registry, RegistryOptions};
use tailwater_sse::BoxError;
use tailwater_tls::{
    ClientCertificates, ClientConfig, ClientOptions, Credentials, Handshake, Identity, Roots,
    ServerConfig, ServerOptions, Store, TlsLayer, TlsStream, Watch,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tower::{Layer as _, Service as _, service_fn};

use crate::config::{
    self, Binding, ClientCertificate, Config, HttpVersion, StoreKind, TlsClient, TlsCondition,
    TlsOptions, Vault, plan,
};
use crate::metrics::connection::{self, MeteredIo};
use crate::metrics::meter::Meter;
use crate::stack::{Error, HttpServer, StackBuilder};

/// A `tls` binding of kind `server`, and the routes of its connections.
#[derive(Clone)]
pub(super) struct TlsServer {
    layer: TlsLayer,
    meter: Option<Arc<Meter>>,
    routes: Arc<[(Vec<TlsCondition>, HttpServer)]>,
}

impl TlsServer {
    /// Performs the handshake, and serves the connection by the first route that matches it. Without a match
    /// the connection is closed.
    pub(super) fn serve<Io>(
        &self,
        connection: Connection<Io>,
        port: u16,
    ) -> impl Future<Output = Result<(), BoxError>> + Send + use<Io>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (io, extensions) = connection.into_parts();
        let routes = Arc::clone(&self.routes);
        let meter = self.meter.clone();
        let within = service_fn(move |stream: TlsStream<Io>| {
            let handshake = Arc::clone(stream.handshake());
            let takes = |when: &[TlsCondition]| {
                when.is_empty() || when.iter().any(|when| matches(when, &handshake, port))
            };
            let negotiated = handshake.alpn().and_then(Negotiated::from_alpn);
            let http_server =
                routes.iter().find(|(when, _)| takes(when)).map(|(_, http_server)| http_server);
            // The `http` binding of this route may lack the protocol that was negotiated for another route.
            let speaks = |http_server: &&HttpServer| {
                negotiated.is_none_or(|negotiated| http_server.speaks(version(negotiated)))
            };
            let Some(http_server) = http_server.filter(speaks) else {
                // Boxed, since a connection that is served has no use for its room.
                let closed = Box::pin(close(stream));
                return connection::counted(meter.as_ref(), Either::Left(closed));
            };
            let stream = MeteredIo::new(stream, meter.as_ref());
            let mut connection = Connection::from((stream, extensions.clone()));
            connection.extensions_mut().insert(handshake.version());
            if let Some(negotiated) = negotiated {
                connection.extensions_mut().insert(negotiated);
            }
            let served = http_server.serve(connection, Scheme::Https);
            connection::counted(meter.as_ref(), Either::Right(served))
        });
        // Always ready. A future that asks has room for the service and the socket as long as the connection lasts.
        self.layer.layer(within).call(io).err_into()
    }
}

/// Sends `close_notify`, if the socket takes it at once.
async fn close<Io>(mut stream: TlsStream<Io>) -> Result<(), tailwater_http::Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    // If it does not, nothing is lost: no response was sent.
    let _ = poll_immediate(stream.shutdown()).await;
    Ok(())
}

fn version(negotiated: Negotiated) -> HttpVersion {
    match negotiated {
        Negotiated::Http2 => HttpVersion::H2,
        _ => HttpVersion::Http11,
    }
}

fn matches(condition: &TlsCondition, handshake: &Handshake, port: u16) -> bool {
    let name = handshake.server_name().unwrap_or_default();
    let alpn = handshake.alpn().unwrap_or_default();
    condition.authority.as_ref().is_none_or(|authority| authority.matches(name.as_bytes()))
        && condition.alpn.as_ref().is_none_or(|expected| expected.as_bytes() == alpn)
        && (condition.ports.is_empty() || condition.ports.iter().any(|range| range.contains(&port)))
}

impl<'c> StackBuilder<'c> {
    pub(super) fn tls_server(&mut self, planned: &plan::TlsServer<'c>) -> Result<TlsServer, Error> {
        let plan::TlsServer { binding, options: server, vault, .. } = *planned;
        if let Some(tls_server) = self.tls_servers.get(binding.name.as_str()) {
            return Ok(tls_server.clone());
        }
        let mut routes = Vec::new();
        for route in &planned.routes {
            routes.push((route.rule.when.clone(), self.http_server(&route.next)?));
        }
        let source = self.source(binding, vault, Side::Server(server.clone()));
        let spoken = protocols(&routes);
        let alpn = match server.options.alpn.as_slice() {
            [] => spoken,
            named => named.iter().filter(|name| spoken.contains(name)).cloned().collect(),
        };
        if alpn.is_empty() {
            return Err(Error::Protocols { binding: binding.name.clone() });
        }
        let options = ServerOptions::new().alpn(alpn).client_certificates(server.mutual);
        let options = server.options.version.into_iter().fold(options, ServerOptions::only);
        // The watch starts before the files are read, so that no change is missed.
        let watch = source.watch();
        let config = ServerConfig::new(source.credentials()?, options)
            .map_err(|error| source.failed(error))?;
        source.rotate(watch, {
            let config = config.clone();
            move |credentials| config.rotate(credentials)
        });
        self.counted.tls.push((self.label(&binding.name), config.clone()));
        let tls_server = TlsServer {
            layer: TlsLayer::new(config),
            meter: self.meters.of(self.config, binding),
            routes: routes.into(),
        };
        self.tls_servers.insert(&binding.name, tls_server.clone());
        Ok(tls_server)
    }

    /// A `tls` binding of kind `client`, for connections with this ALPN protocol.
    pub(super) fn encrypting(
        &self,
        planned: &plan::TlsClient<'_>,
        alpn: &str,
    ) -> Result<ClientConfig, Error> {
        let plan::TlsClient { binding, options: client, vault, .. } = *planned;
        let source = self.source(binding, vault, Side::Client(client.clone()));
        let offered = &client.options.alpn;
        if !offered.is_empty() && !offered.iter().any(|offered| offered == alpn) {
            return Err(Error::Protocols { binding: binding.name.clone() });
        }
        let options = ClientOptions::new().alpn([alpn]);
        let options =
            client.options.sni.first().into_iter().fold(options, ClientOptions::server_name);
        let options = client.options.version.into_iter().fold(options, ClientOptions::only);
        let watch = source.watch();
        let config = ClientConfig::new(source.credentials()?, options)
            .map_err(|error| source.failed(error))?;
        source.rotate(watch, {
            let config = config.clone();
            move |credentials| config.rotate(credentials)
        });
        Ok(config)
    }

    /// A `tls` binding of kind `client` as options of librdkafka, which never reads the files again.
    #[cfg(feature = "kafka")]
    pub(super) fn kafka_tls(
        &self,
        client: &plan::TlsClient<'_>,
    ) -> Result<tailwater_kafka::TlsOptions, Error> {
        let side = Side::Client(client.options.clone());
        let source = self.source(client.binding, client.vault, side);
        let options = tailwater_kafka::TlsOptions::new()
            .authorities(&source.trusted()?.to_pem())
            .system_authorities(source.trusts_system());
        // librdkafka takes one client certificate.
        Ok(match source.identities()?.first() {
            Some(identity) => options.identity(&identity.certificates_pem(), &identity.key_pem()),
            None => options,
        })
    }

    /// The TLS of an exporter whose collector has an `https` location.
    pub(super) fn exporter_tls(
        &self,
        exporter: &str,
        options: &config::Otlp,
    ) -> Result<Option<ClientConfig>, Error> {
        if !options.location.starts_with("https:") {
            return Ok(None);
        }
        let tls = options.tls.clone().unwrap_or_default();
        let named = |vault: &&Vault| Some(&vault.name) == options.vault.as_ref();
        let source = CertificateSource {
            binding: format!("exporter {exporter}"),
            vault: self.config.vaults.iter().find(named).cloned(),
            folder: self.folder.to_owned(),
            side: Side::Outgoing(tls.clone()),
        };
        let client = ClientOptions::new().alpn(["http/1.1"]);
        let client = tls.sni.first().into_iter().fold(client, ClientOptions::server_name);
        let client = tls.version.into_iter().fold(client, ClientOptions::only);
        let watch = source.watch();
        let config = ClientConfig::new(source.credentials()?, client)
            .map_err(|error| source.failed(error))?;
        source.rotate(watch, {
            let config = config.clone();
            move |credentials| config.rotate(credentials)
        });
        Ok(Some(config))
    }

    fn source(&self, binding: &Binding, vault: Option<&Vault>, side: Side) -> CertificateSource {
        CertificateSource {
            binding: binding.name.clone(),
            vault: vault.cloned(),
            folder: self.folder.to_owned(),
            side,
        }
    }
}

/// The ALPN protocols if the binding names none: those of the `http` bindings behind it.
fn protocols(routes: &[(Vec<TlsCondition>, HttpServer)]) -> Vec<String> {
    let speaks = |version| routes.iter().any(|(_, http_server)| http_server.speaks(version));
    [(HttpVersion::H2, "h2"), (HttpVersion::Http11, "http/1.1")]
        .into_iter()
        .filter(|(version, _)| speaks(*version))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// The source of the certificates of a `tls` binding. It is read again when a file changes.
#[derive(Clone)]
struct CertificateSource {
    binding: String,
    vault: Option<Vault>,
    folder: PathBuf,
    side: Side,
}

#[derive(Clone)]
enum Side {
    Server(config::TlsServer),
    Client(TlsClient),
    /// The connections of a catalog or an exporter.
    Outgoing(TlsOptions),
}

/// The TLS of a registry of schemas.
pub(super) struct CatalogTls {
    source: CertificateSource,
    watch: Watch,
    config: ClientConfig,
}

impl CatalogTls {
    /// The `tls` of a catalog, for HTTP/1.1.
    pub(super) fn new(
        config: &Config,
        folder: &Path,
        catalog: &config::Catalog,
        tls: &TlsOptions,
    ) -> Result<Self, Error> {
        let named = |vault: &&Vault| Some(&vault.name) == catalog.vault.as_ref();
        let source = CertificateSource {
            binding: format!("catalog {}", catalog.name),
            vault: config.vaults.iter().find(named).cloned(),
            folder: folder.to_owned(),
            side: Side::Outgoing(tls.clone()),
        };
        let options = ClientOptions::new().alpn(["http/1.1"]);
        let options = tls.sni.first().into_iter().fold(options, ClientOptions::server_name);
        let options = tls.version.into_iter().fold(options, ClientOptions::only);
        let watch = source.watch();
        let config = ClientConfig::new(source.credentials()?, options)
            .map_err(|error| source.failed(error))?;
        Ok(Self { source, watch, config })
    }

    /// The options of a registry, with its certificates as they are now.
    pub(super) fn options(&self, options: RegistryOptions) -> RegistryOptions {
        options.tls(self.config.current())
    }

    /// Rotates the certificates of a registry whenever a file changes.
    pub(super) fn rotate(self, registry: Registry) {
        let Self { source, watch, config } = self;
        source.rotate(watch, move |credentials| {
            config.rotate(credentials)?;
            registry.set_tls(&config.current());
            Ok(())
        });
    }
}

impl CertificateSource {
    fn options(&self) -> &TlsOptions {
        match &self.side {
            Side::Server(server) => &server.options,
            Side::Client(client) => &client.options,
            Side::Outgoing(options) => options,
        }
    }

    fn credentials(&self) -> Result<Credentials, Error> {
        let credentials =
            self.identities()?.into_iter().fold(Credentials::new(), Credentials::identity);
        let verifies = match &self.side {
            Side::Server(server) => server.mutual != ClientCertificates::None,
            Side::Client(_) | Side::Outgoing(_) => true,
        };
        if !verifies {
            return Ok(credentials);
        }
        let mut roots = self.trusted()?;
        if self.trusts_system() {
            roots = roots.merge(Roots::system().map_err(|error| self.failed(error))?);
        }
        Ok(credentials.roots(roots))
    }

    fn trusts_system(&self) -> bool {
        self.options().trustcacerts.unwrap_or(self.options().trust.is_empty())
    }

    /// The certificates of the vault that the binding trusts.
    fn trusted(&self) -> Result<Roots, Error> {
        let aliases = &self.options().trust;
        if aliases.is_empty() {
            return Ok(Roots::empty());
        }
        let store = self.store("trust", |vault| vault.trust.as_ref())?;
        let mut roots = Roots::empty();
        for alias in aliases {
            store.check(alias)?;
            let certificates =
                store.store.certificates(alias).map_err(|error| self.failed(error))?;
            roots = roots.with_certificates(&certificates).map_err(|error| self.failed(error))?;
        }
        Ok(roots)
    }

    fn identities(&self) -> Result<Vec<Identity>, Error> {
        let aliases = &self.options().keys;
        let (signers, subjects) = match &self.side {
            Side::Server(server) => (server.signers.as_slice(), Vec::new()),
            Side::Client(client) => {
                (&[][..], client.routes.iter().filter_map(|route| route.with.as_ref()).collect())
            }
            Side::Outgoing(_) => (&[][..], Vec::new()),
        };
        if aliases.is_empty() && signers.is_empty() && subjects.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.store("keys", |vault| vault.keys.as_ref())?;
        // The order is that of the configuration: the first certificate is for clients without a server name.
        let mut identities = Vec::new();
        for alias in aliases {
            identities.push(store.identity(alias)?);
        }
        let mut authorities = Vec::new();
        if !signers.is_empty() {
            let store = self.store("signers", |vault| vault.signers.as_ref())?;
            for alias in signers {
                store.check(alias)?;
                authorities
                    .extend(store.store.certificates(alias).map_err(|error| self.failed(error))?);
            }
        }
        let wanted = |identity: &Identity| {
            authorities.iter().any(|authority| identity.is_issued_by(authority))
                || subjects.iter().any(|subject| match subject {
                    ClientCertificate::CommonName(name) => identity.common_name() == Some(name),
                    ClientCertificate::DistinguishedName(name) => {
                        identity.distinguished_name() == *name
                    }
                })
        };
        if !authorities.is_empty() || !subjects.is_empty() {
            identities.extend(store.identities()?.into_iter().filter(wanted));
        }
        Ok(identities)
    }

    fn store(
        &self,
        name: &'static str,
        of: impl Fn(&Vault) -> Option<&config::Store>,
    ) -> Result<OpenStore<'_>, Error> {
        let missing = || Error::NoStore { binding: self.binding.clone(), store: name };
        let store = self.vault.as_ref().and_then(of).ok_or_else(missing)?;
        let files = files(&self.folder.join(&store.store));
        let mut stores = files.iter().map(|file| self.read(store, file));
        let first = stores.next().ok_or_else(missing)??;
        let all = stores.try_fold(first, |all, one| Ok(all.merge(one?)))?;
        Ok(OpenStore { source: self, store: all, entries: store.entries.as_deref() })
    }

    fn read(&self, store: &config::Store, file: &Path) -> Result<Store, Error> {
        let read = || -> Result<Store, BoxError> {
            // One byte more than the limit, so that `Store` reports a file that is too long.
            let mut bytes = Vec::new();
            fs::File::open(file)?.take(Store::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
            Ok(match store.kind {
                StoreKind::Pkcs12 => {
                    let password = store.password.as_ref().map_or("", config::Secret::reveal);
                    Store::pkcs12(&bytes, password)?
                }
                StoreKind::Pem => {
                    let alias = file.file_stem().unwrap_or_default().to_string_lossy();
                    Store::pem(&alias, &bytes)?
                }
            })
        };
        let binding = self.binding.clone();
        let file = file.to_owned();
        read().map_err(|source| Error::Store { binding, file, source })
    }

    fn failed(&self, source: tailwater_tls::Error) -> Error {
        Error::Tls { binding: self.binding.clone(), source }
    }

    fn watch(&self) -> Watch {
        let stores = self
            .vault
            .iter()
            .flat_map(|vault| [&vault.keys, &vault.trust, &vault.signers])
            .flatten();
        Watch::new(stores.flat_map(|store| files(&self.folder.join(&store.store))))
    }

    /// Rotates the certificates whenever a file changes.
    fn rotate(
        self,
        watch: Watch,
        rotate: impl Fn(Credentials) -> Result<(), tailwater_tls::Error> + Send + Sync + 'static,
    ) {
        let reload = move || rotate(self.credentials()?).map_err(|error| self.failed(error));
        tokio::spawn(watch.run(Watch::INTERVAL, reload));
    }
}

/// A store, and the aliases of it that may be used.
struct OpenStore<'s> {
    source: &'s CertificateSource,
    store: Store,
    entries: Option<&'s [String]>,
}

impl OpenStore<'_> {
    /// Whether an alias may be used. Its case is ignored, as in stores.
    fn counts(&self, alias: &str) -> bool {
        let alias = alias.to_lowercase();
        self.entries.is_none_or(|entries| entries.iter().any(|value| value.to_lowercase() == alias))
    }

    fn check(&self, alias: &str) -> Result<(), Error> {
        match self.counts(alias) {
            true => Ok(()),
            false => Err(Error::NoEntry {
                binding: self.source.binding.clone(),
                alias: alias.to_owned(),
            }),
        }
    }

    fn identity(&self, alias: &str) -> Result<Identity, Error> {
        self.check(alias)?;
        self.store.identity(alias).map_err(|error| self.source.failed(error))
    }

    fn identities(&self) -> Result<Vec<Identity>, Error> {
        let all = self
            .store
            .identities()
            .map(|identity| identity.map_err(|error| self.source.failed(error)));
        let all = all.collect::<Result<Vec<Identity>, Error>>()?;
        Ok(all.into_iter().filter(|value| self.counts(value.alias())).collect())
    }
}

/// The file itself, or the PEM files of a folder.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    files.sort();
    files
}
