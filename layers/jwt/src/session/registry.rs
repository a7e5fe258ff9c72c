use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::session::SessionState;

/// 128 bits from the system's random number generator. A client that knows the id can renew the session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u128);

impl SessionId {
    fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(Self(u128::from_ne_bytes(bytes)))
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.len() == 32 && text.iter().all(|byte| b"0123456789abcdef".contains(byte));
        let text = digits.then(|| str::from_utf8(text).ok()).flatten()?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Shows nothing: the id is a secret.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// The sessions of a guard that have an id: those that were challenged and belong to no HTTP/2
/// connection.
#[derive(Debug, Default)]
pub(crate) struct SessionRegistry {
    sessions: Mutex<HashMap<SessionId, Weak<SessionState>>>,
}

impl SessionRegistry {
    /// Gives the session an id. The session removes it when it is dropped.
    pub(crate) fn add(&self, session: &Arc<SessionState>) -> Option<SessionId> {
        let id = SessionId::random()?;
        self.sessions().insert(id, Arc::downgrade(session));
        Some(id)
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.sessions().remove(&id);
    }

    pub(crate) fn find(&self, id: SessionId) -> Option<Arc<SessionState>> {
        self.sessions().get(&id)?.upgrade()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Weak<SessionState>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sessions().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_in_no_other_way() {
        let id = SessionId::random().unwrap();
        assert_eq!(SessionId::parse(id.to_string().as_bytes()), Some(id));
        assert_ne!(SessionId::random(), Some(id));
        let zero = "0".repeat(32);
        assert_eq!(SessionId::parse(zero.as_bytes()), Some(SessionId(0)));
        let upper = "A".repeat(32);
        let signed = format!("+{}", "0".repeat(31));
        for text in ["", "0", &"0".repeat(31), &format!("{zero}0"), &upper, &signed] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
