use crate::certificates::identity::Identity;
use crate::certificates::roots::Roots;

/// What comes out of stores, and is rotated when their files change: who this side is, and whom
/// it trusts.
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
    /// Nobody, trusting nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more identity. A server takes the first that is for the name that the client asks for,
    /// and else the first of all; a client takes the first that the server's request allows.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// What is trusted. Default: nothing.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }
}
