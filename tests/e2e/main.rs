//! End to end: the server as a process, real sockets, and a Kafka: librdkafka's mock cluster, or the
//! real one that `TAILWATER_TEST_KAFKA` names (`tests/kafka/kafka.sh run cargo test --test e2e`).

mod access;
mod cli;
mod examples;
mod hostile;
mod idle;
mod logs;
mod many;
mod outage;
mod real;
mod resume;
mod shutdown;
mod support;
mod third_party;
mod wire;
