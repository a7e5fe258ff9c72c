//! What the configuration says, as JSON.

use serde_json::{Value, json};

use crate::config::{self, Config, GuardKeys};

/// The answers that the configuration alone decides.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(super) config: String,
    pub(super) guards: String,
}

impl Described {
    pub(crate) fn new(namespaces: &[Config]) -> Self {
        let documents = namespaces.iter().map(|namespace| &namespace.in_force);
        let config = match namespaces {
            [namespace] => namespace.in_force.to_string(),
            _ => documents.cloned().collect::<Value>().to_string(),
        };
        let guards = namespaces.iter().flat_map(|namespace| {
            namespace.guards.iter().map(move |guard| guard_json(namespace, guard))
        });
        let guards = json!({ "guards": guards.collect::<Value>() }).to_string();
        Self { config, guards }
    }
}

fn guard_json(namespace: &Config, guard: &config::Guard) -> Value {
    let name = &guard.name;
    let keys = match &guard.keys {
        Some(GuardKeys::List(keys)) => json!({ "listed": keys.len() }),
        // Without secrets of the URL.
        Some(GuardKeys::Url(_)) => {
            json!({ "url": namespace.in_force["guards"][name]["options"]["keys"] })
        }
        None => json!({ "of_issuer": true }),
    };
    json!({
        "name": name,
        "namespace": namespace.name,
        "type": "jwt",
        "issuer": guard.issuer,
        "audience": guard.audience,
        "identity": guard.identity,
        "roles": guard.roles,
        "challenge": guard.challenge.map(|time| time.as_secs()),
        "leeway": guard.leeway.as_secs(),
        "keys": keys,
    })
}
