use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::session::SessionState;
use crate::{Guard, Session, Token};

/// The sessions of an HTTP/2 connection: one for each issuer and subject.
///
/// The server puts a value of its own into the extensions of each connection, and so of all its requests.
/// It keeps no session alive: a session lives as long as its requests and leases. A clone is a handle of
/// the same sessions.
#[derive(Clone, Default)]
pub struct ConnectionSessions {
    // A list is enough: few subjects share a connection, at most as many as it has streams.
    sessions: Arc<Mutex<Vec<Weak<SessionState>>>>,
}

impl ConnectionSessions {
    /// Renews the session of the token's bearer, or starts one.
    pub(crate) fn join(&self, guard: &Guard, token: Arc<Token>) -> Session {
        let mut sessions = self.live();
        let state = find(&sessions, guard, &token).unwrap_or_else(|| {
            let state = Arc::new(SessionState::new(guard, &token, true));
            sessions.push(Arc::downgrade(&state));
            state
        });
        drop(sessions);
        state.renew(&token);
        Session { state, token }
    }

    /// Renews the session of the token's bearer, if there is one. Returns whether it has extended a lease.
    pub(crate) fn renew(&self, guard: &Guard, token: &Token) -> bool {
        let session = find(&self.live(), guard, token);
        session.is_some_and(|session| session.renew(token))
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Vec<Weak<SessionState>>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions
    }
}

fn find(
    sessions: &[Weak<SessionState>],
    guard: &Guard,
    token: &Token,
) -> Option<Arc<SessionState>> {
    let mut live = sessions.iter().filter_map(Weak::upgrade);
    live.find(|session| session.guard.is(guard) && session.token.same_bearer(token))
}

impl fmt::Debug for ConnectionSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSessions").finish_non_exhaustive()
    }
}
