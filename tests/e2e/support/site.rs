//! Pages over TLS, and no Kafka.

use std::fs;

use tempfile::TempDir;

use crate::support::certificates::Identity;
use crate::support::{Authority, PASSWORD, Server, Tls, keys_store, trust_store};

const CONFIG: &str = r#"
name: site
vaults:
  servers:
    type: filesystem
    options:
      keys: { store: keys.p12, type: pkcs12, password: PASSWORD }
      trust: { store: trust.p12, type: pkcs12, password: PASSWORD }
bindings:
  tcp_in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: tls_in }
  tls_in: { type: tls, kind: server, vault: servers, options: OPTIONS, ROUTES }
  first: { type: http, kind: server, exit: first_pages }
  first_pages:
    type: http-filesystem
    kind: proxy
    routes: [{ when: [{ path: "/{path}" }], with: { path: "${params.path}" }, exit: first_files }]
  first_files: { type: filesystem, kind: server, options: { location: first } }
  second: { type: http, kind: server, options: { versions: [h2] }, exit: second_pages }
  second_pages:
    type: http-filesystem
    kind: proxy
    routes: [{ when: [{ path: "/{path}" }], with: { path: "${params.path}" }, exit: second_files }]
  second_files: { type: filesystem, kind: server, options: { location: second } }
"#;

/// Two sites with a page `page.txt` that says `first` or `second`; the second speaks HTTP/2 only.
/// Their `tls` binding has the key `localhost`, and all connections go to the first.
pub(crate) fn site() -> Site {
    let authority = Authority::new("Test authority");
    Site {
        keys: keys_store(&[&authority.issue(&["localhost"])]),
        trust: trust_store(&[("ca", &authority)]),
        authority,
        options: "{ keys: [localhost] }".to_owned(),
        routes: "exit: first".to_owned(),
    }
}

pub(crate) struct Site {
    pub(crate) authority: Authority,
    keys: Vec<u8>,
    trust: Vec<u8>,
    options: String,
    routes: String,
}

impl Site {
    /// The keys of the vault.
    pub(crate) fn keys(self, identities: &[&Identity]) -> Self {
        Self { keys: keys_store(identities), ..self }
    }

    /// `options` of the `tls` binding.
    pub(crate) fn options(self, options: &str) -> Self {
        Self { options: options.to_owned(), ..self }
    }

    /// `routes`, or `exit`, of the `tls` binding.
    pub(crate) fn routes(self, routes: &str) -> Self {
        Self { routes: routes.to_owned(), ..self }
    }

    pub(crate) fn config(&self) -> String {
        CONFIG
            .replace("PASSWORD", PASSWORD)
            .replace("OPTIONS", &self.options)
            .replace("ROUTES", &self.routes)
    }

    /// A folder with all but the configuration.
    pub(crate) fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["first", "second"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            fs::write(folder.path().join(name).join("page.txt"), name).expect("it is written");
        }
        fs::write(folder.path().join("keys.p12"), &self.keys).expect("it is written");
        fs::write(folder.path().join("trust.p12"), &self.trust).expect("it is written");
        folder
    }

    pub(crate) async fn run(&self) -> Server {
        let arguments = ["--log-level", "info,tailwater_http=debug", "--drain", "0"];
        let server = Server::of_text(self.folder(), &self.config(), &arguments).await;
        server.encrypted(Tls::trusting(&self.authority))
    }
}
