use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use slab::Slab;

use crate::session::lease::LeaseState;
use crate::session::registry::SessionId;
use crate::{Guard, Lease, Token};

pub(crate) mod connection;
pub(crate) mod lease;
pub(crate) mod registry;

/// A client that a guard has authenticated. It is in the extensions of each request with a valid token.
///
/// Over HTTP/2 all requests of a connection whose tokens have the same issuer and subject share one
/// session, if the connection has [`ConnectionSessions`](crate::ConnectionSessions). Otherwise each request
/// has a session of its own. A renewal extends all leases of a session. A clone is a handle of the same
/// session.
#[derive(Clone)]
pub struct Session {
    state: Arc<SessionState>,
    token: Arc<Token>,
}

impl Session {
    /// A session that no other request shares. A challenge response renews it by its id.
    pub(crate) fn alone(guard: &Guard, token: Arc<Token>) -> Self {
        let state = SessionState::new(guard, &token, false);
        Self { state: Arc::new(state), token }
    }

    /// The name of the guard that accepted the token.
    #[must_use]
    pub fn guard_name(&self) -> &str {
        self.state.guard.name()
    }

    /// The token of this request.
    #[must_use]
    pub fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// A lease for a stream of this request. It expires with the token of this request. A later token of the
    /// session extends it, if `still_allowed` returns `true` for that token. `still_allowed` has to check
    /// everything that allowed the stream to open, such as roles and the values of claims.
    ///
    /// `still_allowed` is called while the session is locked. It must neither block nor create or drop a
    /// lease.
    #[must_use]
    pub fn lease(&self, still_allowed: impl Fn(&Token) -> bool + Send + Sync + 'static) -> Lease {
        let lease = Arc::new(LeaseState::new(self.token.valid_until, still_allowed));
        let key = self.state.leases().insert(Arc::clone(&lease));
        Lease::new(Arc::clone(&self.state), lease, key)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("guard", &self.guard_name())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The state that the requests of a session share.
pub(crate) struct SessionState {
    pub(crate) guard: Guard,
    /// The token of the first request. It determines whose session this is.
    token: Arc<Token>,
    /// Whether the requests of a connection share the session. It has no id then.
    shared: bool,
    leases: Mutex<Slab<Arc<LeaseState>>>,
    id: OnceLock<SessionId>,
}

impl SessionState {
    fn new(guard: &Guard, token: &Arc<Token>, shared: bool) -> Self {
        Self {
            guard: guard.clone(),
            token: Arc::clone(token),
            shared,
            leases: Mutex::default(),
            id: OnceLock::new(),
        }
    }

    /// Extends the leases of the session, if the token belongs to the same bearer. Returns whether it has extended
    /// any.
    pub(crate) fn renew(&self, token: &Token) -> bool {
        if !self.token.same_bearer(token) {
            return false;
        }
        // Each lease sees each token: a token that may not extend a lease does not prevent the next one.
        let now = self.guard.now();
        let extended: Vec<_> = {
            let leases = self.leases();
            leases.iter().filter_map(|(_, lease)| lease.renew(token, now)).collect()
        };
        // Without the lock: a waker may drop a stream, and with it a lease.
        let is_renewed = !extended.is_empty();
        extended.into_iter().flatten().for_each(std::task::Waker::wake);
        is_renewed
    }

    pub(crate) fn remove_lease(&self, key: usize) {
        // Dropped without the lock: the closure of the lease may own anything.
        let lease = self.leases().try_remove(key);
        drop(lease);
    }

    /// The id for a challenge, created at the first call. `None` if the connection identifies the session.
    pub(crate) fn id(self: &Arc<Self>) -> Option<SessionId> {
        if self.shared {
            return None;
        }
        if let Some(id) = self.id.get() {
            return Some(*id);
        }
        let id = self.guard.sessions().add(self)?;
        // Another lease may have set an id in the meantime.
        self.id.set(id).unwrap_or_else(|id| self.guard.sessions().remove(id));
        self.id.get().copied()
    }

    fn leases(&self) -> MutexGuard<'_, Slab<Arc<LeaseState>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            self.guard.sessions().remove(*id);
        }
    }
}

impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionState").field("guard", &self.guard).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
