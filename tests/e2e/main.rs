//! End to end: the server as a process, real sockets, and a Kafka: librdkafka's mock cluster, or the
//! real one that `TAILWATER_TEST_KAFKA` names (`tests/kafka/kafka.sh run cargo test --test e2e`).

mod access;
mod hostile;
mod resume;
mod support;
mod wire;
