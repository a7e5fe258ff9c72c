//! What the configuration says, as JSON.

use serde_json::{Value, json};

use crate::config::{self, Config, GuardKeys};

/// The answers that the configuration alone decides.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(super) config: String,
    guards: Vec<Guard>,
}

/// A guard of the configuration.
#[derive(Clone, Debug)]
struct Guard {
    namespace: String,
    name: String,
    json: Value,
}

impl Described {
    pub(crate) fn new(namespaces: &[Config]) -> Self {
        let documents = namespaces.iter().map(|namespace| &namespace.in_force);
        let config = match namespaces {
            [namespace] => namespace.in_force.to_string(),
            _ => documents.cloned().collect::<Value>().to_string(),
        };
        let guards = namespaces.iter().flat_map(|namespace| {
            namespace.guards.iter().map(move |guard| Guard {
                namespace: namespace.name.clone(),
                name: guard.name.clone(),
                json: guard_json(namespace, guard),
            })
        });
        Self { config, guards: guards.collect() }
    }

    /// The guards, with what those have counted that an `http` binding uses. `counted` has names that are unique in the
    /// process.
    pub(super) fn guards(&self, counted: &[(String, tailwater_jwt::Guard)]) -> Value {
        let guards = self.guards.iter().map(|Guard { namespace, name, json }| {
            let mut json = json.clone();
            let unique = format!("{namespace}:{name}");
            if let Some((_, guard)) =
                counted.iter().find(|(counted, _)| counted == name || *counted == unique)
            {
                let counts = guard.counts();
                let rejections = counts.rejections.iter();
                json["rejections"] = rejections
                    .map(|(reason, count)| ((*reason).to_owned(), json!(count)))
                    .collect();
                json["challenges"] = counts.challenges.into();
                json["renewals"] =
                    json!({ "ok": counts.renewals, "failed": counts.failed_renewals });
                json["keys_age"] = counts.keys_age.map(|age| age.as_secs()).into();
            }
            json
        });
        guards.collect()
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
