use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use slab::Slab;

use crate::session::lease::LeaseState;
use crate::session::registry::SessionId;
use crate::{Guard, Lease, Token};

pub(crate) mod connection;
pub(crate) mod lease;
pub(crate) mod registry;

/// Who asks, as a guard knows it; stands in the extensions of a request with a good token.
///
/// Over HTTP/2 all requests of a connection with a token of the same issuer and subject share one
/// session, where the connection has [`ConnectionSessions`]; otherwise each request has its own. A
/// renewal moves all leases of a session. A clone is the same session.
#[derive(Clone)]
pub struct Session {
    state: Arc<SessionState>,
    token: Arc<Token>,
}

impl Session {
    /// A session that no other request shares, and that is renewed by its name.
    pub(crate) fn alone(guard: &Guard, token: Arc<Token>) -> Self {
        let state = SessionState::new(guard, &token, false);
        Self { state: Arc::new(state), token }
    }

    /// The name of the guard that accepted the token.
    #[must_use]
    pub fn guard_name(&self) -> &str {
        self.state.guard.name()
    }

    /// The token that this very request came with.
    #[must_use]
    pub fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// How long a stream of this request may live: until the token of this request expires, or a
    /// later one of the session for which `still_allowed` holds. It should ask for all that opened the
    /// stream: roles, and the values of claims.
    ///
    /// `still_allowed` is called while the session is locked: it must neither block nor make or drop a
    /// lease.
    #[must_use]
    pub fn lease(&self, still_allowed: impl Fn(&Token) -> bool + Send + Sync + 'static) -> Lease {
        let lease = Arc::new(LeaseState::new(self.token.until, still_allowed));
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

/// What the requests of a session share.
pub(crate) struct SessionState {
    pub(crate) guard: Guard,
    /// The first one: says whose session it is.
    token: Arc<Token>,
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

    /// Hands the token of the same bearer to each lease; that of another does nothing.
    pub(crate) fn renew(&self, token: &Token) {
        if !self.token.same_bearer(token) {
            return;
        }
        // Each lease sees each token: one that could not carry a lease leaves the next its chance.
        let now = self.guard.now();
        let moved: Vec<_> = {
            let leases = self.leases();
            leases.iter().filter_map(|(_, lease)| lease.renew(token, now)).collect()
        };
        // Outside of the lock: a waker may drop a stream, and with it a lease.
        moved.into_iter().for_each(std::task::Waker::wake);
    }

    pub(crate) fn end(&self, key: usize) {
        // The term goes after the lock: it may own anything.
        let lease = self.leases().try_remove(key);
        drop(lease);
    }

    /// What the challenge names; `None` for sessions that their connection finds.
    pub(crate) fn id(self: &Arc<Self>) -> Option<SessionId> {
        if self.shared {
            return None;
        }
        if let Some(id) = self.id.get() {
            return Some(*id);
        }
        let id = self.guard.sessions().add(self)?;
        // Another lease of a clone may have been faster.
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
