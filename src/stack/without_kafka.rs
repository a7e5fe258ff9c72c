//! `sse-kafka` and `kafka` bindings in a build without the feature `kafka`: they are checked, but cannot be
//! started.

use crate::config::{Binding, PathCondition, SseKafkaWith, plan};
use crate::stack::{Error, HttpService, SseOptions, StackBuilder};

/// The type of clusters, of which there are none.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {}

impl StackBuilder<'_> {
    /// The streams of a route of an `sse-kafka` binding.
    pub(super) fn topic_stream(
        &mut self,
        binding: &Binding,
        _: &plan::Branch<'_, PathCondition, plan::Topics<'_>, SseKafkaWith>,
        _: SseOptions,
    ) -> Result<HttpService, Error> {
        Err(Error::WithoutKafka { binding: binding.name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;
    use crate::stack::{Error, Stack};

    #[tokio::test]
    async fn a_listener_that_leads_to_topics_does_not_start() {
        let file = "
name: test
bindings:
  in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: web }
  web: { type: http, kind: server, exit: streams }
  streams: { type: sse, kind: server, exit: topics }
  topics: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: a }, exit: kafka }] }
  kafka: { type: kafka, kind: client, options: { servers: [localhost:9092] }, exit: out }
  out: { type: tcp, kind: client }
";
        let parsed = config::parse("zilla.yaml", file.as_bytes(), &|_| None).expect("a file");
        let error = Stack::new(parsed.namespaces, Path::new("")).expect_err("no Kafka");
        assert!(
            matches!(&error, Error::WithoutKafka { binding } if binding == "topics"),
            "{error}"
        );
    }
}
