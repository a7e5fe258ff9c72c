use crate::certificates::identity::Identity;
use crate::certificates::roots::Roots;

/// The identities of this side and the roots that it trusts. They come from stores and are
/// [rotated](crate::ServerConfig::rotate) together.
///
/// ```
/// use tailwater_tls::{Credentials, Store};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
///
/// let store = Store::pem("main", text.as_bytes())?;
/// let credentials = Credentials::new().identity(store.identity("main")?).roots(store.roots()?);
/// # let _ = credentials;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Credentials {
    pub(crate) identities: Vec<Identity>,
    pub(crate) roots: Roots,
}

impl Credentials {
    /// No identity and no roots.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an identity. A server uses the first for the name that the client asks for, or else the first of
    /// all. A client uses the first that the request of the server allows.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// The trusted certificates. Default: none.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }
}
