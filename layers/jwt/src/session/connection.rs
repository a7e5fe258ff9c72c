use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::session::SessionState;
use crate::{Guard, Session, Token};

/// The sessions of an HTTP/2 connection: one for each issuer and subject.
///
/// Whoever accepts connections puts one into the extensions of each, and so of its requests. It
/// holds no session: one lives as long as its requests and leases do. A clone is the same.
#[derive(Clone, Default)]
pub struct ConnectionSessions {
    // Few subjects share a connection, and no more live ones than it has streams.
    sessions: Arc<Mutex<Vec<Weak<SessionState>>>>,
}

impl ConnectionSessions {
    /// The session of a token's bearer, renewed by the token; a new one, if there is none.
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

    /// Renews the session of a token's bearer, if there is one.
    pub(crate) fn renew(&self, guard: &Guard, token: &Token) {
        let session = find(&self.live(), guard, token);
        if let Some(session) = session {
            session.renew(token);
        }
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
