//! What the user `guest` of the real Kafka may do. Everybody else there may do everything.

use crate::support::Kafka;
use crate::support::request::{length, request, text};

/// What may be done with a topic. Who may read it may describe it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Read,
    Describe,
}

/// How the server connects as `guest`: a key beside `servers`.
pub(crate) const GUEST: &str =
    "sasl: { mechanism: plain, username: guest, password: guest-secret }";

/// Resource, principal, host, operation and permission of an access control entry: `guest` is allowed this.
fn entry(topic: &str, operation: Operation) -> Vec<u8> {
    const TOPIC: u8 = 2;
    const LITERAL: u8 = 3;
    const ALLOW: u8 = 3;
    let operation = match operation {
        Operation::Read => 3,
        Operation::Describe => 8,
    };
    let topic = [&[TOPIC], &*text(topic), &[LITERAL]].concat();
    [&*topic, &text("User:guest"), &text("*"), &[operation, ALLOW]].concat()
}

impl Kafka {
    /// Allows `guest` this.
    pub(crate) fn allow(&self, topic: &str, operation: Operation) {
        // CreateAcls, version 1.
        self.change_acls(30, topic, operation);
    }

    /// Takes back what was allowed.
    pub(crate) fn withdraw(&self, topic: &str, operation: Operation) {
        // DeleteAcls, version 1.
        self.change_acls(31, topic, operation);
    }

    fn change_acls(&self, api: u8, topic: &str, operation: Operation) {
        let head = [&[0, api, 0, 1, 0, 0, 0, 1][..], &text("acl"), &length(1)].concat();
        let answer = request(self.servers(), &[head, entry(topic, operation)].concat());
        // How long to wait, one result, and its error, which is none.
        let good = [&[0; 4][..], &length(1), &[0, 0]].concat();
        assert!(answer.starts_with(&good), "{answer:?}");
    }
}
