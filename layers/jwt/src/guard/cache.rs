use std::hash::RandomState;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;

use crate::Token;

/// Verified tokens by their whole text. The least recently used ones are dropped first.
///
/// Only tokens with a valid signature are inserted, so that a stranger cannot displace them.
pub(crate) struct Cache {
    tokens: LruCache<Box<str>, Arc<Token>, RandomState>,
    /// The bytes of the texts. The memory for the parsed claims is in proportion.
    bytes: usize,
}

const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
pub(crate) const MAX_BYTES: usize = 8 << 20;

impl Cache {
    pub(crate) fn new() -> Self {
        Self { tokens: LruCache::unbounded_with_hasher(RandomState::new()), bytes: 0 }
    }

    pub(crate) fn get(&mut self, text: &str) -> Option<&Arc<Token>> {
        self.tokens.get(text)
    }

    pub(crate) fn insert(&mut self, text: &str, token: Arc<Token>) {
        self.bytes += text.len();
        if self.tokens.put(text.into(), token).is_some() {
            self.bytes -= text.len(); // two requests have verified the same token
        }
        while self.bytes > MAX_BYTES || self.tokens.len() > MAX_TOKENS.get() {
            let Some((text, _)) = self.tokens.pop_lru() else { break };
            self.bytes -= text.len();
        }
    }

    pub(crate) fn remove(&mut self, text: &str) {
        if self.tokens.pop(text).is_some() {
            self.bytes -= text.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{ClaimPaths, NEVER};

    fn token() -> Arc<Token> {
        let paths =
            ClaimPaths { roles: String::new(), identity: String::new(), attributes: Vec::new() };
        Arc::new(Token::new(serde_json::Map::new(), &paths, 0, NEVER))
    }

    #[test]
    fn the_least_recently_used_are_dropped_at_a_number_of_tokens() {
        let mut cache = Cache::new();
        let token = token();
        for number in 0..MAX_TOKENS.get() {
            cache.insert(&number.to_string(), Arc::clone(&token));
        }
        assert!(cache.get("0").is_some());
        cache.insert("one more", Arc::clone(&token));
        assert_eq!(cache.tokens.len(), MAX_TOKENS.get());
        assert!(cache.get("0").is_some(), "it was used");
        assert!(cache.get("1").is_none(), "it was the least recently used one");
    }

    #[test]
    fn the_least_recently_used_are_dropped_at_a_number_of_bytes() {
        let mut cache = Cache::new();
        let token = token();
        let long = "x".repeat(16 << 10);
        for number in 0..600 {
            cache.insert(&format!("{long}{number}"), Arc::clone(&token));
            assert!(cache.bytes <= MAX_BYTES);
        }
        assert!(cache.get(&format!("{long}0")).is_none());
        assert!(cache.get(&format!("{long}599")).is_some());
    }

    #[test]
    fn bytes_are_counted_once_for_a_token() {
        let mut cache = Cache::new();
        let token = token();
        cache.insert("abc", Arc::clone(&token));
        cache.insert("abc", token);
        assert_eq!(cache.bytes, 3);
        cache.remove("abc");
        cache.remove("abc");
        assert_eq!(cache.bytes, 0);
    }
}
